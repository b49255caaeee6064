// Writes the record batches beside this file with Apache Kafka's own classes, and reads batches of ours back.
//
//   java -cp 'LIBS/*' GenerateBatches.java write DIR     LIBS: the jars of Apache Kafka 4.4.0
//   java -cp 'LIBS/*' GenerateBatches.java read FILE...  fails unless each holds the records of tests/it/golden.rs
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Objects;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.ControlRecordType;
import org.apache.kafka.common.record.internal.EndTransactionMarker;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.MemoryRecordsBuilder;
import org.apache.kafka.common.record.internal.MutableRecordBatch;
import org.apache.kafka.common.record.internal.Record;

public class GenerateBatches {
    static final long BASE_TIME = 1_357_000_000_000L;

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static long timestamp(int i) {
        return BASE_TIME + (i % 7) * 1000L - i;
    }

    static byte[] key(int i) {
        return i % 5 == 0 ? null : bytes("carrier-" + i % 16);
    }

    static byte[] value(int i) {
        return i % 11 == 0 ? null : bytes(("flight " + i + " ").repeat(i % 80));
    }

    static Header[] headers(int i) {
        Header[] headers = new Header[i % 3];
        for (int j = 0; j < headers.length; j++) {
            headers[j] = new RecordHeader("h\u00e9" + j, j == 1 ? null : bytes("v" + i));
        }
        return headers;
    }

    static void save(Path dir, String name, MemoryRecordsBuilder builder, int count) throws Exception {
        for (int i = 0; i < count; i++) {
            if (builder.magic() < 2) {
                builder.append(timestamp(i), key(i), value(i));
            } else {
                builder.append(timestamp(i), key(i), value(i), headers(i));
            }
        }
        save(dir, name, builder.build());
    }

    static void save(Path dir, String name, MemoryRecords records) throws Exception {
        byte[] out = new byte[records.sizeInBytes()];
        records.buffer().duplicate().get(out);
        Files.write(dir.resolve(name + ".bin"), out);
    }

    static MemoryRecordsBuilder plain(int magic, Compression compression) {
        return MemoryRecords.builder(ByteBuffer.allocate(1024), (byte) magic, compression, TimestampType.CREATE_TIME, 0L);
    }

    public static void main(String[] args) throws Exception {
        if (args[0].equals("read")) {
            for (String file : Arrays.copyOfRange(args, 1, args.length)) {
                read(Path.of(file));
            }
            return;
        }
        Path dir = Path.of(args[1]);
        save(dir, "none", plain(2, Compression.NONE), 30);
        save(dir, "gzip", plain(2, Compression.gzip().build()), 200);
        save(dir, "snappy", plain(2, Compression.snappy().build()), 200);
        save(dir, "lz4", plain(2, Compression.lz4().build()), 200);
        save(dir, "lz4-level17", plain(2, Compression.lz4().level(17).build()), 200);
        save(dir, "zstd", plain(2, Compression.zstd().build()), 200);
        save(dir, "zstd-level22", plain(2, Compression.zstd().level(22).build()), 200);
        save(dir, "transactional", MemoryRecords.builder(ByteBuffer.allocate(1024), (byte) 2, Compression.NONE,
            TimestampType.CREATE_TIME, 1234567890123L, -1L, 4000L, (short) 7, Integer.MAX_VALUE - 1, true, false, 42), 4);
        save(dir, "log-append-time", MemoryRecords.builder(ByteBuffer.allocate(1024), (byte) 2, Compression.NONE,
            TimestampType.LOG_APPEND_TIME, 100L, BASE_TIME + 5, -1L, (short) -1, -1, false, false, 3), 3);
        save(dir, "commit", MemoryRecords.withEndTransactionMarker(77L, BASE_TIME, 5, 4000L, (short) 7,
            new EndTransactionMarker(ControlRecordType.COMMIT, 9)));
        save(dir, "abort", MemoryRecords.withEndTransactionMarker(78L, BASE_TIME, 5, 4000L, (short) 7,
            new EndTransactionMarker(ControlRecordType.ABORT, 9)));
        save(dir, "magic0", plain(0, Compression.NONE), 1);
        save(dir, "magic1", plain(1, Compression.gzip().build()), 3);
    }

    static void read(Path file) throws Exception {
        MemoryRecords records = MemoryRecords.readableRecords(ByteBuffer.wrap(Files.readAllBytes(file)));
        int i = 0;
        for (MutableRecordBatch batch : records.batches()) {
            batch.ensureValid();
            for (Record record : batch) {
                boolean same = record.offset() == i && record.timestamp() == timestamp(i)
                    && Objects.equals(record.key(), key(i) == null ? null : ByteBuffer.wrap(key(i)))
                    && Objects.equals(record.value(), value(i) == null ? null : ByteBuffer.wrap(value(i)))
                    && Arrays.equals(record.headers(), headers(i));
                if (!same) {
                    throw new IllegalStateException(file + ": record " + i + " is " + record);
                }
                i++;
            }
        }
        System.out.println(file.getFileName() + ": " + i + " records");
    }
}
