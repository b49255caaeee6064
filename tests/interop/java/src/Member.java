import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.IOException;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * A member of the mixed group: prints "a 0,3,5" whenever its share has changed and "r VALUE" for each record after its offset is committed,
 * and leaves the group when its standard input ends.
 */
final class Member {
    static void run(String bootstrap, String group, String topic, boolean cooperative) throws Exception {
        String assignor = cooperative ? CooperativeStickyAssignor.class.getName() : RangeAssignor.class.getName();
        Map<String, Object> config = Map.of("bootstrap.servers", bootstrap, "group.id", group, "auto.offset.reset", "earliest",
            "enable.auto.commit", false, "heartbeat.interval.ms", 300, "partition.assignment.strategy", assignor);
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            Unsaid unsaid = new Unsaid(consumer);
            consumer.subscribe(List.of(topic), unsaid);
            AtomicBoolean leave = new AtomicBoolean();
            Thread input = new Thread(() -> leave.set(ended()));
            input.setDaemon(true);
            input.start();
            String shown = "";
            while (!leave.get()) {
                consumer.poll(Duration.ofMillis(100)).forEach(unsaid.records::add);
                String share = consumer.assignment().stream().map(p -> "" + p.partition()).collect(Collectors.joining(","));
                if (!share.equals(shown)) print("a " + share);
                shown = share;
                unsaid.commit();
            }
            unsaid.commit();
        }
        print("left");
    }

    /** Records that are not committed yet. What is revoked is committed first, or is the next member's to read. */
    private static final class Unsaid implements ConsumerRebalanceListener {
        final List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
        private final KafkaConsumer<byte[], byte[]> consumer;

        Unsaid(KafkaConsumer<byte[], byte[]> consumer) {
            this.consumer = consumer;
        }

        void commit() {
            if (records.isEmpty()) return;
            try {
                consumer.commitSync();
                records.forEach(r -> print("r " + new String(r.value(), UTF_8)));
                records.clear();
            } catch (RebalanceInProgressException e) {
                // Once that is over.
            } catch (CommitFailedException e) {
                records.clear();
            }
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            commit();
            onPartitionsLost(partitions);
        }

        @Override
        public void onPartitionsLost(Collection<TopicPartition> partitions) {
            records.removeIf(r -> partitions.contains(new TopicPartition(r.topic(), r.partition())));
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) { }
    }

    static boolean ended() {
        try {
            return System.in.read() < 0;
        } catch (IOException e) {
            return true;
        }
    }

    static void print(String line) {
        System.out.println(line);
        System.out.flush();
    }
}
