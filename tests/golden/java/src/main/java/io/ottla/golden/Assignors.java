package io.ottla.golden;

import java.io.FileOutputStream;
import java.io.OutputStreamWriter;
import java.io.PrintWriter;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.zip.CRC32;
import java.util.zip.GZIPOutputStream;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor.Assignment;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor.GroupSubscription;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor.Subscription;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.RangeAssignor;
import org.apache.kafka.clients.consumer.RoundRobinAssignor;
import org.apache.kafka.clients.consumer.StickyAssignor;
import org.apache.kafka.clients.consumer.internals.ConsumerProtocol;
import org.apache.kafka.common.Cluster;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;

/**
 * Writes what Kafka's client-side assignors decide in random groups over several rebalances: members come and go, restart,
 * miss rebalances and change subscriptions and racks; topics appear, grow, shrink, move and vanish. Arguments: the file, the
 * seed, how many groups per assignor. The same arguments and Kafka version always give the same file.
 *
 * <p>Format: gzipped text, a line per thing, fields separated by a space (- stands for none):
 * <pre>
 *   M ID             the next member id; later lines name members by number, from 0
 *   T NAME           the next topic, likewise
 *   S ASSIGNOR       a new group
 *   C [T:RACKS,..].. the cluster from now on: topics with the racks of each partition's replicas, a letter each, _ for none
 *   A LEADER         a rebalance; the m lines that follow are in the order of the JoinGroup response
 *   m MEMBER INSTANCE RACK TOPICS VERSION GENERATION OWNED USERDATA HEARS
 *                    VERSION is that of the encoded subscription, or r when it is handed over unencoded;
 *                    OWNED is p for what the member heard last, USERDATA s for what its own assignor says, or hex;
 *                    HEARS is y when the member gets its assignment (in generation G of the answer), n when not
 *   G GENERATION SUBSCRIPTIONS ASSIGNMENTS   of the answer, with the CRC-32 of the encoded bytes of all members
 *   = T:P,P-P;T:P    the partitions of one member, in order; a line per member, in the order of the m lines
 *   ! EXCEPTION      instead of G and =
 * </pre>
 */
public final class Assignors {
    private static final int TOPICS = 40;
    private static final int MEMBERS = 120;
    private static final String RACKS = "abcd";

    private static final class Member {
        int id;
        int instance = -1;
        char rack = '-';
        List<Integer> topics;
        int version;
        int generation = -1;
        List<TopicPartition> heard = List.of();
        ConsumerPartitionAssignor assignor;
    }

    private final PrintWriter out;
    private final Random random;
    private final List<String> memberNames = new ArrayList<>();
    private final List<String> topicNames = new ArrayList<>();
    private final Map<String, Integer> topicNumbers = new HashMap<>();
    private final TreeMap<String, Integer> counts = new TreeMap<>();

    private Assignors(PrintWriter out, long seed) {
        this.out = out;
        this.random = new Random(seed);
    }

    public static void main(String[] args) throws Exception {
        Path file = Path.of(args[0]).normalize();
        try (PrintWriter out = new PrintWriter(
                new OutputStreamWriter(new GZIPOutputStream(new FileOutputStream(file.toFile())), StandardCharsets.UTF_8))) {
            Assignors assignors = new Assignors(out, Long.parseLong(args[1]));
            assignors.names();
            for (int i = 0; i < Integer.parseInt(args[2]); i++) {
                for (String name : List.of("range", "roundrobin", "sticky", "cooperative-sticky")) {
                    assignors.group(name);
                }
            }
            System.out.println(assignors.counts + " in " + file);
        }
    }

    private static ConsumerPartitionAssignor assignor(String name) {
        return switch (name) {
            case "range" -> new RangeAssignor();
            case "roundrobin" -> new RoundRobinAssignor();
            case "sticky" -> new StickyAssignor();
            default -> new CooperativeStickyAssignor();
        };
    }

    private void names() {
        // Hash codes that are equal, ids beyond ASCII whose order differs between UTF-8 and UTF-16, ids as clients make them.
        Collections.addAll(memberNames, "Aa", "BB", "C#", "AaAa", "BBBB", "AaBB", "\uD834\uDD1E-a", "\uFFFD-a", "größe-1");
        while (memberNames.size() < MEMBERS) {
            String uuid = new java.util.UUID(random.nextLong(), random.nextLong()).toString().substring(0, 13);
            int number = memberNames.size();
            memberNames.add(switch (number % 4) {
                case 0 -> "c" + number;
                case 1 -> "rdkafka-" + uuid;
                default -> "consumer-g-" + number + "-" + uuid;
            });
        }
        Collections.addAll(topicNames, "Aa", "BB", "C#".replace('#', '-'), "a0", "b0", "orders.eu_1", "Orders", "_x");
        while (topicNames.size() < TOPICS) {
            topicNames.add((topicNames.size() % 3 == 0 ? "topic-" : "t") + topicNames.size());
        }
        memberNames.forEach(name -> out.println("M " + name));
        for (String name : topicNames) {
            topicNumbers.put(name, topicNumbers.size());
            out.println("T " + name);
        }
    }

    private boolean chance(double probability) {
        return random.nextDouble() < probability;
    }

    private int between(int low, int high) {
        return low + random.nextInt(high - low + 1);
    }

    private void group(String name) {
        out.println("S " + name);
        Shape shape = new Shape();
        shape.big = chance(0.05);
        shape.equal = chance(0.45);
        shape.topics = shape.big ? between(5, 20) : between(1, 6);
        shape.partitions = shape.big ? 24 : between(1, 7);
        shape.racks = chance(0.5) ? between(1, RACKS.length()) : 0;
        shape.statics = chance(0.4) ? random.nextDouble() : 0;
        shape.raw = chance(0.25);
        shape.version = chance(0.5) ? 3 : -1;
        shape.disorder = chance(0.5) ? 0 : 0.06;
        TreeMap<Integer, List<String>> cluster = new TreeMap<>();
        List<Integer> topics = new ArrayList<>();
        for (int i = 0; i < shape.topics; i++) {
            topics.add(random.nextInt(TOPICS));
        }
        topics = new ArrayList<>(new HashSet<>(topics));
        for (int topic : topics) {
            if (!chance(0.07)) {
                cluster.put(topic, partitions(shape, null));
            }
        }
        List<Integer> common = subset(topics, shape);
        List<Member> members = new ArrayList<>();
        int count = shape.big ? between(5, 25) : between(1, 7);
        for (int i = 0; i < count; i++) {
            join(name, members, shape, topics, common);
        }
        String written = null;
        int generation = 0;
        Member leader = members.get(0);
        for (int step = between(3, 6); step > 0; step--) {
            String line = line(cluster);
            if (!line.equals(written)) {
                out.println(line);
                written = line;
            }
            if (!members.contains(leader)) {
                leader = members.get(random.nextInt(members.size()));
            }
            generation = chance(0.03) ? 1 : generation + between(1, 2);
            rebalance(name, shape, cluster, members, leader, generation);
            common = change(name, shape, cluster, members, topics, common);
        }
    }

    private static final class Shape {
        boolean big;
        boolean equal;
        int topics;
        int partitions;
        int racks;
        double statics;
        boolean raw;
        int version;
        double disorder;
        final Set<Integer> used = new HashSet<>();
    }

    private List<String> partitions(Shape shape, List<String> from) {
        List<String> partitions = new ArrayList<>();
        int count = between(1, Math.max(1, shape.partitions));
        int replicas = between(1, 3);
        for (int i = 0; i < count; i++) {
            if (from != null && i < from.size() && !chance(0.1)) {
                partitions.add(from.get(i));
                continue;
            }
            StringBuilder racks = new StringBuilder();
            for (int r = 0; r < replicas && shape.racks > 0; r++) {
                racks.append(chance(0.05) ? '_' : RACKS.charAt((i + random.nextInt(3)) % shape.racks));
            }
            partitions.add(racks.length() == 0 ? "_" : racks.toString());
        }
        return partitions;
    }

    private List<Integer> subset(List<Integer> topics, Shape shape) {
        List<Integer> chosen = new ArrayList<>();
        for (int topic : topics) {
            if (chance(0.6)) {
                chosen.add(topic);
            }
        }
        if (chosen.isEmpty() && !chance(0.05)) {
            chosen.add(topics.get(random.nextInt(topics.size())));
        }
        Collections.shuffle(chosen, random);
        if (shape.raw && !chosen.isEmpty() && chance(shape.disorder / 2)) {
            chosen.add(chosen.get(0));
        }
        return chosen;
    }

    private void join(String name, List<Member> members, Shape shape, List<Integer> topics, List<Integer> common) {
        Member member = new Member();
        Set<Integer> instances = new HashSet<>();
        members.forEach(m -> instances.add(m.instance));
        // Whoever comes back comes under a new id.
        do {
            member.id = random.nextInt(MEMBERS);
        } while (!shape.used.add(member.id));
        if (chance(shape.statics)) {
            member.instance = random.nextInt(MEMBERS);
            while (instances.contains(member.instance)) {
                member.instance = random.nextInt(MEMBERS);
            }
        }
        member.rack = shape.racks > 0 && chance(0.85) ? RACKS.charAt(random.nextInt(Math.min(4, shape.racks + 1))) : '-';
        member.topics = shape.equal ? common : subset(topics, shape);
        member.version = shape.version >= 0 ? shape.version : between(0, 3);
        member.assignor = assignor(name);
        members.add(random.nextInt(members.size() + 1), member);
    }

    private List<Integer> change(String name, Shape shape, TreeMap<Integer, List<String>> cluster, List<Member> members,
            List<Integer> topics, List<Integer> common) {
        if (chance(0.4)) {
            join(name, members, shape, topics, common);
        }
        if (chance(0.35) && members.size() > 1) {
            members.remove(random.nextInt(members.size()));
        }
        if (chance(0.25)) {
            // A restart: a new member id, and an assignor that knows nothing.
            Member old = members.remove(random.nextInt(members.size()));
            join(name, members, shape, topics, common);
            for (Member member : members) {
                if (member.assignor != old.assignor && member.generation < 0 && old.instance >= 0) {
                    boolean free = members.stream().noneMatch(m -> m.instance == old.instance);
                    if (free) {
                        member.instance = old.instance;
                    }
                }
            }
        }
        if (chance(0.2)) {
            int topic = topics.get(random.nextInt(topics.size()));
            if (cluster.containsKey(topic) && chance(0.3)) {
                cluster.remove(topic);
            } else {
                List<String> old = cluster.get(topic);
                List<String> now = partitions(shape, old);
                boolean shrinks = old != null && now.size() < old.size();
                if (shrinks && !chance(shape.disorder * 5)) {
                    now = new ArrayList<>(now);
                    now.addAll(old.subList(now.size(), old.size()));
                }
                cluster.put(topic, now);
            }
        }
        if (chance(0.25)) {
            if (shape.equal) {
                common = subset(topics, shape);
                for (Member member : members) {
                    member.topics = common;
                }
            } else {
                members.get(random.nextInt(members.size())).topics = subset(topics, shape);
            }
        }
        if (chance(0.1)) {
            Member member = members.get(random.nextInt(members.size()));
            member.topics = subset(topics, shape);
        }
        if (chance(0.08) && shape.racks > 0) {
            members.get(random.nextInt(members.size())).rack = chance(0.3) ? '-' : RACKS.charAt(random.nextInt(shape.racks));
        }
        if (chance(0.2)) {
            Collections.shuffle(members, random);
        }
        return common;
    }

    private void rebalance(String name, Shape shape, TreeMap<Integer, List<String>> cluster, List<Member> members,
            Member leader, int generation) {
        out.println("A " + leader.id);
        boolean eager = !name.equals("cooperative-sticky") || chance(0.05);
        Map<String, Subscription> subscriptions = new HashMap<>();
        CRC32 sent = new CRC32();
        List<Member> hearing = new ArrayList<>();
        for (Member member : members) {
            String owned = eager ? "-" : "p";
            List<TopicPartition> ownedPartitions = eager ? List.of() : member.heard;
            if (chance(shape.disorder)) {
                // Whatever a confused client may say.
                ownedPartitions = claims(cluster, members);
                owned = text(ownedPartitions);
            }
            int saidGeneration = chance(shape.disorder) ? between(-1, generation) : member.generation;
            ByteBuffer userData = member.assignor.subscriptionUserData(new HashSet<>(names(member.topics)));
            String said = "s";
            if (chance(shape.disorder / 2)) {
                byte[] bytes = new byte[random.nextInt(9)];
                random.nextBytes(bytes);
                if (userData != null && chance(0.5)) {
                    bytes = new byte[random.nextInt(userData.remaining() + 1)];
                    userData.get(bytes);
                }
                userData = chance(0.2) ? null : ByteBuffer.wrap(bytes);
                said = userData == null ? "-" : "x" + hex(bytes);
            } else if (userData == null) {
                said = "-";
            }
            boolean hears = !chance(0.12);
            if (hears) {
                hearing.add(member);
            }
            Optional<String> rack = member.rack == '-' ? Optional.empty() : Optional.of("rack-" + member.rack);
            Subscription subscription =
                new Subscription(names(member.topics), userData, ownedPartitions, saidGeneration, rack);
            ByteBuffer bytes = ConsumerProtocol.serializeSubscription(subscription, (short) member.version);
            sent.update(bytes.duplicate());
            if (!shape.raw) {
                if (member.version == 3 && chance(0.1)) {
                    // A newer version, which has the same fields first.
                    bytes = bytes.duplicate();
                    bytes.putShort(0, (short) 9);
                }
                subscription = ConsumerProtocol.deserializeSubscription(bytes);
            }
            if (member.instance >= 0) {
                subscription.setGroupInstanceId(Optional.of("i" + member.instance));
            }
            subscriptions.put(memberNames.get(member.id), subscription);
            out.println("m " + member.id + " " + (member.instance < 0 ? "-" : "i" + member.instance) + " " + member.rack
                + " " + numbers(member.topics) + " " + (shape.raw ? "r" : "") + member.version + " " + saidGeneration
                + " " + (owned.isEmpty() ? "-" : owned) + " " + said + " " + (hears ? "y" : "n"));
        }
        Map<String, Assignment> answer;
        try {
            answer = leader.assignor.assign(cluster(cluster), new GroupSubscription(subscriptions)).groupAssignment();
        } catch (RuntimeException e) {
            out.println("! " + e.getClass().getSimpleName());
            counts.merge(name + " " + e.getClass().getSimpleName(), 1, Integer::sum);
            return;
        }
        counts.merge(name, 1, Integer::sum);
        CRC32 got = new CRC32();
        for (Member member : members) {
            Assignment assignment = answer.get(memberNames.get(member.id));
            got.update(ConsumerProtocol.serializeAssignment(assignment, (short) member.version));
        }
        out.println("G " + generation + " " + Long.toHexString(sent.getValue()) + " " + Long.toHexString(got.getValue()));
        for (Member member : members) {
            Assignment assignment = answer.get(memberNames.get(member.id));
            out.println("= " + text(assignment.partitions()));
            if (hearing.contains(member)) {
                Assignment heard = ConsumerProtocol.deserializeAssignment(ConsumerProtocol.serializeAssignment(assignment));
                String id = memberNames.get(member.id);
                member.assignor.onAssignment(heard, new ConsumerGroupMetadata("g", generation, id, Optional.empty()));
                member.heard = heard.partitions();
                member.generation = generation;
            }
        }
    }

    private List<TopicPartition> claims(TreeMap<Integer, List<String>> cluster, List<Member> members) {
        List<TopicPartition> claims = new ArrayList<>(members.get(random.nextInt(members.size())).heard);
        for (Map.Entry<Integer, List<String>> topic : cluster.entrySet()) {
            for (int i = 0; i <= topic.getValue().size(); i++) {
                if (chance(i < topic.getValue().size() ? 0.2 : 0.02)) {
                    claims.add(new TopicPartition(topicNames.get(topic.getKey()), i));
                }
            }
        }
        Collections.shuffle(claims, random);
        return claims;
    }

    private List<String> names(List<Integer> topics) {
        return topics.stream().map(topicNames::get).toList();
    }

    private static String numbers(List<Integer> numbers) {
        String text = String.join(",", numbers.stream().map(String::valueOf).toList());
        return text.isEmpty() ? "-" : text;
    }

    private static String hex(byte[] bytes) {
        StringBuilder text = new StringBuilder();
        for (byte b : bytes) {
            text.append(String.format("%02x", b));
        }
        return text.toString();
    }

    private String text(List<TopicPartition> partitions) {
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < partitions.size(); i++) {
            TopicPartition partition = partitions.get(i);
            boolean same = i > 0 && partitions.get(i - 1).topic().equals(partition.topic());
            if (!same) {
                text.append(i > 0 ? ";" : "").append(topicNumbers.get(partition.topic())).append(':');
            } else {
                text.append(',');
            }
            int last = i;
            while (last + 1 < partitions.size() && partitions.get(last + 1).topic().equals(partition.topic())
                && partitions.get(last + 1).partition() == partitions.get(last).partition() + 1) {
                last++;
            }
            text.append(partition.partition());
            if (last > i) {
                text.append('-').append(partitions.get(last).partition());
                i = last;
            }
        }
        return text.toString();
    }

    private static String line(TreeMap<Integer, List<String>> cluster) {
        StringBuilder line = new StringBuilder("C");
        cluster.forEach((topic, racks) -> line.append(' ').append(topic).append(':').append(String.join(",", racks)));
        return line.toString();
    }

    private Cluster cluster(TreeMap<Integer, List<String>> topics) {
        Map<Character, Node> nodes = new HashMap<>();
        for (int i = 0; i < RACKS.length(); i++) {
            nodes.put(RACKS.charAt(i), new Node(i, "host", 9092, "rack-" + RACKS.charAt(i)));
        }
        nodes.put('_', new Node(RACKS.length(), "host", 9092));
        List<PartitionInfo> partitions = new ArrayList<>();
        topics.forEach((topic, racks) -> {
            for (int i = 0; i < racks.size(); i++) {
                Node[] replicas = racks.get(i).chars().mapToObj(rack -> nodes.get((char) rack)).toArray(Node[]::new);
                partitions.add(new PartitionInfo(topicNames.get(topic), i, replicas[0], replicas, replicas));
            }
        });
        return new Cluster("cluster", nodes.values(), partitions, Set.of(), Set.of());
    }
}
