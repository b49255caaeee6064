import static java.nio.charset.StandardCharsets.UTF_8;

import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.stream.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.*;

/** The scenario list for kafka-clients; the same source compiles against 2.8.2 and 4.3.1. Usage: Interop BOOTSTRAP PREFIX. */
public final class Interop {
    static final int COUNT = 200;
    /** A day ago: old enough to be told from now, young enough for the default retention. */
    static final long T0 = System.currentTimeMillis() / 1000 * 1000 - 86_400_000;

    final String bootstrap, prefix;
    final Check check = new Check();
    final Admin admin;

    Interop(String bootstrap, String prefix) {
        this.bootstrap = bootstrap;
        this.prefix = prefix;
        this.admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
    }

    public static void main(String[] args) throws Exception {
        if (args[0].equals("member")) {
            Member.run(args[1], args[2], args[3], args[4].equals("cooperative"));
            return;
        }
        Interop interop = new Interop(args[0], args[1]);
        interop.all();
        System.exit(interop.check.exitCode());
    }

    void all() {
        check.scenario("describe-cluster", this::describeCluster);
        check.scenario("create-topic", this::createTopic);
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) check.scenario("codec-" + codec, () -> codec(codec));
        check.scenario("idempotent", this::idempotent);
        check.scenario("offsets", this::offsets);
        check.scenario("offsets-by-time", this::offsetsByTime);
        check.scenario("seek", this::seek);
        check.scenario("commit-sync", this::commitSync);
        check.scenario("commit-async", this::commitAsync);
        check.scenario("commit-metadata", this::commitMetadata);
        check.scenario("group-two-members", this::groupTwoMembers);
        check.scenario("group-static", this::groupStatic);
        check.scenario("group-list", () -> Check.that(groups().contains(name("sync")), "group listed"));
        check.scenario("group-describe", this::groupDescribe);
        check.scenario("group-delete", this::groupDelete);
        check.scenario("add-partitions", this::addPartitions);
        check.scenario("describe-configs", this::describeConfigs);
        check.scenario("alter-configs", this::alterConfigs);
        check.scenario("delete-records", this::deleteRecords);
        check.scenario("auto-create", this::autoCreate);
        check.scenario("delete-topic", this::deleteTopic);
        check.scenario("error-unknown-topic", () -> Check.fails("UnknownTopicOrPartitionException", () -> describe(name("nowhere"))));
        check.scenario("error-too-large", this::tooLarge);
        check.scenario("error-bad-name", () -> Check.fails("InvalidTopicException", () -> create("bad name!", 1, 1, Map.of())));
        check.scenario("error-replication-factor", () -> Check.fails("InvalidReplicationFactorException", () -> create(name("rf3"), 1, 3, Map.of())));
    }

    // ---- helpers

    String name(String what) { return prefix + "-" + what; }

    TopicPartition tp(String what) { return new TopicPartition(name(what), 0); }

    Void create(String topic, int partitions, int replicas, Map<String, String> configs) throws Exception {
        return admin.createTopics(List.of(new NewTopic(topic, partitions, (short) replicas).configs(configs))).all().get();
    }

    String fresh(String what, int partitions) throws Exception {
        create(name(what), partitions, 1, Map.of());
        return name(what);
    }

    /** values() is gone in 4.x and topicNameValues() is not in 2.8, so the call goes by name. */
    @SuppressWarnings("unchecked")
    TopicDescription describe(String topic) throws Exception {
        DescribeTopicsResult result = admin.describeTopics(List.of(topic));
        boolean recent = Stream.of(DescribeTopicsResult.class.getMethods()).anyMatch(m -> m.getName().equals("topicNameValues"));
        String method = recent ? "topicNameValues" : "values";
        return ((Map<String, KafkaFuture<TopicDescription>>) DescribeTopicsResult.class.getMethod(method).invoke(result)).get(topic).get();
    }

    KafkaProducer<byte[], byte[]> producer(Object... extra) {
        Map<String, Object> config = config(extra);
        config.putIfAbsent("linger.ms", "5");
        return new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer());
    }

    KafkaConsumer<byte[], byte[]> consumer(String group, Object... extra) {
        Map<String, Object> config = config(extra);
        if (group != null) config.put("group.id", name(group));
        config.putIfAbsent("heartbeat.interval.ms", 300); // A rebalance is noticed at a heartbeat.
        config.putIfAbsent("enable.auto.commit", false);
        config.putIfAbsent("auto.offset.reset", "earliest");
        return new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    Map<String, Object> config(Object... extra) {
        Map<String, Object> config = new HashMap<>(Map.of("bootstrap.servers", bootstrap));
        for (int i = 0; i < extra.length; i += 2) config.put((String) extra[i], extra[i + 1]);
        return config;
    }

    static byte[] bytes(String text) { return text == null ? null : text.getBytes(UTF_8); }

    static String text(byte[] bytes) { return bytes == null ? null : new String(bytes, UTF_8); }

    static String key(int i) { return i % 10 == 0 ? null : "k" + i; }

    static String value(int i) { return i % 7 == 0 ? null : "v" + i + "-" + "x".repeat(i); }

    static ProducerRecord<byte[], byte[]> record(String topic, int i) {
        ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(topic, 0, T0 + i * 1000L, bytes(key(i)), bytes(value(i)));
        record.headers().add("h", bytes("" + i)).add("h", bytes("again")).add("empty", new byte[0]).add("null", null);
        return record;
    }

    /** Produces records 0..COUNT to partition 0 and checks the offset of each acknowledgement. */
    void produce(String topic, Object... config) throws Exception {
        try (KafkaProducer<byte[], byte[]> producer = producer(config)) {
            List<Future<RecordMetadata>> acks = new ArrayList<>();
            for (int i = 0; i < COUNT; i++) acks.add(producer.send(record(topic, i)));
            for (int i = 0; i < COUNT; i++) Check.equal((long) i, acks.get(i).get(20, TimeUnit.SECONDS).offset(), "offset of acknowledgement " + i);
        }
    }

    List<ConsumerRecord<byte[], byte[]>> read(KafkaConsumer<byte[], byte[]> consumer, int count) {
        List<ConsumerRecord<byte[], byte[]>> all = new ArrayList<>();
        long deadline = System.currentTimeMillis() + 20_000;
        while (all.size() < count && System.currentTimeMillis() < deadline) consumer.poll(Duration.ofMillis(200)).forEach(all::add);
        Check.equal(count, all.size(), "records read");
        return all;
    }

    List<ConsumerRecord<byte[], byte[]>> readAll(String what, int count) {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(null)) {
            consumer.assign(List.of(tp(what)));
            consumer.seekToBeginning(List.of(tp(what)));
            return read(consumer, count);
        }
    }

    static void same(List<ConsumerRecord<byte[], byte[]>> records) {
        for (int i = 0; i < records.size(); i++) {
            ConsumerRecord<byte[], byte[]> record = records.get(i);
            Check.equal((long) i, record.offset(), "offset");
            Check.equal(key(i), text(record.key()), "key " + i);
            Check.equal(value(i), text(record.value()), "value " + i);
            Check.equal(T0 + i * 1000L, record.timestamp(), "timestamp " + i);
            String headers = Stream.of(record.headers().toArray()).map(h -> h.key() + "=" + text(h.value())).collect(Collectors.joining(","));
            Check.equal("h=" + i + ",h=again,empty=,null=null", headers, "headers " + i);
        }
    }

    // ---- scenarios

    void describeCluster() throws Exception {
        DescribeClusterResult cluster = admin.describeCluster();
        Check.equal(1, cluster.nodes().get().size(), "nodes");
        Check.that(!cluster.clusterId().get().isEmpty() && cluster.controller().get().port() > 0, "cluster id and controller");
    }

    void createTopic() throws Exception {
        create(name("created"), 3, -1, Map.of("retention.ms", "3600000"));
        Check.eventually("topic has three partitions", () -> describe(name("created")).partitions().size() == 3);
        Check.that(admin.listTopics().names().get().contains(name("created")), "topic listed");
        Check.fails("TopicExistsException", () -> create(name("created"), 1, 1, Map.of()));
    }

    void codec(String codec) throws Exception {
        produce(fresh(codec, 1), "compression.type", codec, "enable.idempotence", false, "batch.size", 2000);
        same(readAll(codec, COUNT));
    }

    void idempotent() throws Exception {
        produce(fresh("idempotent", 1), "enable.idempotence", true, "acks", "all", "batch.size", 500, "max.in.flight.requests.per.connection", 5);
        same(readAll("idempotent", COUNT));
    }

    void offsets() {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(null)) {
            Check.equal(Map.of(tp("none"), 0L), consumer.beginningOffsets(List.of(tp("none"))), "beginning");
            Check.equal(Map.of(tp("none"), (long) COUNT), consumer.endOffsets(List.of(tp("none"))), "end");
        }
    }

    void offsetsByTime() throws Exception {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(null)) {
            OffsetAndTimestamp found = consumer.offsetsForTimes(Map.of(tp("none"), T0 + 49_500)).get(tp("none"));
            Check.equal(50L, found.offset(), "offset at the time");
            Check.equal(T0 + 50_000, found.timestamp(), "timestamp at the time");
            Check.equal(null, consumer.offsetsForTimes(Map.of(tp("none"), T0 * 2)).get(tp("none")), "after the end");
        }
        ListOffsetsResult latest = admin.listOffsets(Map.of(tp("none"), OffsetSpec.latest()));
        Check.equal((long) COUNT, latest.partitionResult(tp("none")).get().offset(), "admin latest");
    }

    void seek() {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(null, "max.poll.records", 10)) {
            consumer.assign(List.of(tp("none")));
            for (long offset : new long[] {150, 3, 199}) {
                consumer.seek(tp("none"), offset);
                ConsumerRecord<byte[], byte[]> first = null;
                while (first == null) for (ConsumerRecord<byte[], byte[]> r : consumer.poll(Duration.ofSeconds(5))) if (first == null) first = r;
                Check.equal(offset, first.offset(), "first offset after seek");
            }
        }
    }

    void commitSync() {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer("sync", "max.poll.records", 50)) {
            consumer.subscribe(List.of(name("none")));
            int n = 0;
            while (n == 0) n = consumer.poll(Duration.ofSeconds(5)).count();
            consumer.commitSync();
            Check.equal((long) n, consumer.committed(Set.of(tp("none"))).get(tp("none")).offset(), "committed");
        }
        try (KafkaConsumer<byte[], byte[]> consumer = consumer("sync")) { // Another member goes on where the first stopped.
            consumer.subscribe(List.of(name("none")));
            Check.that(read(consumer, COUNT - 50).get(0).offset() == 50, "resumes at 50");
        }
    }

    void commitAsync() throws Exception {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer("async")) {
            consumer.assign(List.of(tp("none")));
            CompletableFuture<Map<TopicPartition, OffsetAndMetadata>> done = new CompletableFuture<>();
            consumer.commitAsync(Map.of(tp("none"), new OffsetAndMetadata(42)), (offsets, error) -> {
                if (error == null) done.complete(offsets); else done.completeExceptionally(error);
            });
            Check.eventually("commit callback", () -> { consumer.poll(Duration.ofMillis(50)); return done.isDone(); });
            Check.equal(42L, done.get().get(tp("none")).offset(), "offset in the callback");
            Check.equal(42L, consumer.committed(Set.of(tp("none"))).get(tp("none")).offset(), "committed");
        }
    }

    void commitMetadata() throws Exception {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer("metadata")) {
            consumer.assign(List.of(tp("none")));
            consumer.commitSync(Map.of(tp("none"), new OffsetAndMetadata(7, Optional.of(0), "note ✓")));
            Check.equal("note ✓", consumer.committed(Set.of(tp("none"))).get(tp("none")).metadata(), "metadata");
        }
        Map<TopicPartition, OffsetAndMetadata> listed = admin.listConsumerGroupOffsets(name("metadata")).partitionsToOffsetAndMetadata().get();
        Check.equal("note ✓", listed.get(tp("none")).metadata(), "metadata by admin");
    }

    /** Two members share four partitions, one leaves, the other has all of them. */
    void groupTwoMembers() throws Exception {
        String topic = fresh("shared", 4);
        try (KafkaConsumer<byte[], byte[]> one = consumer("pair"); KafkaConsumer<byte[], byte[]> two = consumer("pair")) {
            one.subscribe(List.of(topic));
            Check.eventually("one has all", () -> { one.poll(Duration.ofMillis(50)); return one.assignment().size() == 4; });
            two.subscribe(List.of(topic));
            Check.eventually("two each", () -> {
                one.poll(Duration.ofMillis(50));
                two.poll(Duration.ofMillis(50));
                return one.assignment().size() == 2 && two.assignment().size() == 2;
            });
            two.unsubscribe();
            Check.eventually("one has all again", () -> { one.poll(Duration.ofMillis(50)); return one.assignment().size() == 4; });
        }
    }

    /** A static member (KIP-345) that comes back under its name gets its partitions without a rebalance. */
    void groupStatic() throws Exception {
        Set<TopicPartition> before;
        KafkaConsumer<byte[], byte[]> one = consumer("static", "group.instance.id", "one"), other = consumer("static", "group.instance.id", "two");
        one.subscribe(List.of(name("shared")));
        other.subscribe(List.of(name("shared")));
        Check.eventually("two each", () -> {
            one.poll(Duration.ofMillis(50));
            other.poll(Duration.ofMillis(50));
            return one.assignment().size() == 2 && other.assignment().size() == 2;
        });
        before = one.assignment();
        one.close(Duration.ofSeconds(5));
        int[] moved = {0};
        try (KafkaConsumer<byte[], byte[]> back = consumer("static", "group.instance.id", "one"); other) {
            back.subscribe(List.of(name("shared")), new ConsumerRebalanceListener() {
                public void onPartitionsRevoked(Collection<TopicPartition> p) { moved[0]++; }
                public void onPartitionsAssigned(Collection<TopicPartition> p) { }
            });
            Check.eventually("same partitions back", () -> {
                other.poll(Duration.ofMillis(20));
                back.poll(Duration.ofMillis(20));
                return back.assignment().equals(before);
            });
            Check.equal(2, other.assignment().size(), "the other keeps its own");
        }
    }

    Set<String> groups() throws Exception {
        return admin.listConsumerGroups().all().get().stream().map(ConsumerGroupListing::groupId).collect(Collectors.toSet());
    }

    void groupDescribe() throws Exception {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer("described", "client.id", "describing")) {
            consumer.subscribe(List.of(name("none")));
            Check.eventually("assigned", () -> { consumer.poll(Duration.ofMillis(50)); return !consumer.assignment().isEmpty(); });
            ConsumerGroupDescription group = admin.describeConsumerGroups(List.of(name("described"))).describedGroups().get(name("described")).get();
            Check.equal("Stable", group.state().toString(), "state");
            MemberDescription member = group.members().iterator().next();
            Check.equal("describing", member.clientId(), "client id");
            Check.equal(Set.of(tp("none")), member.assignment().topicPartitions(), "assignment");
        }
    }

    void groupDelete() throws Exception {
        Check.that(!admin.listConsumerGroupOffsets(name("async")).partitionsToOffsetAndMetadata().get().isEmpty(), "offsets before");
        admin.deleteConsumerGroupOffsets(name("metadata"), Set.of(tp("none"))).all().get();
        admin.deleteConsumerGroups(List.of(name("async"))).all().get();
        Check.that(!groups().contains(name("async")), "group gone");
        Check.fails("GroupIdNotFoundException", () -> admin.deleteConsumerGroups(List.of(name("async"))).all().get());
    }

    void addPartitions() throws Exception {
        admin.createPartitions(Map.of(name("created"), NewPartitions.increaseTo(5))).all().get();
        Check.eventually("five partitions", () -> describe(name("created")).partitions().size() == 5);
        Check.fails("InvalidPartitionsException", () -> admin.createPartitions(Map.of(name("created"), NewPartitions.increaseTo(2))).all().get());
    }

    Config topicConfig(String what) throws Exception {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, name(what));
        return admin.describeConfigs(List.of(resource)).all().get().get(resource);
    }

    void describeConfigs() throws Exception {
        ConfigEntry retention = topicConfig("created").get("retention.ms");
        Check.equal("3600000", retention.value(), "retention.ms");
        Check.equal(ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, retention.source(), "source");
        Check.equal(ConfigEntry.ConfigSource.DEFAULT_CONFIG, topicConfig("created").get("cleanup.policy").source(), "source of a default");
        ConfigResource broker = new ConfigResource(ConfigResource.Type.BROKER, "" + admin.describeCluster().nodes().get().iterator().next().id());
        Check.that(admin.describeConfigs(List.of(broker)).all().get().get(broker).get("log.retention.ms") != null, "broker config");
    }

    void alterConfigs() throws Exception {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, name("created"));
        admin.incrementalAlterConfigs(Map.of(resource, List.of(
            new AlterConfigOp(new ConfigEntry("max.message.bytes", "54321"), AlterConfigOp.OpType.SET),
            new AlterConfigOp(new ConfigEntry("retention.ms", ""), AlterConfigOp.OpType.DELETE),
            new AlterConfigOp(new ConfigEntry("cleanup.policy", "compact"), AlterConfigOp.OpType.APPEND)))).all().get();
        Check.eventually("configs changed", () -> {
            Config config = topicConfig("created");
            return config.get("max.message.bytes").value().equals("54321") && config.get("retention.ms").isDefault()
                && Set.of(config.get("cleanup.policy").value().split(",")).equals(Set.of("delete", "compact"));
        });
        Check.fails("InvalidConfigurationException", () -> admin.incrementalAlterConfigs(Map.of(resource,
            List.of(new AlterConfigOp(new ConfigEntry("retention.ms", "soon"), AlterConfigOp.OpType.SET)))).all().get());
    }

    void deleteRecords() throws Exception {
        TopicPartition tp = tp("gzip");
        DeleteRecordsResult deleted = admin.deleteRecords(Map.of(tp, RecordsToDelete.beforeOffset(120)));
        Check.equal(120L, deleted.lowWatermarks().get(tp).get().lowWatermark(), "low watermark");
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(null)) {
            Check.equal(120L, consumer.beginningOffsets(List.of(tp)).get(tp), "beginning");
            consumer.assign(List.of(tp));
            consumer.seekToBeginning(List.of(tp));
            Check.equal(120L, read(consumer, COUNT - 120).get(0).offset(), "first record");
        }
    }

    void autoCreate() throws Exception {
        try (KafkaProducer<byte[], byte[]> producer = producer()) {
            producer.send(new ProducerRecord<>(name("auto"), bytes("made on demand"))).get(20, TimeUnit.SECONDS);
        }
        Check.equal("made on demand", text(readAll("auto", 1).get(0).value()), "value");
    }

    void deleteTopic() throws Exception {
        admin.deleteTopics(List.of(name("lz4"))).all().get();
        Check.eventually("topic gone", () -> !admin.listTopics().names().get().contains(name("lz4")));
        Check.fails("UnknownTopicOrPartitionException", () -> admin.deleteTopics(List.of(name("lz4"))).all().get());
    }

    void tooLarge() throws Exception {
        create(name("small"), 1, 1, Map.of("max.message.bytes", "10000"));
        try (KafkaProducer<byte[], byte[]> producer = producer()) {
            ProducerRecord<byte[], byte[]> large = new ProducerRecord<>(name("small"), new byte[50_000]);
            Check.fails("RecordTooLargeException", () -> producer.send(large).get(20, TimeUnit.SECONDS));
            producer.send(new ProducerRecord<>(name("small"), new byte[5_000])).get(20, TimeUnit.SECONDS);
        }
    }
}
