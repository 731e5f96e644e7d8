"""Signs requests as Atlas does, for the tests of a receiver.

    headers, body = delivery("conversation.status", {"id": "c-1", "status": "CLOSED"})
    response = client.post("/atlas", data=body, headers=headers)

The receiver under test verifies with :data:`SECRET`. A test of its refusals changes headers or body,
or signs with another secret, or at another time.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from typing import Any, Optional
from urllib.parse import quote

from ._event import Format
from ._verify import Scheme, _python_repr, _standard_key

SECRET = "whsec_d2ViaG9va3Rlc3QgaXMgZm9yIHRlc3RzIG9ubHkhISE="
"""Signs a delivery that names no other. It is public: never accept it outside tests."""


def delivery(
    topic: str = "conversation.status",
    data: Any = None,
    *,
    data_text: Optional[str] = None,
    secret: str = SECRET,
    other: Optional[str] = None,
    scheme: Scheme = "hex",
    format: Format = "string",
    id: Optional[str] = None,
    webhook_id: str = "wh_test",
    object_id: Optional[str] = None,
    attempt: int = 1,
    sequence: Optional[int] = 1,
    test: bool = False,
    replay: Optional[str] = None,
    at: Optional[float] = None,
) -> tuple[dict[str, str], bytes]:
    """Returns headers and body of a request.

    ``data`` is the published document, or ``data_text`` its JSON text. ``other`` is the second secret of
    webhook-signature while a rotation runs, ``at`` when it is signed, in seconds since the epoch.
    """
    text = data_text if data_text is not None else json.dumps({"id": "c-1", "status": "CLOSED"} if data is None else data)
    text = "".join(c if c < "\x7f" else _escape(c) for c in text)
    body = f'{{"event":{json.dumps(topic)},"data":{json.dumps(text) if format == "string" else text}}}'.encode("ascii")
    seconds, ms = divmod(max(int((time.time() if at is None else at) * 1000), 1000), 1000)
    timestamp = f"{seconds}.{ms or 1:03d}".rstrip("0")
    event_id = id or f"evt_{uuid.uuid4().hex}"
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Atlas-Webhooks/test",
        "X-Atlas-Webhook-Signature": _sign(scheme, secret, timestamp, body),
        "X-Atlas-Webhook-Signature-Timestamp": timestamp,
        "X-Atlas-Webhook-Timestamp": timestamp,
        "X-Atlas-Webhook-Event-Id": event_id,
        "X-Atlas-Webhook-Subscription-Id": webhook_id,
        "X-Atlas-Webhook-Topic": topic,
        "X-Atlas-Webhook-Attempt": str(attempt),
    }
    for name, value in (
        ("X-Atlas-Webhook-Object-Id", None if object_id is None else quote(object_id, safe="".join(map(chr, range(32, 127))).replace("%", ""))),
        ("X-Atlas-Webhook-Sequence", None if sequence is None else str(sequence)),
        ("X-Atlas-Webhook-Test", "true" if test else None),
        ("X-Atlas-Webhook-Replay", replay),
    ):
        if value is not None:
            headers[name] = value
    keys = [key for key in map(_standard_key, (secret, other or "")) if key]
    if _standard_key(secret):
        message = f"{event_id}.{seconds}.".encode() + body
        headers["webhook-id"], headers["webhook-timestamp"] = event_id, str(seconds)
        headers["webhook-signature"] = " ".join("v1," + base64.b64encode(_hmac(key, message)).decode() for key in keys)
    return headers, body


def _sign(scheme: Scheme, secret: str, timestamp: str, body: bytes) -> str:
    if scheme == "python-dict":
        body = _python_repr(body)
    dot = b"" if scheme == "base64" else b"."
    digest = _hmac(secret.encode(), timestamp.encode() + dot + body)
    return base64.b64encode(digest).decode() if scheme.startswith("base64") else digest.hex()


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()


def _escape(character: str) -> str:
    return json.dumps(character)[1:-1] if character != "\x7f" else "\\u007f"
