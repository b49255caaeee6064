#!/usr/bin/env bash
# The scenarios that kcat can play. Usage: interop.sh BOOTSTRAP PREFIX
set -u
BOOTSTRAP=$1 PREFIX=$2
. "$(dirname "$0")/../check.sh"
KCAT=$(command -v kcat || command -v kafkacat)
k() { timeout 30 "$KCAT" -q -b "$BOOTSTRAP" "$@"; }

records() { for i in $(seq 0 199); do echo "k$i:v$i-$(printf 'x%.0s' $(seq $((i % 20 + 1))))"; done; }

describe_cluster() { has "$(k -L)" '1 brokers' ; }

round_trip() { # round_trip TOPIC OPTIONS...: keys, values, a header; the first produce also creates the topic
  local topic=$PREFIX-$1; shift
  records | k -P -t "$topic" -p 0 -K: -H h=1 -H again=2 "$@" &&
    same "$(records | sed 's/$/ h=1,again=2/')" "$(k -C -t "$topic" -o beginning -e -f '%k:%s %h\n')" &&
    same "$(seq 0 199)" "$(k -C -t "$topic" -o beginning -e -f '%o\n')"
}

nulls() {
  printf 'a:\nb:x\n' | k -P -t "$PREFIX-nulls" -p 0 -K: -Z && same $'a -1\nb 1' "$(k -C -t "$PREFIX-nulls" -e -o beginning -f '%k %S\n')"
}

offsets() { same "199" "$(k -C -t "$PREFIX-none" -p 0 -o -1 -c 1 -f '%o')"; }

offsets_by_time() {
  local at; at=$(k -C -t "$PREFIX-none" -p 0 -o 0 -c 1 -f '%T') &&
    has "$(k -Q -t "$PREFIX-none:0:$at")" "offset 0$" && has "$(k -Q -t "$PREFIX-none:0:99999999999999")" 'offset -1$'
}

seek() { same $'150\n151' "$(k -C -t "$PREFIX-none" -p 0 -o 150 -c 2 -f '%o\n')"; }

group() { # group NAME TOPIC OPTIONS...
  exec timeout 30 "$KCAT" -q -b "$BOOTSTRAP" -X auto.offset.reset=earliest -X heartbeat.interval.ms=300 -G "$PREFIX-$1" "${@:2}" -f '%p %o\n'
}

commit_sync() { # The second member of the group goes on where the first stopped.
  (group commits "$PREFIX-none" -c 50) > /dev/null && same "0 50" "$(group commits "$PREFIX-none" -c 1)"
}

group_two_members() { # The first member reads, the second joins, the first leaves: the second reads what comes then, and nothing twice.
  local read=0 status=1
  all_read() { same "$read" "$(cat "$work/one" "$work/two" | wc -l)"; }
  : > "$work/two"
  seq 50 | k -P -t "$PREFIX-shared" -p 0
  group pair "$PREFIX-shared" -u -c 1000 > "$work/one" 2> /dev/null & local one=$!
  read=50; eventually all_read && {
    group pair "$PREFIX-shared" -u -c 1000 > "$work/two" 2> /dev/null & local two=$!
    sleep 1; kill -TERM $one; wait $one
    seq 50 | k -P -t "$PREFIX-shared" -p 0
    read=100; eventually all_read && same "$(seq 0 99)" "$(cat "$work/one" "$work/two" | cut -d' ' -f2 | sort -n)"; status=$?
    kill -TERM $two; wait $two
  }
  return $status
}

auto_create() { echo "made on demand" | k -P -t "$PREFIX-auto" && same "made on demand" "$(k -C -t "$PREFIX-auto" -e -o beginning)"; }

unknown_topic() { has "$(k -C -t "$PREFIX-nowhere" -X allow.auto.create.topics=false -e 2>&1)" 'Unknown topic or partition'; }

scenario describe-cluster describe_cluster
for codec in none gzip snappy lz4 zstd; do scenario codec-$codec round_trip $codec -z $codec; done
scenario idempotent round_trip idempotent -X enable.idempotence=true
scenario nulls nulls
scenario offsets offsets
scenario offsets-by-time offsets_by_time
scenario seek seek
scenario commit-sync commit_sync
scenario group-two-members group_two_members
scenario auto-create auto_create
scenario error-unknown-topic unknown_topic
exit $failed
