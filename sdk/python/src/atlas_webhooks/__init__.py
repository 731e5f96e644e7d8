"""Receives the webhooks that Atlas sends.

    verifier = Verifier(os.environ["ATLAS_WEBHOOK_SECRET"])
    event = verifier.verify(request.headers, raw_body)
    print(event.topic, event.id, event.data)

Four things go wrong. The body must be the raw bytes that arrived. The key is the whole text of the
secret, ``whsec_`` included. The timestamp is signed as text. And the answer must come soon: take the
event, answer 2xx, work afterwards; an answer that is late causes the event to be sent again, with the
same id.

The modules ``flask``, ``django``, ``fastapi``, ``starlette`` and ``aiohttp`` of this package make a view of
a handler of events.

The Atlas header signs the timestamp and the body, hence ``topic``, ``data`` and ``signed_at``. Of the
headers only the id is signed, by webhook-signature: ``id_verified`` says that this was checked.
"""

from ._client import AsyncClient, Client, FedEvent, Problem, Publish, Published
from ._errors import Code, WebhookError
from ._event import Event, Format
from ._inbox import Gap, Inbox, Store
from ._receive import Full
from ._replay import ReplayGuard
from ._keys import KeySet
from ._verify import DEFAULT_MAX_BODY, DEFAULT_TOLERANCE, Scheme, Verifier, verify

__version__ = "0.1.0"

__all__ = [
    "DEFAULT_MAX_BODY",
    "DEFAULT_TOLERANCE",
    "AsyncClient",
    "Client",
    "Code",
    "Event",
    "FedEvent",
    "Format",
    "Full",
    "Gap",
    "Inbox",
    "Problem",
    "Publish",
    "Published",
    "ReplayGuard",
    "Scheme",
    "Store",
    "KeySet",
    "Verifier",
    "WebhookError",
    "verify",
]
