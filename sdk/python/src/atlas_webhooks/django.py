"""Receives webhooks in Django.

    @webhook(verifier)
    def receive(request, event):
        print(event.topic, event.data)

    urlpatterns = [path("atlas", receive)]

The handler, which may be a coroutine, is called for requests that are genuine and fresh. What it returns
is the response, 204 if that is None; the answer is only given after it. It raises
:class:`~atlas_webhooks.Full` when it can take no more; any other exception is the framework's, and Atlas
sends the event again. The view takes POST only, needs no CSRF token, and has the verifier's limit of a
body instead of ``DATA_UPLOAD_MAX_MEMORY_SIZE``.
"""

from __future__ import annotations

from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, Callable, Union

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed

from ._errors import WebhookError
from ._event import Event
from ._receive import Full, answer_to, read_bounded, unreadable
from ._verify import Verifier

__all__ = ["webhook"]


def webhook(verifier: Verifier) -> Callable[[Callable[[HttpRequest, Event], Any]], Callable[..., Any]]:
    """Makes a view of a handler of requests and their events."""

    def decorate(handler: Callable[[HttpRequest, Event], Any]) -> Callable[..., Any]:
        @wraps(handler)
        def view(request: HttpRequest) -> HttpResponse:
            if request.method != "POST":
                return HttpResponseNotAllowed(["POST"])
            try:
                return _response(handler(request, _verify(verifier, request)))
            except (WebhookError, Full) as error:
                return _refusal(error)

        @wraps(handler)
        async def async_view(request: HttpRequest) -> HttpResponse:
            if request.method != "POST":
                return HttpResponseNotAllowed(["POST"])
            try:
                return _response(await handler(request, _verify(verifier, request)))
            except (WebhookError, Full) as error:
                return _refusal(error)

        made: Any = async_view if iscoroutinefunction(handler) else view
        made.csrf_exempt = True  # the decorator of older versions makes no coroutine of one
        return made  # type: ignore[no-any-return]

    return decorate


def _verify(verifier: Verifier, request: HttpRequest) -> Event:
    try:
        length = int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        length = 0
    try:
        body = read_bounded(request.read, verifier.max_body, length)
    except OSError:  # UnreadablePostError is one
        raise unreadable() from None
    return verifier.verify(request.headers, body)


def _response(result: Any) -> HttpResponse:
    return HttpResponse(status=204) if result is None else result


def _refusal(error: Union[WebhookError, Full]) -> HttpResponse:
    answer = answer_to(error)
    return HttpResponse(answer.text, status=answer.status, headers=answer.headers)
