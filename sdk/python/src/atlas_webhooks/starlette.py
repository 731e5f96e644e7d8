"""Receives webhooks in Starlette and FastAPI.

    @app.post("/atlas")
    @webhook(verifier)
    async def receive(event):
        print(event.topic, event.data)

The handler, a coroutine or a function that runs in a thread, is called for requests that are genuine and
fresh. What it returns is the response, 204 if that is None; the answer is only given after it. It raises
:class:`~atlas_webhooks.Full` when it can take no more; any other exception is the framework's, and Atlas
sends the event again.
"""

from __future__ import annotations

from inspect import iscoroutinefunction
from typing import Any, Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ._errors import WebhookError
from ._event import Event
from ._receive import Collected, Full, answer_to, unreadable
from ._verify import Verifier

__all__ = ["webhook"]


def webhook(verifier: Verifier) -> Callable[[Callable[[Event], Any]], Callable[[Request], Any]]:
    """Makes an endpoint of a handler of events."""

    def decorate(handler: Callable[[Event], Any]) -> Callable[[Request], Any]:
        # Without functools.wraps: FastAPI would look for the handler's parameters in the request.
        async def endpoint(request: Request) -> Any:
            try:
                event = verifier.verify(request.headers, await _body(request, verifier.max_body))
                result = await (handler(event) if iscoroutinefunction(handler) else run_in_threadpool(handler, event))
            except (WebhookError, Full) as error:
                answer = answer_to(error)
                return Response(answer.text, answer.status, answer.headers)
            return Response(status_code=204) if result is None else result

        endpoint.__name__, endpoint.__doc__ = handler.__name__, handler.__doc__
        return endpoint

    return decorate


async def _body(request: Request, limit: int) -> bytes:
    collected = Collected(limit)
    try:
        async for chunk in request.stream():
            collected.add(chunk)
    except ClientDisconnect:
        raise unreadable() from None
    return collected.body()
