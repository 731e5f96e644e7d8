#!/usr/bin/env bash
# Guess: a view that answers 204 with a text is harmless: the framework or the server leaves the text out, as a 204
#   has no content and ends with its head (RFC 9110, 15.3.5).
# Truth (Django 5.2.19 under gunicorn 23.0.0, gthread): the text follows the head on a connection that is kept, and
#   the next answer begins in the middle of a line: "okHTTP/1.1 204". Flask 3.1.3 under the same gunicorn leaves
#   it out; waitress 3.0.2 and uvicorn 0.54.0 leave it out and close the connection; hypercorn 0.18.0 keeps it.
# Why users care: "204 and ok" is easily written. Of two deliveries in a row the second then gets an answer that is
#   no HTTP, and counts as failed though it has been done. To look at a kept connection before the second request
#   helps only if the text is there by then: it is written on its own.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv" 2>/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null && python3 -m venv --clear "$dir/venv"; }
"$dir/venv/bin/pip" install -q --disable-pip-version-check django==5.2.19 flask==3.1.3 gunicorn==23.0.0 waitress==3.0.2 uvicorn==0.54.0 hypercorn==0.18.0
"$dir/venv/bin/pip" list --disable-pip-version-check 2>/dev/null | grep -iE '^(django|flask|gunicorn|waitress|uvicorn|hypercorn) '
cat >"$dir/app.py" <<'PY'
import django
from django.conf import settings
from django.http import HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from flask import Flask, request
settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF="app", SECRET_KEY="only-a-test")
@csrf_exempt
def view(r):
    return HttpResponse("ok", status=204 if r.body else 500)
urlpatterns = [path("", view)]
django.setup()
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
wsgi, asgi, flask = get_wsgi_application(), get_asgi_application(), Flask("app")
@flask.post("/")
def post():
    return "ok", 204 if request.get_data() else 500
PY
cat >"$dir/try.py" <<'PY'
import socket, subprocess, sys, time
d, bad = sys.argv[1], False
request = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n%s\r\n{}"
def free():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
def ask(port):
    """Two requests, one after the other; what follows the first head until the second answer is over."""
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.settimeout(30)
        s.sendall(request % b"")
        got = b""
        while b"\r\n\r\n" not in got:
            got += s.recv(4096)
        first = got.split(b" ")[1].decode()
        try:
            s.sendall(request % b"Connection: close\r\n")
            while piece := s.recv(4096):
                got += piece
        except OSError:
            pass
        rest = got.split(b"\r\n\r\n", 1)[1].split(b"\r\n")[0].decode()
    return first, rest
gunicorn = ["gunicorn", "-k", "gthread", "--threads", "4", "-b", "127.0.0.1:{}"]
for name, args, expected in (
    ("Django, gunicorn", [*gunicorn, "app:wsgi"], "okHTTP/1.1 204"),
    ("Flask, gunicorn", [*gunicorn, "app:flask"], "HTTP/1.1 204"),
    ("Django, waitress", ["waitress-serve", "--listen=127.0.0.1:{}", "app:wsgi"], ""),
    ("Django, uvicorn", ["uvicorn", "--host=127.0.0.1", "--port={}", "app:asgi"], ""),
    ("Django, hypercorn", ["hypercorn", "-b", "127.0.0.1:{}", "app:asgi"], "HTTP/1.1 204"),
):
    port = free()
    p = subprocess.Popen([a.format(port) for a in [f"{d}/venv/bin/{args[0]}", *args[1:]]], cwd=d, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.1)
        first, rest = ask(port)
    finally:
        p.terminate()
        p.wait()
    print(f"{name}: {first}, and after its head: {rest or 'the end of the connection'}")
    bad = bad or first != "204" or not rest.startswith(expected) or (not expected and rest)
sys.exit(bool(bad))
PY
"$dir/venv/bin/python" "$dir/try.py" "$dir"
