"""Receives webhooks in Flask.

    @app.post("/atlas")
    @webhook(verifier)
    def receive(event):
        print(event.topic, event.data)

The handler is called for requests that are genuine and fresh. What it returns is the response, 204 if
that is None; the answer is only given after it. It raises :class:`~atlas_webhooks.Full` when it can take
no more; any other exception is the framework's, and Atlas sends the event again.
"""

from __future__ import annotations

from functools import wraps
from typing import Any, Callable

from flask import Response, current_app, request
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from ._errors import WebhookError
from ._event import Event
from ._receive import Full, answer_to, read_bounded, too_large, unreadable
from ._verify import Verifier

__all__ = ["webhook"]


def webhook(verifier: Verifier) -> Callable[[Callable[[Event], Any]], Callable[[], Any]]:
    """Makes a view of a handler of events."""

    def decorate(handler: Callable[[Event], Any]) -> Callable[[], Any]:
        @wraps(handler)
        def view() -> Any:
            try:
                event = verifier.verify(request.headers, _body(verifier.max_body))
                result = current_app.ensure_sync(handler)(event)
            except (WebhookError, Full) as error:
                answer = answer_to(error)
                return Response(answer.text, answer.status, answer.headers)
            return Response(status=204) if result is None else result

        return view

    return decorate


def _body(limit: int) -> bytes:
    try:
        length = request.content_length
        if length is not None and length <= limit:
            return request.get_data()  # also of who read it before
        return read_bounded(request.stream.read, limit, length)
    except RequestEntityTooLarge:
        raise too_large(current_app.config.get("MAX_CONTENT_LENGTH") or limit) from None
    except (ClientDisconnected, OSError):
        raise unreadable() from None
