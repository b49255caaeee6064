"""The scenario list for confluent-kafka (librdkafka). Usage: confluent.py BOOTSTRAP PREFIX, or member BOOTSTRAP GROUP TOPIC."""

import select
import sys
import time

from confluent_kafka import Consumer, ConsumerGroupState, ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition
from confluent_kafka import TopicCollection
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic, OffsetSpec, ResourceType

from check import COUNT, T0, Check, deadline, equal, headers, key, that, timestamp, value

QUIET = {"log_level": 2}


def dotted(config):
    return {k if k.startswith("on_") else k.replace("_", "."): v for k, v in config.items()}


class Interop(Check):
    def __init__(self, bootstrap, prefix):
        super().__init__()
        self.bootstrap, self.prefix = bootstrap, prefix
        self.admin = AdminClient({"bootstrap.servers": bootstrap, **QUIET})

    def all(self):
        run = self.scenario
        run("describe-cluster", self.describe_cluster)
        run("create-topic", self.create_topic)
        for codec in ["none", "gzip", "snappy", "lz4", "zstd"]:
            run(f"codec-{codec}", self.codec, codec)
        run("idempotent", self.idempotent)
        run("offsets", self.offsets)
        run("offsets-by-time", self.offsets_by_time)
        run("seek", self.seek)
        run("commit-sync", self.commit_sync)
        run("commit-async", self.commit_async)
        run("commit-metadata", self.commit_metadata)
        run("group-two-members", self.group_two_members)
        run("group-static", self.group_static)
        run("group-list", self.group_list)
        run("group-describe", self.group_describe)
        run("group-delete", self.group_delete)
        run("add-partitions", self.add_partitions)
        run("describe-configs", self.describe_configs)
        run("alter-configs", self.alter_configs)
        run("delete-records", self.delete_records)
        run("auto-create", self.auto_create)
        run("delete-topic", self.delete_topic)
        run("error-unknown-topic", self.fails, "UNKNOWN_TOPIC_OR_PART", lambda: self.describe("nowhere"))
        run("error-too-large", self.too_large)
        run("error-bad-name", self.fails, "TOPIC_EXCEPTION", lambda: self.create("bad name!", 1))
        run("error-replication-factor", self.fails, "INVALID_REPLICATION_FACTOR", lambda: self.create("rf3", 1, 3))

    # ---- helpers

    def name(self, what):
        return f"{self.prefix}-{what}"

    def tp(self, what, offset=-1001):
        return TopicPartition(self.name(what), 0, offset)

    def create(self, what, partitions, replicas=1, config=None):
        topic = NewTopic(self.name(what), partitions, replicas, config=config or {})
        self.admin.create_topics([topic])[topic.topic].result()

    def describe(self, what):
        return self.admin.describe_topics(TopicCollection([self.name(what)]))[self.name(what)].result()

    def producer(self, **config):
        return Producer({"bootstrap.servers": self.bootstrap, "linger.ms": 5, **QUIET, **dotted(config)})

    def consumer(self, group="none", **config):
        base = {"bootstrap.servers": self.bootstrap, "group.id": self.name(group), "auto.offset.reset": "earliest", "enable.auto.commit": False}
        return Consumer({**base, "heartbeat.interval.ms": 300, **QUIET, **dotted(config)})

    def fails(self, error, call):
        try:
            call()
        except KafkaException as e:
            return equal(error, e.args[0].name(), "error")
        raise AssertionError(f"expected {error}, got success")

    def eventually(self, what, condition):
        last = None
        for _ in deadline():
            try:
                if condition():
                    return
            except KafkaException as error:
                last = error
            time.sleep(0.05)
        raise AssertionError(f"not within 20 s: {what}") from last

    def produce(self, what, **config):
        producer, offsets = self.producer(**config), []

        def acked(error, message):
            offsets.append(error or message.offset())

        for i in range(COUNT):
            rest = {"timestamp": timestamp(i), "headers": [*headers(i), ("null", None)], "on_delivery": acked}
            producer.produce(self.name(what), value(i), key(i), 0, **rest)
        producer.flush(20)
        equal(list(range(COUNT)), offsets, "acknowledged offsets")

    def read(self, consumer, count):
        messages = []
        for _ in deadline():
            messages += consumer.consume(count - len(messages), 0.2)
            if len(messages) >= count:
                break
        for message in messages:
            that(message.error() is None, message.error())
        equal(count, len(messages), "records read")
        return messages

    def read_all(self, what, count):
        consumer = self.consumer()
        consumer.assign([self.tp(what, 0)])
        messages = self.read(consumer, count)
        consumer.close()
        return messages

    def same(self, messages):
        for i, m in enumerate(messages):
            got = (m.offset(), m.key(), m.value(), m.timestamp()[1], m.headers())
            equal((i, key(i), value(i), timestamp(i), [*headers(i), ("null", None)]), got, f"record {i}")

    # ---- scenarios

    def describe_cluster(self):
        cluster = self.admin.describe_cluster().result()
        equal(1, len(cluster.nodes), "nodes")
        that(cluster.cluster_id and cluster.controller.port > 0, "cluster id and controller")

    def create_topic(self):
        self.create("created", 3, -1, {"retention.ms": "3600000"})
        self.eventually("three partitions", lambda: len(self.describe("created").partitions) == 3)
        that(self.name("created") in self.admin.list_topics(timeout=10).topics, "topic listed")
        self.fails("TOPIC_ALREADY_EXISTS", lambda: self.create("created", 1))

    def codec(self, codec):
        self.create(codec, 1)
        self.produce(codec, compression_type=codec, batch_size=2000)
        self.same(self.read_all(codec, COUNT))

    def idempotent(self):
        self.create("idempotent", 1)
        self.produce("idempotent", enable_idempotence=True, batch_num_messages=20)
        self.same(self.read_all("idempotent", COUNT))

    def offsets(self):
        consumer = self.consumer()
        equal((0, COUNT), consumer.get_watermark_offsets(self.tp("none"), timeout=10), "watermarks")
        consumer.close()

    def offsets_by_time(self):
        consumer = self.consumer()
        equal(50, consumer.offsets_for_times([self.tp("none", T0 + 49_500)], timeout=10)[0].offset, "offset at the time")
        that(consumer.offsets_for_times([self.tp("none", T0 * 2)], timeout=10)[0].offset < 0, "after the end")
        consumer.close()
        for spec, offset in [(OffsetSpec.earliest(), 0), (OffsetSpec.latest(), COUNT), (OffsetSpec.max_timestamp(), COUNT - 1)]:
            equal(offset, self.admin.list_offsets({self.tp("none"): spec})[self.tp("none")].result().offset, f"admin {spec}")

    def seek(self):
        consumer = self.consumer()
        consumer.assign([self.tp("none", 150)])
        equal(150, self.read(consumer, 1)[0].offset(), "first offset")
        for offset in [3, 199]:
            consumer.seek(self.tp("none", offset))
            equal(offset, self.read(consumer, 1)[0].offset(), "first offset after seek")
        consumer.close()

    def commit_sync(self):
        consumer = self.consumer("sync")
        consumer.subscribe([self.name("none")])
        last = self.read(consumer, 50)[-1]
        consumer.commit(last, asynchronous=False)
        equal(50, consumer.committed([self.tp("none")], timeout=10)[0].offset, "committed")
        consumer.close()
        consumer = self.consumer("sync")
        consumer.subscribe([self.name("none")])
        equal(50, self.read(consumer, COUNT - 50)[0].offset(), "resumes")
        consumer.close()

    def commit_async(self):
        done = []
        consumer = self.consumer("async", on_commit=lambda error, partitions: done.append((error, partitions[0].offset)))
        consumer.assign([self.tp("none", 0)])
        consumer.commit(offsets=[self.tp("none", 42)], asynchronous=True)
        self.eventually("commit callback", lambda: consumer.poll(0.05) is None and done or bool(done))
        equal([(None, 42)], done, "callback")
        equal(42, consumer.committed([self.tp("none")], timeout=10)[0].offset, "committed")
        consumer.close()

    def commit_metadata(self):
        consumer = self.consumer("metadata")
        consumer.assign([self.tp("none", 0)])
        consumer.commit(offsets=[TopicPartition(self.name("none"), 0, 7, "note ✓")], asynchronous=False)
        equal("note ✓", consumer.committed([self.tp("none")], timeout=10)[0].metadata, "metadata")
        consumer.close()
        group = self.name("metadata")
        listed = self.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result()
        equal([(7, "note ✓")], [(p.offset, p.metadata) for p in listed.topic_partitions], "by admin")

    def assigned(self, counts, *consumers):
        def look():
            for consumer in consumers:
                consumer.poll(0.05)
            return [len(consumer.assignment()) for consumer in consumers] == counts

        self.eventually(f"assignment of {counts}", look)

    def group_two_members(self):
        self.create("shared", 4)
        one, two = self.consumer("pair"), self.consumer("pair")
        one.subscribe([self.name("shared")])
        self.assigned([4], one)
        two.subscribe([self.name("shared")])
        self.assigned([2, 2], one, two)
        two.close()
        self.assigned([4], one)
        one.close()

    def group_static(self):
        one, two = (self.consumer("static", group_instance_id=name) for name in ["one", "two"])
        for consumer in [one, two]:
            consumer.subscribe([self.name("shared")])
        self.assigned([2, 2], one, two)
        before, revoked = one.assignment(), []
        one.close()
        back = self.consumer("static", group_instance_id="one")
        back.subscribe([self.name("shared")], on_revoke=lambda _, partitions: revoked.append(partitions))
        self.assigned([2, 2], back, two)
        equal(before, back.assignment(), "same partitions back")
        equal([], revoked, "nothing revoked")
        for consumer in [back, two]:
            consumer.close()

    def group_list(self):
        groups = self.admin.list_consumer_groups().result()
        that(self.name("sync") in [g.group_id for g in groups.valid] and not groups.errors, "group listed")

    def group_describe(self):
        consumer, group = self.consumer("described", client_id="describing"), self.name("described")
        consumer.subscribe([self.name("none")])
        self.assigned([1], consumer)
        found = self.admin.describe_consumer_groups([group])[group].result()
        equal(ConsumerGroupState.STABLE, found.state, "state")
        equal("describing", found.members[0].client_id, "client id")
        equal([(self.name("none"), 0)], [(p.topic, p.partition) for p in found.members[0].assignment.topic_partitions], "assignment")
        consumer.close()

    def group_delete(self):
        group = self.name("async")
        self.admin.delete_consumer_groups([group])[group].result()
        that(group not in [g.group_id for g in self.admin.list_consumer_groups().result().valid], "group gone")
        self.fails("GROUP_ID_NOT_FOUND", lambda: self.admin.delete_consumer_groups([group])[group].result())

    def add_partitions(self):
        def grow(total):
            self.admin.create_partitions([NewPartitions(self.name("created"), total)])[self.name("created")].result()

        grow(5)
        self.eventually("five partitions", lambda: len(self.describe("created").partitions) == 5)
        self.fails("INVALID_PARTITIONS", lambda: grow(2))

    def configs(self, kind, name):
        return next(iter(self.admin.describe_configs([ConfigResource(kind, name)]).values())).result()

    def describe_configs(self):
        configs = self.configs(ResourceType.TOPIC, self.name("created"))
        equal(("3600000", False), (configs["retention.ms"].value, configs["retention.ms"].is_default), "retention.ms")
        that(configs["cleanup.policy"].is_default, "a default is marked")
        broker = str(self.admin.describe_cluster().result().nodes[0].id)
        that("log.retention.ms" in self.configs(ResourceType.BROKER, broker), "broker config")

    def alter(self, *changes):
        entries = [ConfigEntry(name, value, incremental_operation=operation) for name, value, operation in changes]
        resource = ConfigResource(ResourceType.TOPIC, self.name("created"), incremental_configs=entries)
        next(iter(self.admin.incremental_alter_configs([resource]).values())).result()

    def alter_configs(self):
        op = AlterConfigOpType
        self.alter(("max.message.bytes", "54321", op.SET), ("retention.ms", None, op.DELETE), ("cleanup.policy", "compact", op.APPEND))

        def changed():
            configs = self.configs(ResourceType.TOPIC, self.name("created"))
            policy = set(configs["cleanup.policy"].value.split(","))
            return configs["max.message.bytes"].value == "54321" and configs["retention.ms"].is_default and policy == {"delete", "compact"}

        self.eventually("configs changed", changed)
        self.fails("INVALID_CONFIG", lambda: self.alter(("retention.ms", "soon", op.SET)))

    def delete_records(self):
        result = self.admin.delete_records([self.tp("gzip", 120)])
        equal(120, next(iter(result.values())).result().low_watermark, "low watermark")
        consumer = self.consumer()
        equal((120, COUNT), consumer.get_watermark_offsets(self.tp("gzip"), timeout=10), "watermarks")
        consumer.assign([self.tp("gzip", -2)])
        equal(120, self.read(consumer, COUNT - 120)[0].offset(), "first record")
        consumer.close()

    def auto_create(self):
        producer = self.producer()
        producer.produce(self.name("auto"), b"made on demand")
        equal(0, producer.flush(20), "unsent")
        equal(b"made on demand", self.read_all("auto", 1)[0].value(), "value")

    def delete_topic(self):
        def delete():
            self.admin.delete_topics([self.name("lz4")])[self.name("lz4")].result()

        delete()
        self.eventually("topic gone", lambda: self.name("lz4") not in self.admin.list_topics(timeout=10).topics)
        self.fails("UNKNOWN_TOPIC_OR_PART", delete)

    def too_large(self):
        self.create("small", 1, config={"max.message.bytes": "10000"})
        producer, errors = self.producer(), []
        for size in [50_000, 5_000]:
            producer.produce(self.name("small"), b"\0" * size, on_delivery=lambda error, _: errors.append(error and error.name()))
            producer.flush(20)
        equal(["MSG_SIZE_TOO_LARGE", None], errors, "errors")


def member(bootstrap, group, topic, assignor):
    """A member of a mixed group; the lines it prints are described in java/src/Member.java."""
    config = {"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False}
    strategy = "cooperative-sticky" if assignor == "cooperative" else "range"
    consumer = Consumer({**config, "partition.assignment.strategy": strategy, "heartbeat.interval.ms": 300, **QUIET})
    unsaid = []

    def commit():
        """Says what is committed."""
        if not unsaid:
            return
        try:
            consumer.commit(asynchronous=False)
        except KafkaException:
            # In a rebalance; what is lost in it is forgotten below.
            return
        for message in unsaid:
            print("r " + message.value().decode(), flush=True)
        unsaid.clear()

    def lost(_, partitions):
        gone = {p.partition for p in partitions}
        unsaid[:] = [m for m in unsaid if m.partition() not in gone]

    def revoked(_, partitions):
        commit()
        lost(_, partitions)

    consumer.subscribe([topic], on_revoke=revoked, on_lost=lost)
    shown = ""
    while not select.select([sys.stdin], [], [], 0)[0]:
        # One by one: a batch could have records of a partition that is revoked while it is collected.
        message = consumer.poll(0.1)
        while message is not None and len(unsaid) < 100:
            if not message.error():
                unsaid.append(message)
            message = consumer.poll(0)
        if message is not None and not message.error():
            unsaid.append(message)
        share = ",".join(str(p.partition) for p in consumer.assignment())
        if share != shown:
            print("a " + share, flush=True)
            shown = share
        commit()
    commit()
    consumer.close()
    print("left", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "member":
        member(*sys.argv[2:6])
    else:
        interop = Interop(*sys.argv[1:3])
        interop.all()
        sys.exit(interop.failed > 0)
