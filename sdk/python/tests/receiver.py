"""A receiver as a process of its own, for the kill test: python receiver.py DIR FEED. It writes its port to DIR/port."""

from __future__ import annotations

import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from atlas_webhooks import Client, Event, Inbox, Verifier, WebhookError
from atlas_webhooks.stores import SQLiteStore
from atlas_webhooks.testing import SECRET

DIR, FEED = Path(sys.argv[1]), sys.argv[2]
CRASHES = set(map(int, (DIR / "crashes").read_text().split()))
LOG = os.open(DIR / "runs", os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def handle(event: Event, db: Any) -> None:
    os.write(LOG, f"{event.sequence}\n".encode())
    db.execute("INSERT INTO effects (sequence, object) VALUES (?, ?)", (event.sequence, event.data["id"]))
    marker = DIR / f"crashed-{event.sequence}"
    if event.sequence in CRASHES and not marker.exists():
        marker.touch()
        if event.sequence % 2:
            os.kill(os.getpid(), signal.SIGKILL)
        raise RuntimeError("failed")


store = SQLiteStore(str(DIR / "inbox.db"))
store._connection().execute("CREATE TABLE IF NOT EXISTS effects (at INTEGER PRIMARY KEY, sequence int, object text)")
verifier, inbox = Verifier(SECRET), Inbox(store, handle, client=Client(FEED, "key", retries=0))


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            inbox.take(verifier.verify(self.headers, body))
            status = 204
        except WebhookError as error:
            status = error.status
        except RuntimeError:
            status = 500
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
(DIR / "port.new").write_text(str(server.server_port))
(DIR / "port.new").replace(DIR / "port")
server.serve_forever()
