import java.io.*;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.time.Instant;
import java.util.*;
import java.util.concurrent.atomic.*;
import java.util.zip.GZIPInputStream;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Streams a file of flights, one record per flight, keyed by carrier, so that a carrier's flights stay in order.
 *
 * <p>Usage: FlightsProducer BOOTSTRAP TOPIC FLIGHTS.csv.gz [LIMIT]
 */
public final class FlightsProducer {
    private static final int CARRIER = 9, SCHEDULED = 18; // Columns of the file.

    public static void main(String[] args) throws Exception {
        long limit = args.length > 3 ? Long.parseLong(args[3]) : Long.MAX_VALUE;
        Properties config = new Properties();
        config.put("bootstrap.servers", args[0]);
        config.put("acks", "all");
        config.put("enable.idempotence", "true"); // A retry never stores a record twice.
        config.put("compression.type", "lz4");
        config.put("linger.ms", "5");

        AtomicLong acknowledged = new AtomicLong();
        AtomicReference<Exception> failure = new AtomicReference<>();
        long bytes = 0, sent = 0, start = System.currentTimeMillis();
        try (BufferedReader file = open(Path.of(args[2]));
             Producer<String, String> producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            file.readLine(); // The names of the columns.
            for (String line; sent < limit && (line = file.readLine()) != null; sent++) {
                String[] flight = line.split(",", -1);
                long time = Instant.parse(flight[SCHEDULED]).toEpochMilli();
                producer.send(new ProducerRecord<>(args[1], null, time, flight[CARRIER], line), (metadata, error) -> {
                    if (error != null) failure.set(error);
                    else if (acknowledged.incrementAndGet() % 500 == 0) System.out.println("sent " + acknowledged);
                });
                bytes += line.length();
            }
            producer.flush();
        }
        if (failure.get() != null) throw failure.get();
        System.out.printf("{\"records\": %d, \"bytes\": %d, \"first_ms\": %d, \"last_ms\": %d}%n",
            acknowledged.get(), bytes, start, System.currentTimeMillis());
    }

    private static BufferedReader open(Path path) throws IOException {
        return new BufferedReader(new InputStreamReader(new GZIPInputStream(Files.newInputStream(path)), StandardCharsets.UTF_8));
    }
}
