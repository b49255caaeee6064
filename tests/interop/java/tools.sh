#!/usr/bin/env bash
# Apache Kafka's own command line tools against the broker. Usage: tools.sh BOOTSTRAP PREFIX LOG_DIR; TOOLS_CLASSPATH names the jars.
set -u
BOOTSTRAP=$1 PREFIX=$2 LOG_DIR=$3
. "$(dirname "$0")/../check.sh"
JAVA="java -Xmx256m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto -Dorg.slf4j.simpleLogger.defaultLogLevel=error"

tool() { local class=$1; shift; timeout 60 $JAVA -cp "$TOOLS_CLASSPATH" "$class" "$@" 2>&1; }
kafka() { local class=$1; shift; tool "org.apache.kafka.tools.$class" --bootstrap-server "$BOOTSTRAP" "$@"; }
topics() { kafka TopicCommand "$@"; }
groups() { kafka consumer.group.ConsumerGroupCommand "$@"; }
configs() { tool kafka.admin.ConfigCommand --bootstrap-server "$BOOTSTRAP" --entity-type topics --entity-name "$PREFIX-a" "$@"; }

topic_create() {
  topics --create --topic "$PREFIX-a" --partitions 3 --config retention.ms=3600000 &&
    has "$(topics --create --topic "$PREFIX-a")" 'already exists' && has "$(topics --list)" "^$PREFIX-a\$"
}
topic_describe() { has "$(topics --describe --topic "$PREFIX-a")" 'PartitionCount: 3.*ReplicationFactor: 1.*retention.ms=3600000'; }
topic_alter() { topics --alter --topic "$PREFIX-a" --partitions 4 && has "$(topics --describe --topic "$PREFIX-a")" 'PartitionCount: 4'; }

console_producer() {
  for i in $(seq 100); do echo "h:$i#k$i|v$i"; done |
    kafka ConsoleProducer --topic "$PREFIX-a" --compression-codec zstd --reader-property parse.key=true --reader-property parse.headers=true \
      --reader-property key.separator='|' --reader-property headers.delimiter='#'
}
console_consumer() {
  local out; out=$(kafka consumer.ConsoleConsumer --topic "$PREFIX-a" --group "$PREFIX-g" --from-beginning --max-messages 100 \
    --formatter-property print.key=true --formatter-property print.headers=true | grep '^h:' | sort -V) &&
    same "$(for i in $(seq 100); do printf 'h:%s\tk%s\tv%s\n' "$i" "$i" "$i"; done)" "$out"
}
group_describe() {
  has "$(groups --list)" "^$PREFIX-g\$" && has "$(groups --describe --group "$PREFIX-g" --state)" 'Empty' &&
    same 100 "$(groups --describe --group "$PREFIX-g" | awk -v t="$PREFIX-a" '$2 == t { n += $4 } END { print n }')"
}
group_reset() {
  groups --reset-offsets --group "$PREFIX-g" --topic "$PREFIX-a" --to-earliest --execute &&
    same 100 "$(groups --describe --group "$PREFIX-g" | awk -v t="$PREFIX-a" '$2 == t { n += $6 } END { print n }')" &&
    groups --delete-offsets --group "$PREFIX-g" --topic "$PREFIX-a"
}
group_delete() { groups --delete --group "$PREFIX-g" && ! has "$(groups --list)" "^$PREFIX-g\$"; }

config_describe() { has "$(configs --describe --all)" 'retention.ms=3600000.*DYNAMIC_TOPIC_CONFIG' ; }
config_alter() {
  configs --alter --add-config segment.bytes=2000000,cleanup.policy=[compact,delete] --delete-config retention.ms &&
    has "$(configs --describe)" 'segment.bytes=2000000' && ! has "$(configs --describe)" '^ *retention.ms='
}

get_offsets() {
  same 100 "$(kafka GetOffsetShell --topic "$PREFIX-a" | awk -F: '{ n += $3 } END { print n }')" &&
    same 0 "$(kafka GetOffsetShell --topic "$PREFIX-a" --time earliest | awk -F: '{ n += $3 } END { print n }')"
}
delete_records() {
  echo '{"version": 1, "partitions": [{"topic": "'"$PREFIX-v"'", "partition": 0, "offset": 400}]}' > "$work/offsets.json" &&
    has "$(kafka DeleteRecordsCommand --offset-json-file "$work/offsets.json")" 'low_watermark: 400' &&
    same "$PREFIX-v:0:400" "$(kafka GetOffsetShell --topic "$PREFIX-v" --time earliest)"
}

verifiable_producer() { # 1,000 records with acks=all; the tool's last line counts what was acknowledged.
  topics --create --topic "$PREFIX-v" --partitions 1 &&
    has "$(kafka VerifiableProducer --topic "$PREFIX-v" --max-messages 1000 --acks -1)" '"acked":1000'
}
verifiable_consumer() {
  local out; out=$(kafka VerifiableConsumer --topic "$PREFIX-v" --group-id "$PREFIX-vc" --max-messages 1000 --verbose --reset-policy earliest) &&
    has "$out" '"name":"partitions_assigned"' && has "$out" '"name":"offsets_committed".*"success":true' &&
    same 1000 "$(grep -c '"name":"record_data"' <<< "$out")"
}
perf() { # Two megabytes in segments of one, so that one is rolled and has its indexes on disk.
  topics --create --topic "$PREFIX-p" --partitions 1 --config segment.bytes=1048576 &&
    has "$(tool org.apache.kafka.tools.ProducerPerformance --topic "$PREFIX-p" --num-records 20000 --record-size 100 --throughput -1 \
    --producer-props bootstrap.servers="$BOOTSTRAP" compression.type=lz4)" '20000 records sent' &&
    has "$(kafka ConsumerPerformance --topic "$PREFIX-p" --messages 20000 --timeout 20000)" ', 20[0-9]{3}, '
}
api_versions() { has "$(kafka BrokerApiVersionsCommand)" 'Produce\(0\): 0 to'; }

dump() { tool org.apache.kafka.tools.DumpLogSegments "$@"; }
dump_log() { # The records decoded and the offset index checked; the other indexes are complete in a stopped broker only.
  local file
  local checked=0
  for file in "$LOG_DIR/$PREFIX"-[avp]-*/*.log; do
    has "$(dump --deep-iteration --files "$file")" 'tarting offset: ' || return
    [ -s "${file%.log}.index" ] || continue
    has "$(dump --index-sanity-check --files "${file%.log}.index")" 'passed sanity check' || return
    checked=$((checked + 1))
  done
  [ $checked -gt 0 ] || { echo "no index was checked"; return 1; }
  has "$(dump --print-data-log --deep-iteration --files "$(ls "$LOG_DIR/$PREFIX"-a-*/*.log | paste -sd,)")" 'compresscodec: zstd.*isvalid: true'
}

topic_delete() { topics --delete --topic "$PREFIX-a" && ! has "$(topics --list)" "^$PREFIX-a\$"; }

for name in topic-create topic-describe topic-alter console-producer console-consumer group-describe group-reset group-delete \
  config-describe config-alter verifiable-producer verifiable-consumer get-offsets delete-records perf api-versions dump-log \
  topic-delete; do
  scenario $name "${name//-/_}"
done
exit $failed
