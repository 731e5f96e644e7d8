#!/usr/bin/env bash
# Guess: a server of HTTP/1.1 refuses a client that offers only h2 with the alert no_application_protocol, as
#   RFC 7301 (3.2) demands of it; an old one would ignore the extension.
# Truth: so do nginx 1.22 and Node.js 20. HAProxy 2.6 with `alpn http/1.1` and Python 3.11's ssl go on without any
#   protocol. Apache 2.4 (2.4.71, Debian 12) chooses http/1.1, which was not offered, and the client breaks off.
# Why users care: after a handshake without ALPN a client that wants HTTP/2 must not send its preface: these
#   servers read it as a bad HTTP/1 request. And Apache's answer is an alert of the *client*: the receiver's log
#   shows a client that misbehaves. Whoever offers h2 offers http/1.1 beside it.
set -euo pipefail
for p in nginx apache2 haproxy node openssl; do command -v $p >/dev/null || [ -x /usr/sbin/$p ] || missing=1; done
[ -z "${missing:-}" ] || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nginx-light apache2-bin haproxy nodejs openssl >/dev/null; }
dir=$(mktemp -d); chmod 755 "$dir"; pids=(); trap '[ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null || true; wait; rm -rf "$dir"' EXIT
cd "$dir"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key -out cert -days 2 -subj /CN=localhost 2>/dev/null
cat key cert >both
read -r n a h j p < <(python3 -c 'import socket
s = [socket.socket() for _ in range(5)]
for x in s: x.bind(("127.0.0.1", 0))
print(*[x.getsockname()[1] for x in s])')
m=/usr/lib/apache2/modules/mod_
echo "daemon off; worker_processes 1; pid $dir/np; error_log $dir/ne; events {} http { access_log off; client_body_temp_path $dir/b; proxy_temp_path $dir/p; fastcgi_temp_path $dir/f; uwsgi_temp_path $dir/u; scgi_temp_path $dir/s;
  server { listen 127.0.0.1:$n ssl; ssl_certificate $dir/cert; ssl_certificate_key $dir/key; location / { return 200 ok; } } }" >nginx
printf '%s\n' "LoadModule mpm_event_module ${m}mpm_event.so" "LoadModule authz_core_module ${m}authz_core.so" "LoadModule ssl_module ${m}ssl.so" \
  "ServerName localhost" "Listen 127.0.0.1:$a" "DefaultRuntimeDir $dir" "PidFile $dir/ap" "ErrorLog $dir/ae" "Mutex file:$dir" "SSLSessionCache none" \
  "User www-data" "Group www-data" "SSLEngine on" "SSLCertificateFile $dir/cert" "SSLCertificateKeyFile $dir/key" >apache
printf 'defaults\n mode http\n timeout connect 5s\n timeout client 10s\n timeout server 10s\nfrontend f\n bind 127.0.0.1:%s ssl crt %s/both alpn http/1.1\n http-request return status 200\n' "$h" "$dir" >haproxy
cat >node.js <<'JS'
const fs = require("fs");
require("https").createServer({ key: fs.readFileSync("key"), cert: fs.readFileSync("cert") }, (q, r) => r.end("ok")).listen(+process.argv[2], "127.0.0.1");
JS
cat >python.py <<'PY'
import http.server, ssl, sys
s = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler)
c = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
c.load_cert_chain("cert", "key")
c.set_alpn_protocols(["http/1.1"])
s.socket = c.wrap_socket(s.socket, server_side=True)
s.serve_forever()
PY
start() { "$@" >>log 2>&1 & pids+=($!); }
start /usr/sbin/nginx -p "$dir" -e "$dir/ne" -c "$dir/nginx"
start /usr/sbin/apache2 -d "$dir" -f "$dir/apache" -DFOREGROUND
start /usr/sbin/haproxy -f haproxy
start node node.js "$j"
start python3 python.py "$p"
/usr/sbin/nginx -v 2>&1; /usr/sbin/apache2 -v | sed -n 1p; /usr/sbin/haproxy -v | sed -n 1p; echo "Node.js $(node --version)"; python3 --version
# ask PORT PROTOCOLS: what the server chose, or that it chose none, or which alert came of it; TLS 1.2, where the choice can be read.
ask() {
  for _ in $(seq 200); do (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && break; sleep 0.1; done
  { openssl s_client -connect "127.0.0.1:$1" -tls1_2 -alpn "$2" -msg </dev/null 2>&1 || true; } >out
  if grep -q 'alert no application protocol' out; then echo "the alert no_application_protocol"
  elif grep -q '>>> TLS 1.2, Alert.*fatal' out; then echo "chosen what was not offered: the client's alert $(sed -n 's/.*>>> TLS 1.2, Alert.*fatal //p' out | head -1)"
  elif grep -q 'No ALPN negotiated' out; then echo "no protocol"
  else sed -n 's/^ALPN protocol: //p' out; fi
}
bad=0
look() {
  both=$(ask "$2" h2,http/1.1); only=$(ask "$2" h2)
  echo "$1: offered h2 and http/1.1: $both; only h2: $only"
  [[ $both == http/1.1 && $only == $3 ]] || bad=1
}
look nginx "$n" "the alert no_application_protocol"
look Node.js "$j" "the alert no_application_protocol"
look HAProxy "$h" "no protocol"
look Python "$p" "no protocol"
look Apache "$a" "chosen what was not offered:*"
exit $bad
