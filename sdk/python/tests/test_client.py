from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from atlas_webhooks import AsyncClient, Client, Problem, Publish, Published


class Server(BaseHTTPRequestHandler):
    """Answers as it is told, and then well; remembers events by id."""

    def do_POST(self) -> None:
        self.handle_one(self.rfile.read(int(self.headers["Content-Length"])).decode())

    def do_GET(self) -> None:
        self.handle_one("")

    def handle_one(self, body: str) -> None:
        server: Any = self.server
        server.seen.append((self.command, self.path, dict(self.headers), body))
        if server.answers:
            status, headers, text = server.answers.pop(0)
            if status == "carried out, and the connection lost":
                server.events.update(json.loads(line)["id"] for line in body.splitlines())
                self.close_connection = True
                return
        elif self.command == "GET":
            status, headers, text = 200, {}, json.dumps({"data": []})
        else:
            answers = []
            for line in body.splitlines():
                event = json.loads(line)
                answers.append({"id": event["id"], "duplicate": event["id"] in server.events})
                server.events.add(event["id"])
            status, headers, text = 202, {}, json.dumps({"data": answers} if self.path.endswith("batch") else answers[0])
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def server() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.seen, server.answers, server.events = [], [], set()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def client(server: Any, **options: Any) -> tuple[Client, list[float]]:
    c, pauses = Client(f"http://127.0.0.1:{server.server_port}/", "awo_key", company="c1", **options), []  # type: ignore[var-annotated]
    c._sleep = pauses.append
    return c, pauses


def test_publish(server: Any) -> None:
    c, _ = client(server)
    assert c.publish("customer.created", {"id": "c_1", "name": "José"}, id="evt_1", object_id="o_1") == Published("evt_1", False)
    assert c.publish("customer.created", {"id": "c_1"}, id="evt_1").duplicate
    method, path, headers, body = server.seen[0]
    assert (method, path) == ("POST", "/v1/events")
    assert json.loads(body) == {"company_id": "c1", "event": "customer.created", "id": "evt_1", "object_id": "o_1", "data": {"id": "c_1", "name": "José"}}
    assert headers["Authorization"] == "Bearer awo_key" and headers["X-Atlas-Company-Id"] == "c1"


def test_the_document_reaches_the_server_as_it_is_written(server: Any) -> None:
    c, _ = client(server)
    c.publish("customer", data_text='{"n": 1.10,\n "n": 12345678901234567890}')
    assert server.seen[0][3].endswith('"data": {"n": 1.10,  "n": 12345678901234567890}}')
    for text in ("{", '"a\nb"', "NaN", ""):
        with pytest.raises(ValueError):
            c.publish("customer", data_text=text)
    with pytest.raises(ValueError):
        c.publish("customer", float("nan"))


def test_a_batch_is_ndjson(server: Any) -> None:
    c, _ = client(server)
    events = [Publish("customer", {"id": n}, company="c2") for n in range(3)]
    published = c.publish_batch(events)
    assert len({p.id for p in published}) == 3 and not any(p.duplicate for p in published)
    _, path, headers, body = server.seen[0]
    assert path == "/v1/events/batch" and headers["Content-Type"] == "application/x-ndjson"
    assert [json.loads(line)["data"]["id"] for line in body.splitlines()] == [0, 1, 2]
    assert json.loads(body.splitlines()[0])["company_id"] == "c2"
    assert len(list(c.publish_all((Publish("customer", n) for n in range(5)), batch=2))) == 5
    assert len(server.seen) == 4


def test_passing_failures_are_repeated_and_publish_once(server: Any) -> None:
    c, pauses = client(server)
    server.answers = [(503, {"Retry-After": "3"}, "{}"), (502, {}, "<html>"), (429, {}, ""), ("carried out, and the connection lost", {}, "")]
    published = c.publish("customer", {})
    assert published.duplicate and len(server.events) == 1 and len(server.seen) == 5
    assert len({body for _, _, _, body in server.seen}) == 1
    assert pauses[0] == 3 and all(0.1 <= pause <= 3 for pause in pauses)


def test_other_failures_are_raised(server: Any) -> None:
    c, pauses = client(server)
    problem = {"code": "unknown_topic", "detail": "there is no such topic", "request_id": "req_1", "errors": [{"field": "event"}]}
    for answer, code in (((422, {}, json.dumps(problem)), "unknown_topic"), ((307, {"Location": "/"}, ""), ""), ((500, {}, "[]"), ""),
                         ((503, {"Retry-After": "60"}, ""), "")):
        server.answers = [answer]
        with pytest.raises(Problem) as raised:
            c.publish("customer", {})
        assert (raised.value.status, raised.value.code) == (answer[0], code)
    assert not pauses and len(server.seen) == 4
    assert str(Problem(422, "unknown_topic", "there is no such topic")) == "unknown_topic (422): there is no such topic"
    server.answers = [(503, {}, "")] * 3
    with pytest.raises(Problem):
        client(server, retries=2)[0].publish("customer", {})


def test_nobody_there() -> None:
    c = Client("http://127.0.0.1:1", "key", retries=1)
    pauses: list[float] = []
    c._sleep = pauses.append
    with pytest.raises(OSError):
        c.publish("customer", {})
    assert len(pauses) == 1
    for url, key in (("hooks.example.com", "key"), ("http://x", "")):
        with pytest.raises(ValueError):
            Client(url, key)


def test_pull(server: Any) -> None:
    c, _ = client(server)
    server.answers = [
        (200, {}, '{"data": [{"sequence": 4, "event_id": "evt_4", "event": "customer", "object_id": null, "data": {"n": 1.10, "a": [1, 2]}}\n,'
                  ' {"sequence": 6, "event_id": "evt_6", "event": "customer", "object_id": "o", "data": "x"}], "limit": 250, "next_after": 6}'),
        (200, {}, '{"data": [ ], "limit": 250, "next_after": 6}'),
    ]
    events = list(c.pull("wh_1", 3))
    assert [(e.sequence, e.id, e.topic, e.object_id, e.data_text) for e in events] == [
        (4, "evt_4", "customer", "", '{"n": 1.10, "a": [1, 2]}'), (6, "evt_6", "customer", "o", '"x"')]
    assert [path for _, path, _, _ in server.seen] == ["/v1/webhooks/wh_1/events?after=3&limit=250", "/v1/webhooks/wh_1/events?after=6&limit=250"]


def test_async(server: Any) -> None:
    async def run() -> None:
        c = AsyncClient(f"http://127.0.0.1:{server.server_port}", "key", company="c1")
        assert (await c.publish("customer", {}, id="evt_1")) == Published("evt_1", False)
        assert len(await c.publish_batch([Publish("customer", 1), Publish("customer", 2)])) == 2
        assert len([p async for p in c.publish_all(Publish("customer", n) for n in range(3))]) == 3

    asyncio.run(run())
