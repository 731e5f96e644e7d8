"""The programs of README.md run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from atlas_webhooks import Client, Verifier, WebhookError
from atlas_webhooks.testing import SECRET, delivery

from test_receive import asgi

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.S | re.M)


GUIDE = (Path(__file__).parents[3] / "docs/verify.md").read_text()


def block(marker: str) -> str:
    found = [text for text in BLOCKS if marker in text]
    assert len(found) == 1, marker
    return found[0]


def run(marker: str, **names: Any) -> dict[str, Any]:
    names = {"verifier": Verifier(SECRET), **names}
    exec(compile(block(marker), marker, "exec"), names)
    return names


def test_every_block_is_run() -> None:
    markers = ["os.environ", "atlas_webhooks.flask", "atlas_webhooks.django", "atlas_webhooks.fastapi", "atlas_webhooks.aiohttp",
               "queue.Queue", "ReplayGuard", "SQLiteStore", "publish_batch"]
    assert sorted(map(block, markers)) == sorted(BLOCKS)


def test_verify(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATLAS_WEBHOOK_SECRET", SECRET)
    receive = run("os.environ")["receive"]
    headers, body = delivery()
    assert receive(headers, body) == 204 and receive(headers, body + b"\n") == 401
    once = run("ReplayGuard")["receive_once"]
    assert once(headers, body) == once(headers, body) == 204


def test_frameworks(capsys: pytest.CaptureFixture[str]) -> None:
    from fastapi import FastAPI
    from flask import Flask

    headers, body = delivery()
    flask = Flask("receiver")
    run("atlas_webhooks.flask", app=flask)
    assert flask.test_client().post("/atlas", headers=headers, data=body).status_code == 204
    fastapi = FastAPI()
    run("atlas_webhooks.fastapi", app=fastapi)
    assert asgi(fastapi)(headers, body, True).status == 204

    from aiohttp import web

    app = web.Application()
    run("atlas_webhooks.aiohttp", app=app)
    assert [r.method for r in app.router.routes()] == ["POST"]
    assert capsys.readouterr().out.count("conversation.status") == 2


def test_the_guide() -> None:
    from flask import Flask

    app = Flask("receiver")
    (text,) = re.findall(r"^```python \(package\)\n(.*?)^```", GUIDE, re.S | re.M)
    exec(compile(text, "verify.md", "exec"), {"app": app, "secret": SECRET})
    headers, body = delivery()
    assert app.test_client().post("/hooks", headers=headers, data=body).status_code == 204


def test_django() -> None:
    django_path = pytest.importorskip("django.urls").path
    urls = run("atlas_webhooks.django", path=django_path)["urlpatterns"]
    assert urls[0].callback.csrf_exempt


def test_full() -> None:
    names = run("queue.Queue")
    event = Verifier(SECRET).verify(*delivery())
    for _ in range(1000):
        names["receive"](event)
    with pytest.raises(names["Full"]):
        names["receive"](event)


def test_inbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    inbox = run("SQLiteStore", key="awc_key")["inbox"]
    inbox._store._connection().execute("CREATE TABLE notes (id, data)")
    for _ in range(2):
        inbox.take(Verifier(SECRET).verify(*delivery(id="evt_1")))
    assert inbox._store._connection().execute("SELECT id FROM notes").fetchall() == [("evt_1",)]


def test_publish(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def once(self: Client, method: str, path: str, body: bytes, content_type: str) -> str:
        seen.append(path)
        return '{"id": "x", "duplicate": false, "data": []}'

    monkeypatch.setattr(Client, "_once", once)
    run("publish_batch", operator_key="awo_key")
    assert seen == ["/v1/events", "/v1/events/batch"]


def test_codes_are_listed() -> None:
    from typing import get_args

    from atlas_webhooks import Code

    rows = re.findall(r"^\| (`.*?) \| (\d+) \|", README, re.M)
    listed = {code: int(status) for codes, status in rows for code in re.findall(r"`(\w+)`", codes)}
    assert listed == {code: WebhookError(code, "").status for code in get_args(Code)}
