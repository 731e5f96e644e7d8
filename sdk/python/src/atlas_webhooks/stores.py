"""Where an :class:`~atlas_webhooks.Inbox` remembers what was done.

With :class:`SQLiteStore` and :class:`PostgresStore` the handler's writes and the memory are one
transaction: a crash between them undoes both, and the event is done again. With :class:`MemoryStore` and
:class:`RedisStore` they are two: a crash between them lets the event be done twice.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Callable, Optional

from ._inbox import Outcome
from ._receive import Full

__all__ = ["MemoryStore", "PostgresStore", "RedisStore", "SQLiteStore"]


class MemoryStore:
    """Remembers in this process, for tests and for receivers whose effects end with it. One event at a time."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._done: set[tuple[str, str]] = set()
        self._positions: dict[str, int] = {}

    def position(self, webhook_id: str) -> Optional[int]:
        return self._positions.get(webhook_id)

    def once(self, webhook_id: str, event_id: str, sequence: int, run: Callable[[Any], None]) -> Outcome:
        with self._lock:
            if (webhook_id, event_id) in self._done:
                return "duplicate"
            run(None)
            self._done.add((webhook_id, event_id))
            if sequence:
                self._positions[webhook_id] = max(sequence, self._positions.get(webhook_id, 0))
        return "done"


_TABLES = """
CREATE TABLE IF NOT EXISTS atlas_inbox_events (
  webhook_id text NOT NULL, event_id text NOT NULL, done_at double precision NOT NULL, PRIMARY KEY (webhook_id, event_id));
CREATE TABLE IF NOT EXISTS atlas_inbox_positions (webhook_id text PRIMARY KEY, sequence bigint NOT NULL);
"""


class SQLiteStore:
    """Remembers in a SQLite file. The handler gets the :class:`sqlite3.Connection`. One event at a time."""

    def __init__(self, path: str, *, timeout: float = 30) -> None:
        self._path, self._timeout = path, timeout
        self._local = threading.local()
        self._connection().executescript(_TABLES)

    def position(self, webhook_id: str) -> Optional[int]:
        row = self._connection().execute("SELECT sequence FROM atlas_inbox_positions WHERE webhook_id = ?", (webhook_id,)).fetchone()
        return None if row is None else row[0]

    def once(self, webhook_id: str, event_id: str, sequence: int, run: Callable[[Any], None]) -> Outcome:
        db = self._connection()
        with _transaction(db):
            new = db.execute("INSERT INTO atlas_inbox_events VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (webhook_id, event_id, time.time()))
            if new.rowcount == 0:
                return "duplicate"
            run(db)
            if sequence:
                db.execute(
                    "INSERT INTO atlas_inbox_positions VALUES (?, ?) ON CONFLICT (webhook_id) DO UPDATE SET sequence = max(sequence, excluded.sequence)",
                    (webhook_id, sequence),
                )
        return "done"

    def prune(self, days: float = 40) -> int:
        """Forgets what was done longer ago than the server keeps its events. Returns how many."""
        return self._connection().execute("DELETE FROM atlas_inbox_events WHERE done_at < ?", (time.time() - days * 86400,)).rowcount

    def _connection(self) -> sqlite3.Connection:
        db: Optional[sqlite3.Connection] = getattr(self._local, "db", None)
        if db is None:
            db = self._local.db = sqlite3.connect(self._path, timeout=self._timeout, isolation_level=None)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")  # done means on disk
        return db


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


class PostgresStore:
    """Remembers in Postgres, by psycopg 3. The handler gets the connection.

    ``connect`` gives a connection as a context manager: ``lambda: psycopg.connect(dsn)``, or the method
    ``connection`` of a pool. A webhook's events are done in turn, those of several at once.
    """

    def __init__(self, connect: Callable[[], AbstractContextManager[Any]]) -> None:
        self._connect = connect
        with connect() as db:
            db.execute("SELECT pg_advisory_xact_lock(7237118)")  # who creates the tables at the same time
            for statement in _TABLES.strip().split(";\n"):
                db.execute(statement)

    def position(self, webhook_id: str) -> Optional[int]:
        with self._connect() as db:
            row = db.execute("SELECT sequence FROM atlas_inbox_positions WHERE webhook_id = %s", (webhook_id,)).fetchone()
        return None if row is None else row[0]

    def once(self, webhook_id: str, event_id: str, sequence: int, run: Callable[[Any], None]) -> Outcome:
        with self._connect() as db, db.transaction():
            # Who is at the same event waits here for its end.
            new = db.execute(
                "INSERT INTO atlas_inbox_events VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", (webhook_id, event_id, time.time())
            )
            if new.rowcount == 0:
                return "duplicate"
            run(db)
            if sequence:
                db.execute(
                    "INSERT INTO atlas_inbox_positions AS p VALUES (%s, %s)"
                    " ON CONFLICT (webhook_id) DO UPDATE SET sequence = greatest(p.sequence, excluded.sequence)",
                    (webhook_id, sequence),
                )
        return "done"

    def prune(self, days: float = 40) -> int:
        """Forgets what was done longer ago than the server keeps its events. Returns how many."""
        with self._connect() as db:
            return db.execute("DELETE FROM atlas_inbox_events WHERE done_at < %s", (time.time() - days * 86400,)).rowcount  # type: ignore[no-any-return]


class RedisStore:
    """Remembers in Redis, by redis-py. The handler gets None.

    A claim ends after ``lease`` seconds, should its process have crashed; a handler takes less. What was
    done is forgotten after ``days``, which should be longer than the server keeps its events.
    """

    def __init__(self, client: Any, *, prefix: str = "atlas-inbox:", lease: float = 60, days: float = 40) -> None:
        self._client, self._prefix = client, prefix
        self._lease, self._kept = int(lease * 1000), int(days * 86_400_000)

    def position(self, webhook_id: str) -> Optional[int]:
        value = self._client.get(f"{self._prefix}position:{webhook_id}")
        return None if value is None else int(value)

    def once(self, webhook_id: str, event_id: str, sequence: int, run: Callable[[Any], None]) -> Outcome:
        key, token = f"{self._prefix}event:{webhook_id}:{event_id}", secrets.token_hex(8)
        if not self._client.set(key, token, nx=True, px=self._lease):
            if self._client.get(key) in (b"done", "done"):
                return "duplicate"
            raise Full(retry_after=1)  # another process is at it
        try:
            run(None)
        except BaseException:
            self._client.eval(_RELEASE, 1, key, token)
            raise
        self._client.eval(_FINISH, 2, key, f"{self._prefix}position:{webhook_id}", self._kept, sequence)
        return "done"


_RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then redis.call('del', KEYS[1]) end"
_FINISH = """
redis.call('set', KEYS[1], 'done', 'px', ARGV[1])
if tonumber(ARGV[2]) > tonumber(redis.call('get', KEYS[2]) or '0') then redis.call('set', KEYS[2], ARGV[2]) end
"""
