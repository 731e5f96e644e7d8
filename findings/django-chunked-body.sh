#!/usr/bin/env bash
# Guess: a request with Transfer-Encoding: chunked, which every HTTP/1.1 server must read, reaches a view like one
#   with Content-Length; at worst the framework answers 411.
# Truth (Django 5.2.19 under gunicorn 23.0.0): the view runs with an empty request.body and the answer is 200,
#   though gunicorn decodes the chunks and says so (wsgi.input_terminated): Django's WSGI handler reads no more
#   than Content-Length. Flask 3.1.3 under the same gunicorn, Django under waitress 3.0.2 (which counts the
#   chunks and sets the length) and Django's ASGI under uvicorn 0.54.0 see the whole body.
# Why users care: a proxy in front that streams requests on turns our Content-Length into chunks. Then every
#   signature is wrong, and a receiver that does not verify confirms events that it never saw.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv" 2>/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null && python3 -m venv --clear "$dir/venv"; }
"$dir/venv/bin/pip" install -q --disable-pip-version-check django==5.2.19 flask==3.1.3 gunicorn==23.0.0 waitress==3.0.2 uvicorn==0.54.0
"$dir/venv/bin/pip" list --disable-pip-version-check 2>/dev/null | grep -iE '^(django|flask|gunicorn|waitress|uvicorn) '
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
    return HttpResponse(b"%d bytes." % len(r.body))
urlpatterns = [path("", view)]
django.setup()
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
wsgi, asgi, flask = get_wsgi_application(), get_asgi_application(), Flask("app")
@flask.post("/")
def post():
    return b"%d bytes." % len(request.get_data())
PY
cat >"$dir/try.py" <<'PY'
import re, socket, subprocess, sys, time
d, whole, bad = sys.argv[1], b'{"amount": 1}', False
def free():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
def ask(port, head, body):
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.settimeout(30)
        s.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n" + head + b"\r\n\r\n" + body)
        answer = b"".join(iter(lambda: s.recv(4096), b""))
    return answer.split(b" ")[1].decode(), int(re.search(rb"(\d+) bytes\.", answer)[1])
for name, args, seen in (
    ("Django, gunicorn", ["gunicorn", "-b", "127.0.0.1:{}", "app:wsgi"], 0),
    ("Flask, gunicorn", ["gunicorn", "-b", "127.0.0.1:{}", "app:flask"], 13),
    ("Django, waitress", ["waitress-serve", "--listen=127.0.0.1:{}", "app:wsgi"], 13),
    ("Django, uvicorn", ["uvicorn", "--host=127.0.0.1", "--port={}", "app:asgi"], 13),
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
        length = ask(port, b"Content-Length: %d" % len(whole), whole)
        chunked = ask(port, b"Transfer-Encoding: chunked", b"%x\r\n%s\r\n0\r\n\r\n" % (len(whole), whole))
    finally:
        p.terminate()
        p.wait()
    print(f"{name}: with Content-Length status {length[0]}, {length[1]} bytes; chunked status {chunked[0]}, {chunked[1]} bytes")
    bad = bad or length != ("200", 13) or chunked != ("200", seen)
sys.exit(bad)
PY
"$dir/venv/bin/python" "$dir/try.py" "$dir"
