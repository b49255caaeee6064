package io.ottla.golden;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.Uuid;

/** Values for one message, made from its schema: each differs from the field's default and, mostly, from the others. */
final class Values {
    private static final JsonNodeFactory NODES = JsonNodeFactory.instance;

    private final JsonNode schema;
    private final Map<String, JsonNode> structs = new HashMap<>();
    private int counter;

    Values(JsonNode schema) {
        this.schema = schema;
        for (JsonNode common : schema.path("commonStructs")) {
            structs.put(common.get("name").asText(), common.get("fields"));
        }
    }

    /** The whole message with every field of the version set; arrays have two elements. */
    ObjectNode full(int version) {
        counter = 0;
        return struct(schema.get("fields"), version);
    }

    /** The paths of the fields that may be null in the version. */
    List<List<String>> nullable(int version) {
        List<List<String>> paths = new ArrayList<>();
        nullable(schema.get("fields"), version, List.of(), paths);
        return paths;
    }

    private void nullable(JsonNode fields, int version, List<String> prefix, List<List<String>> paths) {
        for (JsonNode field : fields) {
            if (!present(field, version)) {
                continue;
            }
            List<String> path = new ArrayList<>(prefix);
            path.add(name(field));
            if (Versions.of(field.path("nullableVersions").asText("none")).contains(version)) {
                paths.add(path);
            }
            JsonNode inner = inner(field);
            if (inner != null) {
                nullable(inner, version, path, paths);
            }
        }
    }

    private static boolean present(JsonNode field, int version) {
        String versions = field.path("versions").asText(field.path("taggedVersions").asText());
        return Versions.of(versions).contains(version);
    }

    private static String name(JsonNode field) {
        String name = field.get("name").asText();
        return Character.toLowerCase(name.charAt(0)) + name.substring(1);
    }

    private JsonNode inner(JsonNode field) {
        return field.has("fields") ? field.get("fields") : structs.get(field.get("type").asText().replace("[]", ""));
    }

    private ObjectNode struct(JsonNode fields, int version) {
        ObjectNode object = NODES.objectNode();
        for (JsonNode field : fields) {
            if (!present(field, version)) {
                continue;
            }
            String type = field.get("type").asText();
            if (type.startsWith("[]")) {
                ArrayNode array = object.putArray(name(field));
                for (int i = 0; i < 2; i++) {
                    array.add(value(type.substring(2), field, version));
                }
            } else {
                object.set(name(field), value(type, field, version));
            }
        }
        return object;
    }

    private JsonNode value(String type, JsonNode field, int version) {
        counter++;
        int n = counter;
        return switch (type) {
            case "bool" -> NODES.booleanNode(!field.path("default").asBoolean(false));
            // Odd ones negative, so that signs are seen; never 0, -1, 1 or another small default.
            case "int8" -> NODES.numberNode((byte) (sign(n) * (20 + n % 100)));
            case "int16" -> NODES.numberNode((short) (sign(n) * (300 + n)));
            case "uint16" -> NODES.numberNode(40000 + n);
            case "int32" -> NODES.numberNode(sign(n) * (70000 + 65537 * n));
            case "uint32" -> NODES.numberNode(3000000000L + n);
            case "int64" -> NODES.numberNode(sign(n) * (5000000000L + 4294967299L * n));
            case "float64" -> NODES.numberNode(sign(n) * (n + 0.1));
            case "string" -> NODES.textNode(n % 5 == 0 ? "größe-" + n : "text-" + n);
            case "uuid" -> NODES.textNode(new Uuid(0x0102030405060708L * n, 0x1112131415161718L + n).toString());
            case "bytes" -> NODES.binaryNode(new byte[] {(byte) n, 0, (byte) 0xff, 7});
            case "records" -> NODES.binaryNode(new byte[] {(byte) n, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16});
            default -> struct(inner(field), version);
        };
    }

    private static int sign(int n) {
        return n % 2 == 0 ? 1 : -1;
    }
}
