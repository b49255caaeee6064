"""The scenario list for aiokafka. Usage: aio.py BOOTSTRAP PREFIX, or member BOOTSTRAP GROUP TOPIC."""

import asyncio
import functools
import logging
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError, for_code
from aiokafka.structs import OffsetAndMetadata

from check import COUNT, T0, Check, deadline, equal, headers, key, that, timestamp, value

logging.disable(logging.CRITICAL)


def some_value(i):
    """aiokafka refuses a record that has neither key nor value."""
    return b"" if key(i) is None and value(i) is None else value(i)


class Interop(Check):
    def __init__(self, bootstrap, prefix):
        super().__init__()
        self.bootstrap, self.prefix = bootstrap, prefix

    async def all(self):
        run = self.scenario_async
        self.admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await self.admin.start()
        await run("describe-cluster", self.describe_cluster)
        await run("create-topic", self.create_topic)
        for codec in ["none", "gzip", "snappy", "lz4", "zstd"]:
            await run(f"codec-{codec}", self.codec, codec)
        await run("idempotent", self.idempotent)
        await run("offsets", self.offsets)
        await run("offsets-by-time", self.offsets_by_time)
        await run("seek", self.seek)
        await run("commit-sync", self.commit_sync)
        await run("commit-async", self.commit_async)
        await run("commit-metadata", self.commit_metadata)
        await run("group-two-members", self.group_two_members)
        await run("group-static", self.group_static)
        await run("group-list", self.group_list)
        await run("group-describe", self.group_describe)
        await run("add-partitions", self.add_partitions)
        await run("describe-configs", self.describe_configs)
        await run("alter-configs", self.alter_configs)
        await run("delete-records", self.delete_records)
        await run("auto-create", self.auto_create)
        await run("delete-topic", self.delete_topic)
        await run("error-unknown-topic", self.unknown_topic)
        await run("error-too-large", self.too_large)
        await run("error-bad-name", self.fails, "InvalidTopicError", functools.partial(self.create, "bad name!", 1))
        await run("error-replication-factor", self.fails, "InvalidReplicationFactorError", functools.partial(self.create, "rf3", 1, 3))
        await self.admin.close()

    # ---- helpers

    def name(self, what):
        return f"{self.prefix}-{what}"

    def tp(self, what):
        return TopicPartition(self.name(what), 0)

    async def create(self, what, partitions, replicas=1, config=None):
        topic = NewTopic(self.name(what), partitions, replicas, topic_configs=config)
        response = await self.admin.create_topics([topic])
        self.raise_code(response.topic_errors[0][1])

    @staticmethod
    def raise_code(code):
        if code:
            raise for_code(code)()

    async def fails(self, error, call):
        try:
            await call()
        except Exception as e:
            return equal(error, type(e).__name__, "error")
        raise AssertionError(f"expected {error}, got success")

    async def eventually(self, what, condition):
        last = None
        for _ in deadline():
            try:
                found = condition()
                if await found if asyncio.iscoroutine(found) else found:
                    return
            except KafkaError as error:
                last = error
            await asyncio.sleep(0.05)
        raise AssertionError(f"not within 20 s: {what}") from last

    def consumer(self, *topics, group=None, **config):
        group = group and self.name(group)
        base = {"auto_offset_reset": "earliest", "enable_auto_commit": False, "heartbeat_interval_ms": 300, "metadata_max_age_ms": 1000}
        return AIOKafkaConsumer(*map(self.name, topics), bootstrap_servers=self.bootstrap, group_id=group, **{**base, **config})

    async def assigned_to(self, what):
        consumer = self.consumer()
        await consumer.start()
        consumer.assign([self.tp(what)])
        return consumer

    async def produce(self, what, batch_size, **config):
        """aiokafka sets timestamps and headers per record, and each batch is as large as max_batch_size."""
        async with AIOKafkaProducer(bootstrap_servers=self.bootstrap, max_batch_size=batch_size, linger_ms=5, **config) as producer:
            acks = []
            for i in range(COUNT):
                acks.append(await producer.send(self.name(what), some_value(i), key(i), 0, timestamp(i), headers(i)))
            offsets = [(await ack).offset for ack in acks]
        equal(list(range(COUNT)), offsets, "acknowledged offsets")

    async def read(self, consumer, count):
        records = []
        for _ in deadline():
            for batch in (await consumer.getmany(timeout_ms=200, max_records=count - len(records))).values():
                records += batch
            if len(records) >= count:
                break
        equal(count, len(records), "records read")
        return records

    async def read_all(self, what, count):
        consumer = await self.assigned_to(what)
        records = await self.read(consumer, count)
        await consumer.stop()
        return records

    def same(self, records):
        for i, r in enumerate(records):
            got = (r.offset, r.key, r.value, r.timestamp, list(r.headers))
            equal((i, key(i), some_value(i), timestamp(i), headers(i)), got, f"record {i}")

    # ---- scenarios

    async def describe_cluster(self):
        cluster = await self.admin.describe_cluster()
        equal(1, len(cluster["brokers"]), "nodes")
        that(cluster["cluster_id"] and cluster["controller_id"] >= 0, "cluster id and controller")

    async def partitions(self, what):
        topic = (await self.admin.describe_topics([self.name(what)]))[0]
        self.raise_code(topic["error_code"])
        return len(topic["partitions"])

    async def create_topic(self):
        await self.create("created", 3, config={"retention.ms": "3600000"})
        await self.eventually("three partitions", lambda: self.equals(3, self.partitions("created")))
        that(self.name("created") in await self.admin.list_topics(), "topic listed")
        await self.fails("TopicAlreadyExistsError", functools.partial(self.create, "created", 1))

    @staticmethod
    async def equals(expected, actual):
        return await actual == expected

    async def codec(self, codec):
        await self.create(codec, 1)
        await self.produce(codec, 2000, compression_type=None if codec == "none" else codec)
        self.same(await self.read_all(codec, COUNT))

    async def idempotent(self):
        await self.create("idempotent", 1)
        await self.produce("idempotent", 500, enable_idempotence=True)
        self.same(await self.read_all("idempotent", COUNT))

    async def offsets(self):
        consumer = await self.assigned_to("none")
        equal({self.tp("none"): 0}, await consumer.beginning_offsets([self.tp("none")]), "beginning")
        equal({self.tp("none"): COUNT}, await consumer.end_offsets([self.tp("none")]), "end")
        await consumer.stop()

    async def offsets_by_time(self):
        consumer = await self.assigned_to("none")
        found = (await consumer.offsets_for_times({self.tp("none"): T0 + 49_500}))[self.tp("none")]
        equal((50, T0 + 50_000), (found.offset, found.timestamp), "offset at the time")
        equal(None, (await consumer.offsets_for_times({self.tp("none"): T0 * 2}))[self.tp("none")], "after the end")
        await consumer.stop()

    async def seek(self):
        consumer = await self.assigned_to("none")
        for offset in [150, 3, 199]:
            consumer.seek(self.tp("none"), offset)
            equal(offset, (await self.read(consumer, 1))[0].offset, "first offset after seek")
        await consumer.seek_to_beginning(self.tp("none"))
        equal(0, (await self.read(consumer, 1))[0].offset, "first offset from the beginning")
        await consumer.stop()

    async def commit_sync(self):
        async with self.consumer("none", group="sync") as consumer:
            await self.read(consumer, 50)
            await consumer.commit()
            equal(50, await consumer.committed(self.tp("none")), "committed")
        async with self.consumer("none", group="sync") as consumer:
            equal(50, (await self.read(consumer, COUNT - 50))[0].offset, "resumes")

    async def commit_async(self):
        """aiokafka's background commit: it runs beside the reading, on a timer."""
        async with self.consumer("none", group="async", enable_auto_commit=True, auto_commit_interval_ms=100) as consumer:
            await self.read(consumer, 42)
            await self.eventually("background commit", lambda: self.equals(42, consumer.committed(self.tp("none"))))

    async def commit_metadata(self):
        consumer = self.consumer(group="metadata")
        await consumer.start()
        consumer.assign([self.tp("none")])
        await consumer.commit({self.tp("none"): (7, "note ✓")})
        await consumer.stop()
        offsets = await self.admin.list_consumer_group_offsets(self.name("metadata"))
        equal({self.tp("none"): OffsetAndMetadata(7, "note ✓")}, offsets, "by admin")

    async def assigned(self, counts, *consumers):
        await self.eventually(f"assignment of {counts}", lambda: [len(c.assignment()) for c in consumers] == counts)

    async def group_two_members(self):
        await self.create("shared", 4)
        one, two = self.consumer("shared", group="pair"), self.consumer("shared", group="pair")
        await one.start()
        await self.assigned([4], one)
        await two.start()
        await self.assigned([2, 2], one, two)
        await two.stop()
        await self.assigned([4], one)
        await one.stop()

    async def group_static(self):
        one, two = (self.consumer("shared", group="static", group_instance_id=name) for name in ["one", "two"])
        await asyncio.gather(one.start(), two.start())
        await self.assigned([2, 2], one, two)
        before, other = one.assignment(), two.assignment()
        await one.stop()
        back = self.consumer("shared", group="static", group_instance_id="one")
        await back.start()
        await self.assigned([2, 2], back, two)
        equal((before, other), (back.assignment(), two.assignment()), "same partitions back")
        await asyncio.gather(back.stop(), two.stop())

    async def group_list(self):
        that((self.name("sync"), "consumer") in [g[:2] for g in await self.admin.list_consumer_groups()], "group listed")

    async def group_describe(self):
        async with self.consumer("none", group="described", client_id="describing") as consumer:
            await self.assigned([1], consumer)
            response = await self.admin.describe_consumer_groups([self.name("described")])
            error, group, state, protocol_type, protocol, members = response[0].groups[0][:6]
            equal((0, self.name("described"), "Stable", "consumer"), (error, group, state, protocol_type), "group")
            that(any("describing" in field for field in members[0] if isinstance(field, str)), "client id")

    async def add_partitions(self):
        await self.admin.create_partitions({self.name("created"): NewPartitions(5)})
        await self.eventually("five partitions", lambda: self.equals(5, self.partitions("created")))
        shrink = {self.name("created"): NewPartitions(2)}
        await self.fails("InvalidPartitionsError", functools.partial(self.admin.create_partitions, shrink))

    async def describe_configs(self):
        resource = ConfigResource(ConfigResourceType.TOPIC, self.name("created"))
        error, _, _, _, entries = (await self.admin.describe_configs([resource]))[0].resources[0][:5]
        self.raise_code(error)
        that(("retention.ms", "3600000") in [e[:2] for e in entries] and len(entries) > 20, "retention.ms among all")

    async def alter_configs(self):
        """aiokafka knows the older request only, which replaces all configs of a topic."""

        async def alter(configs):
            resource = ConfigResource(ConfigResourceType.TOPIC, self.name("created"), configs)
            self.raise_code((await self.admin.alter_configs([resource]))[0].resources[0][0])

        await alter({"max.message.bytes": "54321"})

        async def changed():
            resource = ConfigResource(ConfigResourceType.TOPIC, self.name("created"))
            configs = {e[0]: e[1] for e in (await self.admin.describe_configs([resource]))[0].resources[0][4]}
            return configs["max.message.bytes"] == "54321" and configs["retention.ms"] != "3600000"

        await self.eventually("configs changed", changed)
        await self.fails("InvalidConfigurationError", functools.partial(alter, {"retention.ms": "soon"}))

    async def delete_records(self):
        tp = self.tp("gzip")
        equal({tp: 120}, await self.admin.delete_records({tp: RecordsToDelete(120)}), "low watermark")
        consumer = await self.assigned_to("gzip")
        equal({tp: 120}, await consumer.beginning_offsets([tp]), "beginning")
        equal(120, (await self.read(consumer, COUNT - 120))[0].offset, "first record")
        await consumer.stop()

    async def auto_create(self):
        async with AIOKafkaProducer(bootstrap_servers=self.bootstrap) as producer:
            await producer.send_and_wait(self.name("auto"), b"made on demand")
        equal(b"made on demand", (await self.read_all("auto", 1))[0].value, "value")

    async def delete_topic(self):
        async def delete():
            response = await self.admin.delete_topics([self.name("lz4")])
            self.raise_code(response.topic_error_codes[0][1])

        await delete()

        async def gone():
            return self.name("lz4") not in await self.admin.list_topics()

        await self.eventually("topic gone", gone)
        await self.fails("UnknownTopicOrPartitionError", delete)

    async def unknown_topic(self):
        """aiokafka's metadata requests ask for auto-creation, so the topic is one that configs are asked of."""
        resource = ConfigResource(ConfigResourceType.TOPIC, self.name("nowhere"))
        error = (await self.admin.describe_configs([resource]))[0].resources[0][0]
        equal("UnknownTopicOrPartitionError", for_code(error).__name__, "error")

    async def too_large(self):
        await self.create("small", 1, config={"max.message.bytes": "10000"})
        async with AIOKafkaProducer(bootstrap_servers=self.bootstrap) as producer:
            large = functools.partial(producer.send_and_wait, self.name("small"), b"\0" * 50_000)
            await self.fails("MessageSizeTooLargeError", large)
            await producer.send_and_wait(self.name("small"), b"\0" * 5_000)


class Printer(ConsumerRebalanceListener):
    def on_partitions_revoked(self, revoked):
        print("a ", flush=True)

    def on_partitions_assigned(self, assigned):
        print("a " + ",".join(str(p.partition) for p in assigned), flush=True)


async def member(bootstrap, group, topic):
    """A member of the mixed group; the lines it prints are described in java/src/Member.java."""
    leave = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False,
        heartbeat_interval_ms=300, partition_assignment_strategy=[RangePartitionAssignor],
    )
    consumer.subscribe([topic], listener=Printer())
    await consumer.start()
    while not leave.done():
        batches = await consumer.getmany(timeout_ms=100)
        if batches:
            await consumer.commit()
            for record in [r for batch in batches.values() for r in batch]:
                print("r " + record.value.decode(), flush=True)
    await consumer.stop()
    print("left", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "member":
        asyncio.run(member(*sys.argv[2:5]))
    else:
        interop = Interop(*sys.argv[1:3])
        asyncio.run(interop.all())
        sys.exit(interop.failed > 0)
