#!/usr/bin/env bash
# Guess: a driver that asks for statement_timeout when it connects, as libpq's options and most drivers' URLs
#   allow, gets it through PgBouncer in session mode too: there each client has a server session of its own.
# Truth (PgBouncer 1.18.0, Debian 12): the connection is refused, "unsupported startup parameter", whatever the
#   pool mode: it looks at names before it chooses a session. The same setting made after connecting (SET,
#   set_config) works, lasts as long as the client's connection, and is gone for the next client.
# Why users care: time-outs in a database URL are ordinary, and the error appears only on the day on which
#   somebody puts PgBouncer in between. Our store therefore makes its settings after connecting.
set -euo pipefail
command -v pgbouncer >/dev/null && ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && command -v psql >/dev/null ||
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends pgbouncer postgresql >/dev/null; }
dir=$(mktemp -d); chmod 755 "$dir"; bin=$(dirname "$(ls /usr/lib/postgresql/*/bin/initdb | tail -1)")
install -d -o postgres "$dir/pg" "$dir/b"
as() { setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }
stop() { [ -z "${bouncer:-}" ] || kill "$bouncer" || true; as "$bin/pg_ctl" -D "$dir/pg/data" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$dir"; }
trap stop EXIT
cd "$dir"
as "$bin/initdb" -D "$dir/pg/data" -U postgres -A trust >/dev/null
as "$bin/pg_ctl" -D "$dir/pg/data" -w -l "$dir/pg/log" -o "-k $dir/pg -c listen_addresses=" start >/dev/null
printf '[databases]\n* = host=%s user=postgres\n[pgbouncer]\nlisten_addr=\nlisten_port=6432\nunix_socket_dir=%s\nauth_type=any\npool_mode=session\ndefault_pool_size=1\n' "$dir/pg" "$dir/b" >"$dir/b/ini"
as pgbouncer "$dir/b/ini" >"$dir/b/log" 2>&1 & bouncer=$!
through() { psql "host=$dir/b port=6432 user=postgres dbname=postgres $1" -XAtq "${@:2}" 2>&1; }
for _ in $(seq 100); do through "" -c 'SELECT 1' >/dev/null && break; sleep 0.1; done
pgbouncer --version | head -1
refused=$(through "options='-c statement_timeout=7s'" -c 'SELECT 1' || true); echo "at the start, by options: $refused"
after=$(through "" -c "SET statement_timeout='7s'" -c 'SHOW statement_timeout'); echo "after connecting: $after"
next=$(through "" -c 'SHOW statement_timeout'); echo "the next client on the same server session: $next"
[[ $refused == *"unsupported startup parameter"* && $after == 7s && $next == 0 ]]
