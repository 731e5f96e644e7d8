"""Every adapter, in its real framework."""

from __future__ import annotations

import asyncio
import io
from typing import Any, Callable, NamedTuple, Optional

import pytest

from atlas_webhooks import Event, Full, Verifier
from atlas_webhooks.testing import SECRET, delivery

LIMIT = 3000


class Reply(NamedTuple):
    status: int
    text: str
    retry_after: Optional[str]


Post = Callable[[dict, bytes, bool], Reply]  # headers, body, whether its length is announced


class Handler:
    """Does with each event what the test says."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.raises: Optional[Exception] = None

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if self.raises:
            raise self.raises


def sync(handler: Handler) -> Callable[[Event], None]:
    def receive(event: Event) -> None:
        handler(event)

    return receive


def coroutine(handler: Handler) -> Callable[[Event], Any]:
    async def receive(event: Event) -> None:
        await asyncio.sleep(0)
        handler(event)

    return receive


def flask_app(verifier: Verifier, handler: Handler) -> Post:
    from flask import Flask

    from atlas_webhooks.flask import webhook

    app = Flask("receiver")
    app.post("/atlas")(webhook(verifier)(sync(handler)))

    def post(headers: dict, body: bytes, announced: bool) -> Reply:
        options: dict[str, Any] = {"data": body} if announced else {
            "input_stream": io.BytesIO(body), "environ_overrides": {"wsgi.input_terminated": True}}
        r = app.test_client().post("/atlas", headers=headers, **options)
        return Reply(r.status_code, r.text, r.headers.get("Retry-After"))

    return post


def django_app(verifier: Verifier, handler: Handler, asynchronous: bool = False) -> Post:
    import django
    from django.conf import settings
    from django.core.handlers.asgi import ASGIHandler
    from django.core.handlers.wsgi import WSGIHandler
    from django.urls import path

    from atlas_webhooks.django import webhook

    if not settings.configured:
        settings.configure(
            ROOT_URLCONF="django_urls", SECRET_KEY="x", ALLOWED_HOSTS=["*"], DATA_UPLOAD_MAX_MEMORY_SIZE=100,
            MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware", "django.middleware.common.CommonMiddleware"],
            DEBUG_PROPAGATE_EXCEPTIONS=False, LOGGING_CONFIG=None,
        )
        django.setup()
    import sys
    import types

    from django.urls import clear_url_caches

    urls = types.ModuleType("django_urls")
    inner = (coroutine if asynchronous else sync)(handler)
    if asynchronous:
        async def receive(request: Any, event: Event) -> None:
            await inner(event)
    else:
        def receive(request: Any, event: Event) -> None:  # type: ignore[misc]
            inner(event)
    urls.urlpatterns = [path("atlas", webhook(verifier)(receive))]  # type: ignore[attr-defined]
    sys.modules["django_urls"] = urls
    clear_url_caches()
    if asynchronous:
        return asgi(ASGIHandler())
    application = WSGIHandler()

    def post(headers: dict, body: bytes, announced: bool) -> Reply:
        environ = {
            "REQUEST_METHOD": "POST", "PATH_INFO": "/atlas", "SERVER_NAME": "x", "SERVER_PORT": "80", "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body)),
            **{"HTTP_" + name.upper().replace("-", "_"): value for name, value in headers.items()},
        }
        seen: list[Any] = []
        text = b"".join(application(environ, lambda status, head: seen.append((int(status[:3]), dict(head)))))
        return Reply(seen[0][0], text.decode(), seen[0][1].get("Retry-After"))

    return post


def asgi(app: Any) -> Post:
    def post(headers: dict, body: bytes, announced: bool) -> Reply:
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        if announced:
            raw.append((b"content-length", str(len(body)).encode()))
        chunks = [body[i : i + 700] for i in range(0, len(body), 700)] or [b""]
        messages = [{"type": "http.request", "body": c, "more_body": i < len(chunks) - 1} for i, c in enumerate(chunks)]
        sent: list[Any] = []

        async def receive() -> Any:
            if not messages:
                await asyncio.sleep(60)
            return messages.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http", "path": "/atlas",
                 "raw_path": b"/atlas", "query_string": b"", "root_path": "", "headers": raw, "server": ("x", 80), "client": ("x", 1)}
        try:
            asyncio.run(app(scope, receive, send))
        except RuntimeError as error:
            assert str(error) == "broken"  # the server answers 500
            return Reply(500, "", None)
        start = sent[0]
        names = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        return Reply(start["status"], b"".join(m.get("body", b"") for m in sent[1:]).decode(), names.get("retry-after"))

    return post


def fastapi_app(verifier: Verifier, handler: Handler, inner: Any = coroutine) -> Post:
    from fastapi import FastAPI

    from atlas_webhooks.fastapi import webhook

    app = FastAPI()
    app.post("/atlas")(webhook(verifier)(inner(handler)))
    return asgi(app)


def starlette_app(verifier: Verifier, handler: Handler) -> Post:
    from starlette.applications import Starlette
    from starlette.routing import Route

    from atlas_webhooks.starlette import webhook

    return asgi(Starlette(routes=[Route("/atlas", webhook(verifier)(coroutine(handler)), methods=["POST"])]))


def aiohttp_app(verifier: Verifier, handler: Handler, inner: Any = coroutine) -> Post:
    from aiohttp import web
    from aiohttp.test_utils import TestClient, TestServer

    from atlas_webhooks.aiohttp import webhook

    def post(headers: dict, body: bytes, announced: bool) -> Reply:
        async def run() -> Reply:
            app = web.Application(client_max_size=100)
            app.router.add_post("/atlas", webhook(verifier)(inner(handler)))

            async def chunks() -> Any:
                yield body

            async with TestClient(TestServer(app)) as client:
                async with client.post("/atlas", data=body if announced else chunks(), headers=headers) as r:
                    return Reply(r.status, await r.text(), r.headers.get("Retry-After"))

        return asyncio.run(run())

    return post


APPS = {
    "Flask": flask_app,
    "Django": django_app,
    "Django, async": lambda verifier, handler: django_app(verifier, handler, True),
    "FastAPI": fastapi_app,
    "FastAPI, in a thread": lambda verifier, handler: fastapi_app(verifier, handler, sync),
    "Starlette": starlette_app,
    "aiohttp": aiohttp_app,
    "aiohttp, in a thread": lambda verifier, handler: aiohttp_app(verifier, handler, sync),
}


@pytest.mark.parametrize("framework", APPS)
@pytest.mark.filterwarnings("default")
def test_adapter(framework: str, caplog: pytest.LogCaptureFixture) -> None:
    handler = Handler()
    post = APPS[framework](Verifier(SECRET, max_body=LIMIT), handler)
    headers, body = delivery("customer.created", {"id": "c_1", "name": "José", "text": "x" * 1500}, id="evt_1")

    # 2xx after the handler only.
    assert post(headers, body, True) == Reply(204, "", None)
    assert [e.id for e in handler.events] == ["evt_1"] and handler.events[0].data["name"] == "José"
    handler.raises = RuntimeError("broken")
    assert post(headers, body, True).status == 500
    handler.raises = Full(retry_after=7)
    assert post(headers, body, True) == Reply(503, "full\n", "7")
    handler.raises = None
    assert len(handler.events) == 3

    # Forgeries and nonsense do not reach it.
    assert post(headers, body.replace(b"customer", b"customs!"), True) == Reply(401, "signature_mismatch\n", None)
    assert post({}, body, True) == Reply(401, "signature_missing\n", None)
    assert post(headers, b"", True) == Reply(401, "signature_mismatch\n", None)
    old, _ = delivery(at=1_700_000_000)
    assert post(delivery(at=1_700_000_000)[0], delivery(at=1_700_000_000)[1], True) == Reply(401, "timestamp_too_old\n", None)
    big, large = delivery(data="x" * LIMIT)
    assert post(big, large, True) == Reply(413, "body_too_large\n", None)
    if framework != "Django":  # WSGI servers give Django no body without a length
        assert post(big, large, False) == Reply(413, "body_too_large\n", None)
        assert post(headers, body, False).status == 204
    assert len(handler.events) == (3 if framework == "Django" else 4)


def test_a_verifier_without_secret_says_so() -> None:
    handler = Handler()
    assert flask_app(Verifier(None), handler)(*delivery(), True) == Reply(500, "secret_missing\n", None)  # type: ignore[arg-type]


def test_a_body_that_was_read_before_and_what_the_handler_returns() -> None:
    from flask import Flask, request

    from atlas_webhooks.flask import webhook

    app = Flask("receiver")
    app.before_request(lambda: request.get_data() and None)

    @app.post("/atlas")
    @webhook(Verifier(SECRET))
    def receive(event: Event) -> Any:
        return {"topic": event.topic}, 202

    headers, body = delivery()
    response = app.test_client().post("/atlas", headers=headers, data=body)
    assert (response.status_code, response.json) == (202, {"topic": "conversation.status"})


def test_a_body_that_ends_early() -> None:
    headers, body = delivery()
    handler = Handler()

    from fastapi import FastAPI

    from atlas_webhooks.fastapi import webhook

    app = FastAPI()
    app.post("/atlas")(webhook(Verifier(SECRET))(coroutine(handler)))
    messages = [{"type": "http.request", "body": body[:10], "more_body": True}, {"type": "http.disconnect"}]
    sent: list[Any] = []

    async def run() -> None:
        async def receive() -> Any:
            return messages.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        await app({"type": "http", "method": "POST", "path": "/atlas", "query_string": b"", "headers": [
            (name.lower().encode(), value.encode()) for name, value in headers.items()]}, receive, send)

    asyncio.run(run())
    assert sent[0]["status"] == 400 and sent[1]["body"] == b"body_unreadable\n" and not handler.events
