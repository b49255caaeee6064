package io.ottla.golden;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.DataOutputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.lang.reflect.Field;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Modifier;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Enumeration;
import java.util.List;
import java.util.TreeMap;
import java.util.zip.GZIPOutputStream;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.MessageUtil;
import org.apache.kafka.common.protocol.types.RawTaggedField;
import org.apache.kafka.common.record.internal.MemoryRecords;

/**
 * Writes what Apache Kafka's own serializers make of every message in every version: all defaults, every field away from its
 * default, each nullable field null, unknown tagged fields. The values come from {@link Values}, the objects from Kafka's
 * JSON converters.
 *
 * <p>Format, gzipped: per case a u8 length and the message's name, an i16 version, a u8 length and the kind of case, a u32
 * length and the bytes. Sorted by name, then version.
 */
public final class Golden {
    private static final ObjectMapper JSON = new ObjectMapper().enable(JsonParser.Feature.ALLOW_COMMENTS);

    /** One class per jar, which leads to the jar, and the package of its messages. */
    private static final String[][] JARS = {
        {"org.apache.kafka.common.message.FetchRequestData", "org.apache.kafka.common.message"},
        {"org.apache.kafka.common.metadata.TopicRecord", "org.apache.kafka.common.metadata"},
        {"org.apache.kafka.raft.generated.QuorumStateData", "org.apache.kafka.raft.generated"},
        {"org.apache.kafka.server.log.remote.metadata.storage.generated.ProducerSnapshot",
            "org.apache.kafka.server.log.remote.metadata.storage.generated"},
        {"org.apache.kafka.coordinator.group.generated.OffsetCommitKey", "org.apache.kafka.coordinator.group.generated"},
        {"org.apache.kafka.coordinator.share.generated.ShareSnapshotKey", "org.apache.kafka.coordinator.share.generated"},
        {"org.apache.kafka.coordinator.transaction.generated.TransactionLogKey",
            "org.apache.kafka.coordinator.transaction.generated"},
    };

    private record Found(JsonNode schema, String packageName) {}

    private final DataOutputStream out;
    private int cases;

    private Golden(DataOutputStream out) {
        this.out = out;
    }

    public static void main(String[] args) throws Exception {
        TreeMap<String, Found> schemas = new TreeMap<>();
        for (String[] jar : JARS) {
            readJar(jar[0], jar[1], schemas);
        }
        try (DataOutputStream out = new DataOutputStream(new GZIPOutputStream(new FileOutputStream(args[0])))) {
            Golden golden = new Golden(out);
            for (Found found : schemas.values()) {
                golden.message(found);
            }
            System.out.println(golden.cases + " cases of " + schemas.size() + " messages in " + Path.of(args[0]).normalize());
        }
    }

    private static void readJar(String className, String packageName, TreeMap<String, Found> schemas) throws Exception {
        Path jar = Path.of(Class.forName(className).getProtectionDomain().getCodeSource().getLocation().toURI());
        try (ZipFile zip = new ZipFile(jar.toFile())) {
            for (Enumeration<? extends ZipEntry> all = zip.entries(); all.hasMoreElements();) {
                ZipEntry entry = all.nextElement();
                if (!entry.getName().matches("(.*/)?(message|metadata)/[A-Za-z]+\\.json")) {
                    continue;
                }
                try (InputStream in = zip.getInputStream(entry)) {
                    JsonNode schema = JSON.readTree(in);
                    if (!schema.get("validVersions").asText().equals("none")) {
                        schemas.put(schema.get("name").asText(), new Found(schema, packageName));
                    }
                }
            }
        }
    }

    private void message(Found found) throws Exception {
        JsonNode schema = found.schema;
        String name = schema.get("name").asText();
        boolean isData = switch (schema.get("type").asText()) {
            case "request", "response", "header" -> true;
            default -> false;
        };
        Class<?> type = Class.forName(found.packageName + "." + name + (isData ? "Data" : ""));
        Class<?> converter = Class.forName(type.getName() + "JsonConverter");
        Values values = new Values(schema);
        Versions valid = Versions.of(schema.get("validVersions").asText());
        Versions flexible = Versions.of(schema.path("flexibleVersions").asText("none"));
        for (int v = valid.low(); v <= valid.high(); v++) {
            short version = (short) v;
            Message defaults = (Message) type.getConstructor().newInstance();
            emptyRecords(defaults);
            write(name, version, "default", defaults);
            ObjectNode full = values.full(version);
            write(name, version, "full", read(converter, full, version));
            for (List<String> path : values.nullable(version)) {
                ObjectNode copy = full.deepCopy();
                if (setNull(copy, path)) {
                    write(name, version, "null " + String.join(".", path), read(converter, copy, version));
                }
            }
            if (flexible.contains(v)) {
                Message tagged = read(converter, full, version);
                addTags(tagged);
                write(name, version, "tags", tagged);
                Message emptyTagged = (Message) type.getConstructor().newInstance();
                emptyRecords(emptyTagged);
                addTags(emptyTagged);
                write(name, version, "default tags", emptyTagged);
            }
        }
    }

    private static Message read(Class<?> converter, JsonNode json, short version) throws Exception {
        try {
            return (Message) converter.getMethod("read", JsonNode.class, short.class).invoke(null, json, version);
        } catch (InvocationTargetException e) {
            throw new IllegalStateException(converter.getSimpleName() + " version " + version + ": " + json, e.getCause());
        }
    }

    /** Sets the field null in the first element of each array on the way. */
    private static boolean setNull(ObjectNode root, List<String> path) {
        JsonNode at = root;
        for (String step : path.subList(0, path.size() - 1)) {
            at = at.path(step);
            at = at.isArray() ? at.path(0) : at;
        }
        if (!(at instanceof ObjectNode object) || !object.has(path.get(path.size() - 1))) {
            return false;
        }
        object.putNull(path.get(path.size() - 1));
        return true;
    }

    /** Records that cannot be null are null in a fresh object all the same. */
    private static void emptyRecords(Message message) throws Exception {
        for (Field field : message.getClass().getDeclaredFields()) {
            field.setAccessible(true);
            if (field.getName().equals("unalignedRecords") && field.get(message) == null) {
                field.set(message, MemoryRecords.EMPTY);
            }
        }
    }

    /** Adds two unknown fields to the message and to every struct in it; the converters have no place for them. */
    private static void addTags(Message message) throws Exception {
        message.unknownTaggedFields().add(new RawTaggedField(1000, new byte[] {1, 2, 3}));
        message.unknownTaggedFields().add(new RawTaggedField(70000, new byte[0]));
        for (Field field : message.getClass().getDeclaredFields()) {
            if (Modifier.isStatic(field.getModifiers())) {
                continue;
            }
            field.setAccessible(true);
            Object value = field.get(message);
            if (value instanceof Message inner) {
                // One at its default may belong to another version only, where it must stay at it.
                if (!inner.equals(inner.getClass().getConstructor().newInstance())) {
                    addTags(inner);
                }
            } else if (value instanceof Collection<?> elements) {
                for (Object element : new ArrayList<>(elements)) {
                    if (element instanceof Message inner) {
                        addTags(inner);
                    }
                }
            }
        }
    }

    private void write(String name, short version, String kind, Message message) throws IOException {
        ByteBuffer buffer;
        try {
            buffer = MessageUtil.toByteBufferAccessor(message, version).buffer();
        } catch (RuntimeException e) {
            throw new IllegalStateException(name + " version " + version + " " + kind, e);
        }
        text(name);
        out.writeShort(version);
        text(kind);
        byte[] bytes = new byte[buffer.remaining()];
        buffer.get(bytes);
        out.writeInt(bytes.length);
        out.write(bytes);
        cases++;
    }

    private void text(String text) throws IOException {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        if (bytes.length > 255) {
            throw new IllegalStateException(text);
        }
        out.writeByte(bytes.length);
        out.write(bytes);
    }
}
