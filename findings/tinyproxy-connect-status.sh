#!/usr/bin/env bash
# Guess: a forward proxy that cannot reach the destination of a CONNECT says 502, 503 or 504, so that 500 is a
#   fault of the proxy itself.
# Truth (tinyproxy 1.11.1, Debian 12): 500 for a port that nobody listens on and for a name that does not exist;
#   403 is what its own rules refuse; it never says 502 to a CONNECT that fails.
# Why users care: whoever blames the proxy for 500 retries a dead endpoint for ever and counts nothing, whoever
#   blames the endpoint for 403 alike takes a rule of the operator for an outage. Our engine takes every status
#   from 500 on for an endpoint that cannot be reached, and looks at what else the proxy serves.
set -euo pipefail
command -v tinyproxy >/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends tinyproxy-bin >/dev/null; }
dir=$(mktemp -d); port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
dead=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
printf 'Listen 127.0.0.1\nPort %s\nMaxClients 10\nConnectPort 443\nConnectPort %s\nLogFile "%s/log"\n' "$port" "$dead" "$dir" >"$dir/conf"
tinyproxy -d -c "$dir/conf" >/dev/null 2>&1 & proxy=$!
trap 'kill $proxy; rm -rf "$dir"' EXIT
tinyproxy -v
status() { python3 - "$port" "$1" <<'PY'
import socket, sys, time
for _ in range(100):
    try:
        s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
        break
    except OSError:
        time.sleep(0.1)
s.settimeout(30)
s.sendall(f"CONNECT {sys.argv[2]} HTTP/1.1\r\nHost: {sys.argv[2]}\r\n\r\n".encode())
print(s.recv(100).split(b"\r\n")[0].decode())
PY
}
refused=$(status "127.0.0.1:$dead"); echo "nobody listens there: $refused"
unknown=$(status "no-such-name.invalid:443"); echo "no such name: $unknown"
forbidden=$(status "127.0.0.1:8445"); echo "a port that its rules do not allow: $forbidden"
[[ $refused == *" 500 "* && $unknown == *" 500 "* && $forbidden == *" 403 "* ]]
