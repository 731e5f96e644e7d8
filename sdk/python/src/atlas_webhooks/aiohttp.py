"""Receives webhooks in aiohttp's server.

    @webhook(verifier)
    async def receive(event):
        print(event.topic, event.data)

    app.router.add_post("/atlas", receive)

The handler, a coroutine or a function that runs in a thread, is called for requests that are genuine and
fresh. What it returns is the response, 204 if that is None; the answer is only given after it. It raises
:class:`~atlas_webhooks.Full` when it can take no more; any other exception is the framework's, and Atlas
sends the event again. The limit of a body is the verifier's, not ``client_max_size``.
"""

from __future__ import annotations

import asyncio
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, Callable

from aiohttp import web

from ._errors import WebhookError
from ._event import Event
from ._receive import Collected, Full, answer_to, unreadable
from ._verify import Verifier

__all__ = ["webhook"]


def webhook(verifier: Verifier) -> Callable[[Callable[[Event], Any]], Callable[[web.Request], Any]]:
    """Makes a request handler of a handler of events."""

    def decorate(handler: Callable[[Event], Any]) -> Callable[[web.Request], Any]:
        @wraps(handler)
        async def receive(request: web.Request) -> web.StreamResponse:
            try:
                event = verifier.verify(request.headers, await _body(request, verifier.max_body))
                result = await (handler(event) if iscoroutinefunction(handler) else asyncio.to_thread(handler, event))
            except (WebhookError, Full) as error:
                answer = answer_to(error)
                return web.Response(text=answer.text, status=answer.status, headers=answer.headers)
            return web.Response(status=204) if result is None else result

        return receive

    return decorate


async def _body(request: web.Request, limit: int) -> bytes:
    collected = Collected(limit)
    if request._read_bytes is not None:  # a middleware has read it
        collected.add(request._read_bytes)
        return collected.body()
    try:
        async for chunk in request.content.iter_any():
            collected.add(chunk)
    except (web.PayloadAccessError, web.RequestPayloadError, ConnectionError):
        raise unreadable() from None
    return collected.body()
