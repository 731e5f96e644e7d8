#!/usr/bin/env bash
# Guess: what another session reads under READ COMMITTED is committed, and so survives what the commit survives
#   (innodb_flush_log_at_trx_commit = 1, the default): a row that was read is there after a crash.
# Truth (MariaDB 10.11, Debian 12, without a binary log): a commit is shown to others before it is written to the
#   redo log. While that write takes its time, a reader has the row and the writer no answer yet; after kill -9 the
#   row is gone. A later commit of the reader's own that wrote something returns only once the row is in the log.
# Why users care: whoever takes rows from an outbox and tells others of them tells of what never happened. The
#   reader has to commit something of its own between reading and telling.
set -euo pipefail
command -v mariadbd >/dev/null && command -v strace >/dev/null ||
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mariadb-server-core mariadb-client-core strace >/dev/null; }
dir=$(mktemp -d); server=
stop() { [ -z "$server" ] || kill -9 "$server" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$dir"; }
trap stop EXIT
mariadb-install-db --no-defaults --user="$(id -un)" --datadir="$dir/data" --skip-test-db --auth-root-authentication-method=normal >/dev/null 2>&1
sql() { mariadb --no-defaults --socket="$dir/s" --user=root --skip-column-names --batch "$@"; }
start() { # a server whose redo log is written to WAIT microseconds late
  strace -f -qq -o /dev/null -P "$dir/data/ib_logfile0" -e trace=pwrite64 -e inject=pwrite64:delay_enter="$1" \
    mariadbd --no-defaults --user="$(id -un)" --datadir="$dir/data" --socket="$dir/s" --skip-networking --pid-file="$dir/pid" >"$dir/log" 2>&1 &
  for _ in $(seq 600); do [ -s "$dir/pid" ] && sql -e 'SELECT 1' >/dev/null 2>&1 && break; sleep 0.1; done
  server=$(cat "$dir/pid")
}
start 0
sql -e 'SELECT VERSION(), @@innodb_flush_log_at_trx_commit, @@log_bin; CREATE DATABASE d; CREATE TABLE d.rows_ (id INT PRIMARY KEY); CREATE TABLE d.own (n INT)'
sql -e SHUTDOWN; wait 2>/dev/null || true
# crash HOW: a writer commits, a reader has the row (and, HOW=own, commits something of its own), then kill -9.
crash() {
  rm -f "$dir/pid"; start 1500000
  sql -e "INSERT INTO d.rows_ VALUES ($2)" 2>/dev/null & local writer=$!
  for _ in $(seq 300); do seen=$(sql -e "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; SELECT COUNT(*) FROM d.rows_ WHERE id = $2"); [ "$seen" = 1 ] && break; sleep 0.02; done
  kill -0 "$writer" 2>/dev/null && answered=no || answered=yes
  [ "$1" != own ] || sql -e 'INSERT INTO d.own VALUES (1)'
  kill -9 "$server"; wait 2>/dev/null || true; rm -f "$dir/pid"
  start 0
  after=$(sql -e "SELECT COUNT(*) FROM d.rows_ WHERE id = $2")
  sql -e SHUTDOWN; wait 2>/dev/null || true
  echo "reader commits of its own: $([ "$1" = own ] && echo yes || echo no); read $seen, writer answered $answered, there after the crash $after"
}
crash only 1; first="$seen $answered $after"
crash own 2; second="$seen $after"
[[ $first == "1 no 0" && $second == "1 1" ]]
