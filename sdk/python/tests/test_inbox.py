from __future__ import annotations

import http.client
import json
import os
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable, Optional

import pytest

from atlas_webhooks import Client, Event, FedEvent, Full, Gap, Inbox, Verifier, WebhookError
from atlas_webhooks.stores import MemoryStore, PostgresStore, RedisStore, SQLiteStore
from atlas_webhooks.testing import SECRET, delivery

FULL = os.environ.get("ATLAS_SDK_FULL") == "1"


def event(sequence: int, webhook_id: str = "wh_1", id: Optional[str] = None) -> Event:
    headers, body = delivery(data={"id": f"c-{sequence}"}, id=id or f"evt_{sequence}", sequence=sequence or None, webhook_id=webhook_id)
    return Verifier(SECRET).verify(headers, body)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = str(found[-1]) if found else shutil.which("initdb")
    if not initdb or os.geteuid() == 0 and not shutil.which("runuser"):
        pytest.skip("no Postgres")
    dir = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if user:
        shutil.chown(dir, "postgres")
    run = {"check": True, "stdout": subprocess.DEVNULL, "cwd": dir}
    subprocess.run([*user, initdb, "-D", f"{dir}/data", "-A", "trust", "-U", "postgres", "--no-sync"], **run)
    ctl = [*user, str(Path(initdb).with_name("pg_ctl")), "-D", f"{dir}/data", "-w"]
    subprocess.run([*ctl, "-o", f"-k {dir} -c listen_addresses=", "-l", f"{dir}/log", "start"], **run)
    yield f"host={dir} user=postgres dbname=postgres"
    subprocess.run([*ctl, "-m", "immediate", "stop"], **run)
    shutil.rmtree(dir)


@pytest.fixture(scope="module")
def redis_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not shutil.which("redis-server"):
        pytest.skip("no Redis")
    dir = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    path = str(dir / "s")
    server = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--dir", str(dir)], stdout=subprocess.DEVNULL)
    while True:
        with socket.socket(socket.AF_UNIX) as s:
            if s.connect_ex(path) == 0:
                break
        assert server.poll() is None
        time.sleep(0.02)
    yield path
    server.kill()
    server.wait()
    shutil.rmtree(dir)


Make = Callable[[], Any]


@pytest.fixture(params=["memory", "SQLite", "Postgres", "Redis"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Opens the store of the test: again, it remembers, as another process would see it."""
    if request.param == "memory":
        store = MemoryStore()
        return lambda: store
    if request.param == "SQLite":
        return lambda: SQLiteStore(str(tmp_path / "inbox.db"))
    if request.param == "Postgres":
        import psycopg

        dsn = request.getfixturevalue("postgres")
        with psycopg.connect(dsn) as db:
            db.execute("DROP TABLE IF EXISTS atlas_inbox_events, atlas_inbox_positions")
        return lambda: PostgresStore(lambda: psycopg.connect(dsn))
    import redis

    client = redis.Redis(unix_socket_path=request.getfixturevalue("redis_socket"))
    client.flushall()
    return lambda: RedisStore(client)


class Feed:
    """A client whose server has some of a webhook's events."""

    def __init__(self, *sequences: int) -> None:
        self.sequences = sequences
        self.asked: list[tuple[str, int]] = []

    def pull(self, webhook_id: str, after: int) -> Iterator[FedEvent]:
        self.asked.append((webhook_id, after))
        for n in self.sequences:
            if n > after:
                yield FedEvent(n, f"evt_{n}", "conversation.status", f"c-{n}", {"id": f"c-{n}"}, f'{{"id": "c-{n}"}}')


class Receiver:
    def __init__(self, make: Make, client: Any = None) -> None:
        self.done: list[int] = []
        self.gaps: list[Gap] = []
        self.fails: set[int] = set()
        self.inbox = Inbox(make(), self.handle, client=client, on_gap=self.gaps.append)

    def handle(self, event: Event, db: Any) -> None:
        if event.sequence in self.fails:
            raise RuntimeError("broken")
        self.done.append(event.sequence)


def test_once(make: Make) -> None:
    r = Receiver(make)
    for e in (event(1), event(1), event(1, "wh_2"), event(0, id="evt_test"), event(0, id="evt_test")):
        r.inbox.take(e)
    assert r.done == [1, 1, 0]
    again = Receiver(make)  # after a restart
    again.inbox.take(event(1))
    again.inbox.take(event(2))
    assert again.done == [2] and not again.gaps


def test_a_failure_releases(make: Make) -> None:
    r = Receiver(make)
    r.fails = {1}
    with pytest.raises(RuntimeError):
        r.inbox.take(event(1))
    assert make().position("wh_1") is None
    r.fails = set()
    r.inbox.take(event(1))
    assert r.done == [1] and make().position("wh_1") == 1


def test_a_gap_is_fetched_in_order(make: Make) -> None:
    feed = Feed(1, 2, 3, 4, 5, 6)
    r = Receiver(make, feed)
    for n in (1, 4, 3, 2, 5):  # 3 and 2 come late
        r.inbox.take(event(n))
    assert r.done == [1, 2, 3, 4, 5] and feed.asked == [("wh_1", 1)] and not r.gaps
    assert r.inbox.catch_up("wh_1") == 1 and r.done[-1] == 6


def test_a_missing_event_that_fails_holds_up(make: Make) -> None:
    r = Receiver(make, Feed(1, 2, 3))
    r.inbox.take(event(1))
    r.fails = {2}
    with pytest.raises(RuntimeError):
        r.inbox.take(event(3))
    assert r.done == [1]
    r.fails = set()
    r.inbox.take(event(3))
    r.inbox.take(event(2))
    assert r.done == [1, 2, 3]


def test_what_the_feed_does_not_have_is_reported(make: Make) -> None:
    r = Receiver(make, Feed(1, 4, 6))
    r.inbox.take(event(1))
    r.inbox.take(event(5))
    assert r.done == [1, 4, 5] and r.gaps == [Gap("wh_1", 2, 3, "purged")]
    r.inbox.take(event(9))
    assert r.done == [1, 4, 5, 6, 9] and r.gaps[1:] == [Gap("wh_1", 7, 8, "not there")]


def test_without_a_client_a_gap_is_reported(make: Make) -> None:
    r = Receiver(make)
    for n in (1, 4, 3, 5):
        r.inbox.take(event(n))
    assert r.done == [1, 4, 3, 5] and r.gaps == [Gap("wh_1", 2, 3, "no client")]
    with pytest.raises(ValueError):
        r.inbox.catch_up("wh_1")


def test_two_at_one_event(make: Make) -> None:
    inside, leave = threading.Event(), threading.Event()
    runs: list[int] = []

    def slow(e: Event, db: Any) -> None:
        runs.append(e.sequence)
        inside.set()
        leave.wait(10)

    inbox = Inbox(make(), slow)
    first = threading.Thread(target=inbox.take, args=(event(1),))
    first.start()
    inside.wait(10)
    if isinstance(inbox._store, RedisStore):
        with pytest.raises(Full):
            inbox.take(event(1))
        leave.set()
    else:
        second = threading.Thread(target=inbox.take, args=(event(1),))
        second.start()
        leave.set()
        second.join()
    first.join()
    inbox.take(event(1))
    assert runs == [1]


def test_effects_are_one_with_the_memory(tmp_path: Path, postgres: str) -> None:
    import psycopg

    dsn = postgres
    stores: list[Any] = [SQLiteStore(str(tmp_path / "a.db")), PostgresStore(lambda: psycopg.connect(dsn))]
    for store in stores:
        def handle(e: Event, db: Any) -> None:
            db.execute("CREATE TABLE effect (n int)")
            if e.attempt == 1:
                raise RuntimeError("broken")

        inbox = Inbox(store, handle)
        e = event(1, id="evt_effects")
        with pytest.raises(RuntimeError):
            inbox.take(e)
        e.attempt = 2
        inbox.take(e)  # would fail if the table were there


def test_an_id_that_is_not_verified_is_refused() -> None:
    headers, body = delivery(secret="an imported secret")
    e = Verifier("an imported secret").verify(headers, body)
    with pytest.raises(WebhookError) as refused:
        Inbox(MemoryStore(), lambda e, db: None).take(e)
    assert refused.value.code == "id_missing"
    Inbox(MemoryStore(), lambda e, db: None, unverified_ids=True).take(e)


def test_a_lease_ends(redis_socket: str) -> None:
    import redis

    client = redis.Redis(unix_socket_path=redis_socket)
    client.set("atlas-inbox:event:wh_1:evt_1", "of a process that crashed", px=30)
    store = RedisStore(client)
    while client.exists("atlas-inbox:event:wh_1:evt_1"):
        time.sleep(0.01)
    assert store.once("wh_1", "evt_1", 1, lambda db: None) == "done"


def test_what_is_old_is_forgotten(tmp_path: Path) -> None:
    store = SQLiteStore(str(tmp_path / "a.db"))
    store.once("wh_1", "evt_1", 1, lambda db: None)
    assert store.prune(days=1) == 0 and store.prune(days=-1) == 1
    assert store.position("wh_1") == 1


class FeedServer(BaseHTTPRequestHandler):
    total = 0

    def do_GET(self) -> None:
        after = int(self.path.split("after=")[1].split("&")[0])
        fed = [{"sequence": n, "event_id": f"evt_{n}", "event": "conversation", "object_id": None, "data": {"id": f"c-{n % 5}"}}
               for n in range(after + 1, min(after + 251, self.total + 1))]
        text = json.dumps({"data": fed, "limit": 250, "next_after": after}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None: ...


def test_a_receiver_that_is_killed(tmp_path: Path) -> None:
    """Events come out of order, by four senders; the receiver is killed in the midst of some, and fails at
    others. Each event takes effect once, all of them do, in order, and only those are repeated."""
    total = 5000 if FULL else 40
    crashes = {7, 12, 21, 30} if not FULL else set(range(100, total, 97))
    (tmp_path / "crashes").write_text(" ".join(map(str, crashes)))
    FeedServer.total = total
    feed = ThreadingHTTPServer(("127.0.0.1", 0), FeedServer)
    threading.Thread(target=feed.serve_forever, daemon=True).start()
    over = threading.Event()

    def supervise() -> None:
        while not over.is_set():
            receiver = subprocess.Popen([sys.executable, str(Path(__file__).with_name("receiver.py")), str(tmp_path),
                                         f"http://127.0.0.1:{feed.server_port}"], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
            while receiver.poll() is None and not over.wait(0.01):
                pass
            receiver.kill()
            receiver.wait()

    supervisor = threading.Thread(target=supervise)
    supervisor.start()

    def send(n: int) -> None:
        while not over.is_set():
            headers, body = delivery("conversation", {"id": f"c-{n % 5}"}, id=f"evt_{n}", sequence=n, webhook_id="wh_1")
            connection = http.client.HTTPConnection("127.0.0.1", timeout=30)
            try:
                connection.port = int((tmp_path / "port").read_text())
                connection.request("POST", "/", body, headers)
                if connection.getresponse().status == 204:
                    return
            except (OSError, http.client.HTTPException):
                pass
            finally:
                connection.close()
            time.sleep(0.02)

    try:
        send(1)  # the first begins the sequence
        order = list(range(2, total + 1))
        shuffle = random.Random(1)
        for at in range(0, len(order), 6):
            window = order[at : at + 6]
            shuffle.shuffle(window)
            order[at : at + 6] = window
        with ThreadPoolExecutor(4) as senders:
            list(senders.map(send, order))
    finally:
        over.set()
        supervisor.join()
        feed.shutdown()
        feed.server_close()
    effects = [n for (n,) in sqlite3.connect(tmp_path / "inbox.db").execute("SELECT sequence FROM effects ORDER BY at")]
    assert effects == list(range(1, total + 1))
    runs = Counter(map(int, (tmp_path / "runs").read_text().split()))
    assert {n for n, times in runs.items() if times > 1} == crashes and max(runs.values()) == 2
