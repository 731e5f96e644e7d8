#!/usr/bin/env bash
# Guess: a reload that a server calls graceful serves a connection that it took before the signal and whose
#   first request comes a moment after it; only kept connections that are idle are closed.
# Truth: so do nginx 1.22, Apache 2.4 (event) and HAProxy 2.6. gunicorn 23.0.0 (gthread, SIGHUP) and Starman 0.4016
#   (SIGHUP) close most of them without a byte of answer.
# Why users care: for a client a kept connection that ends is no surprise, and it asks again on a new one.
#   When a new connection ends, it cannot tell a reload from a receiver that died over the request. Our engine
#   sends again at once only what was lost on a kept connection; after these two it waits for the schedule.
set -euo pipefail
for p in nginx apache2 haproxy starman; do command -v $p >/dev/null || [ -x /usr/sbin/$p ] || missing=1; done
[ -z "${missing:-}" ] || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nginx-light apache2-bin haproxy starman python3-venv >/dev/null; }
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv" && "$dir/venv/bin/pip" install -q --disable-pip-version-check gunicorn==23.0.0
/usr/sbin/nginx -v 2>&1; /usr/sbin/apache2 -v | sed -n 1p; /usr/sbin/haproxy -v | sed -n 1p; "$dir/venv/bin/gunicorn" --version; starman --version 2>&1 | sed -n 1p
cat >"$dir/try.py" <<'PY'
import os, signal, socket, subprocess, sys, tempfile, time
def free():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
d, port, apache = sys.argv[1], free(), "/usr/lib/apache2/modules/mod_"
def put(name, text):
    with open(f"{d}/{name}", "w") as f:
        f.write(text)
put("nginx", f"daemon off; worker_processes 2; pid {d}/np; error_log {d}/e; events {{}} http {{ access_log off; client_body_temp_path {d}/b; "
    f"proxy_temp_path {d}/p; fastcgi_temp_path {d}/f; uwsgi_temp_path {d}/u; scgi_temp_path {d}/s; server {{ listen 127.0.0.1:{port}; location / {{ return 200 ok; }} }} }}")
put("apache", f"LoadModule mpm_event_module {apache}mpm_event.so\nLoadModule authz_core_module {apache}authz_core.so\nServerName localhost\n"
    f"Listen 127.0.0.1:{port}\nDefaultRuntimeDir {d}\nPidFile {d}/ap\nErrorLog {d}/e\nKeepAliveTimeout 5\nUser www-data\nGroup www-data\n")
put("haproxy", f"global\n stats socket {d}/hs level admin expose-fd listeners\ndefaults\n mode http\n timeout connect 5s\n timeout client 10s\n timeout server 10s\n"
    f"frontend f\n bind 127.0.0.1:{port}\n http-request return status 200\n")
put("app.py", "def app(e, start):\n    start('200 OK', [('Content-Length', '2')])\n    return [b'ok']\n")
put("app.psgi", "sub { [200, ['Content-Length', 2], ['ok']] };")
servers = {
    "nginx": (["/usr/sbin/nginx", "-p", d, "-e", f"{d}/e", "-c", f"{d}/nginx"], signal.SIGHUP),
    "Apache": (["/usr/sbin/apache2", "-d", d, "-f", f"{d}/apache", "-DFOREGROUND"], signal.SIGUSR1),
    "HAProxy": (["/usr/sbin/haproxy", "-W", "-f", f"{d}/haproxy"], signal.SIGUSR2),
    "gunicorn": ([f"{d}/venv/bin/gunicorn", "--bind", f"127.0.0.1:{port}", "--worker-class", "gthread", "--workers", "2", "--threads", "20", "--chdir", d, "app:app"], signal.SIGHUP),
    "Starman": (["starman", "--listen", f"127.0.0.1:{port}", "--workers", "30", f"{d}/app.psgi"], signal.SIGHUP),
}
def dial():
    s = socket.create_connection(("127.0.0.1", port))
    s.settimeout(10)
    return s
def answered(s):
    try:
        s.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return s.recv(4096).startswith(b"HTTP/1.1 ")
    except OSError:
        return False
lost = {}
for name, (args, graceful) in servers.items():
    p = subprocess.Popen(args, cwd=d, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        for _ in range(300):
            try:
                if answered(dial()):
                    break
            except OSError:
                pass
            time.sleep(0.1)
        time.sleep(1)
        new = [dial() for _ in range(20)]
        time.sleep(0.5)
        os.kill(p.pid, graceful)
        time.sleep(0.5)
        lost[name] = sum(not answered(s) for s in new)
        print(f"{name}: of 20 new connections, {lost[name]} were closed without an answer", flush=True)
    finally:
        os.killpg(p.pid, signal.SIGKILL)
        p.wait()
assert not lost["nginx"] and not lost["Apache"] and not lost["HAProxy"] and lost["gunicorn"] and lost["Starman"], lost
PY
chmod 755 "$dir"
python3 "$dir/try.py" "$dir"
