#!/usr/bin/env bash
# Guess: a client of server-sent events comes back by itself whatever ends the stream, also when the proxy before a
#   server that restarts answers 502 or 503 for a moment; that is what retry: and Last-Event-ID are for.
# Truth: npm eventsource 4.1.1 comes back after an ended stream and is closed for good by the 502 that it meets
#   (as the HTML standard says); @microsoft/fetch-event-source 2.0.1 and launchdarkly-eventsource 1.7.4 as they are
#   end with the stream itself, without an error; aiohttp-sse-client2 0.3.0 raises at the 502. Of five, only
#   eventsource-client 1.2.0 goes on.
# Why users care: whoever follows GET /v1/stream through a proxy sees nothing any more after the first deploy of
#   the server, and no library says so but one. Open the stream again yourself, and read what was missed.
set -euo pipefail
dir=$(mktemp -d); server=; trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv 2>/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null && python3 -m venv --clear venv; }
venv/bin/pip install -q --disable-pip-version-check launchdarkly-eventsource==1.7.4 aiohttp-sse-client2==0.3.0 aiohttp==3.14.5
npm install --silent --no-fund --no-audit eventsource@4.1.1 eventsource-client@1.2.0 @microsoft/fetch-event-source@2.0.1 >/dev/null
venv/bin/pip list --disable-pip-version-check 2>/dev/null | grep -E '^(launchdarkly-eventsource|aiohttp-sse-client2) '
cat >server.py <<'PY'
# A stream with one event that ends, two answers of a proxy, then streams again.
import http.server, sys
asked = 0
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        global asked
        asked += 1
        stream = asked not in (2, 3)
        body = b"retry: 100\nid: %d\ndata: %s\n\n" % (asked, b"before" if asked == 1 else b"after") if stream else b"restarting"
        self.send_response(200 if stream else int(sys.argv[1]))
        self.send_header("Content-Type", "text/event-stream" if stream else "text/html")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True
    def log_message(self, *a): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
PY
cat >eventsource.mjs <<'JS'
import { EventSource } from "eventsource";
const s = new EventSource(process.argv[2]);
s.onmessage = (e) => { console.log(e.data); if (e.data === "after") process.exit(); };
s.onerror = (e) => { if (s.readyState === s.CLOSED) { console.log("closed at " + e.code); process.exit(); } };
JS
cat >client.mjs <<'JS'
import { createEventSource } from "eventsource-client";
createEventSource({ url: process.argv[2], onMessage: (e) => { console.log(e.data); if (e.data === "after") process.exit(); } });
JS
cat >fetch.mjs <<'JS'
globalThis.window = globalThis; // it is made for browsers, and asks whether the page is visible
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
const { fetchEventSource } = await import("@microsoft/fetch-event-source");
await fetchEventSource(process.argv[2], { onmessage: (e) => { console.log(e.data); if (e.data === "after") process.exit(); } });
console.log("returned"); process.exit();
JS
cat >launchdarkly.py <<'PY'
import sys
from ld_eventsource import SSEClient
for e in SSEClient(sys.argv[1]).events:
    print(e.data, flush=True)
    if e.data == "after": sys.exit()
print("returned")
PY
cat >aiohttp_client.py <<'PY'
import asyncio, sys
from aiohttp_sse_client2 import client
async def follow():
    async with client.EventSource(sys.argv[1]) as s:
        async for e in s:
            print(e.data, flush=True)
            if e.data == "after": return
try: asyncio.run(follow())
except ConnectionError as e: print("raised", type(e).__name__)
PY
changed=0
see() { # status, what is expected, command
  local status=$1 want=$2; shift 2
  : >port; python3 server.py "$status" >port & server=$!
  until [ -s port ]; do sleep 0.1; done
  local got; got=$(timeout 20 "$@" "http://127.0.0.1:$(cat port)/" 2>/dev/null | paste -sd, || true)
  kill "$server"; wait "$server" 2>/dev/null || true; server=
  echo "$status ${*: -1}: ${got:-nothing}"
  [ "$got" = "$want" ] || { echo "  expected $want"; changed=1; }
}
for status in 502 503; do
  see $status "before,closed at $status" node eventsource.mjs
  see $status "before,after" node client.mjs
  see $status "before,returned" node fetch.mjs
  see $status "before,returned" venv/bin/python launchdarkly.py
  see $status "before,raised ConnectionError" venv/bin/python aiohttp_client.py
done
exit $changed
