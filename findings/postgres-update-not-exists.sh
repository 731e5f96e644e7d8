#!/usr/bin/env bash
# Guess: an UPDATE that waited for a row judges its whole WHERE again on the version that it waited for: "mine is
#   not taken (own column) and NOT EXISTS (a holder)" cannot be true for two that took the row one after the other.
# Truth (PostgreSQL 15.18, Debian 12, READ COMMITTED, the default): own columns are judged again, on the new version
#   of the row; a NOT EXISTS about another table is asked again too, and answered from the statement's old snapshot,
#   in which the holder that was written meanwhile is not there. Both take it: UPDATE 1 twice.
# Why users care: two nodes both took one partition of the log, and each would have delivered its events. What
#   excludes others must stand in the row that is waited for, or that row be locked by a statement before.
set -euo pipefail
command -v psql >/dev/null && ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 ||
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >/dev/null; }
dir=$(mktemp -d); chmod 755 "$dir"; bin=$(dirname "$(ls /usr/lib/postgresql/*/bin/initdb | tail -1)")
install -d -o postgres "$dir/pg"
as() { setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }
stop() { exec 3>&- || true; as "$bin/pg_ctl" -D "$dir/pg/data" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$dir"; }
trap stop EXIT
cd "$dir"
as "$bin/initdb" -D "$dir/pg/data" -U postgres -A trust >/dev/null
as "$bin/pg_ctl" -D "$dir/pg/data" -w -l "$dir/pg/log" -o "-k $dir/pg -c listen_addresses=" start >/dev/null
sql() { psql "host=$dir/pg user=postgres dbname=postgres" -XAt "$@"; }
until_true() { for _ in $(seq 300); do [ "$(sql -qc "$1")" = t ] && return; sleep 0.1; done; echo "never: $1"; return 1; }
sql -c 'SELECT version()' | cut -d, -f1
# takes CONDITION: a takes the row and writes itself down as its holder; b, whose statement began before a committed,
# takes it under the condition. What b is told is printed.
takes() {
  sql -qc 'SET client_min_messages = warning; DROP TABLE IF EXISTS part, holder; CREATE TABLE part (id int PRIMARY KEY, owner text); CREATE TABLE holder (part int, node text); INSERT INTO part VALUES (1)'
  rm -f a; mkfifo a; sql -q <a >/dev/null & local first=$!; exec 3>a
  echo "BEGIN; UPDATE part SET owner = 'a' WHERE id = 1; INSERT INTO holder VALUES (1, 'a');" >&3
  until_true "SELECT count(*) = 1 FROM pg_stat_activity WHERE state = 'idle in transaction'"
  sql -c "UPDATE part SET owner = 'b' WHERE id = 1 AND $1" >b & local second=$!
  until_true "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
  echo 'COMMIT;' >&3; exec 3>&-; wait "$first" "$second"; cat b
}
own=$(takes 'owner IS NULL'); echo "by its own column: $own"
other=$(takes 'NOT EXISTS (SELECT 1 FROM holder WHERE holder.part = part.id)'); echo "by another table: $other"
both=$(takes "(owner IS NULL OR owner = 'a') AND NOT EXISTS (SELECT 1 FROM holder WHERE holder.part = part.id)"); echo "by both, the own column true: $both"
[[ $own == "UPDATE 0" && $other == "UPDATE 1" && $both == "UPDATE 1" ]]
