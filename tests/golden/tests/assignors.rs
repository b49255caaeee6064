//! Goal: a group whose leader is ours is assigned what Kafka's Java client would assign it, partition by partition and in the
//! same order, and both say so in the same bytes. Method: random groups over several rebalances, recorded from the Java
//! assignors (java/.../Assignors.java says how), are replayed: every member has its own assignors, hears what it heard
//! there, and what it sends is made from that.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use ottla_client::TopicPartition;
use ottla_client::assignor::{
    Assignment, Assignor, ClusterTopics, Member, PartitionRacks, Subscription, builtin, decode_assignment,
    decode_subscription, encode_assignment, encode_subscription,
};

/// The recorded groups; `OTTLA_GOLDEN_ASSIGNORS` names another file of the same format.
#[expect(clippy::disallowed_methods, reason = "a test reads the file that it was told to")]
fn recorded() -> String {
    let other =
        std::env::var_os("OTTLA_GOLDEN_ASSIGNORS").map(|path| std::fs::read(path).expect("the file is readable"));
    let packed = other.unwrap_or_else(|| include_bytes!("../data/assignors.txt.gz").to_vec());
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).expect("the golden file is gzip");
    text
}

/// A member's own part: what it heard last, and its assignor.
#[derive(Debug)]
struct Own {
    assignor: Arc<dyn Assignor>,
    heard: Vec<TopicPartition>,
}

#[derive(Debug, Default)]
struct Replay {
    members: Vec<String>,
    topics: Vec<Arc<str>>,
    assignor: String,
    cluster: ClusterTopics,
    own: HashMap<usize, Own>,
    counts: BTreeMap<String, usize>,
    refused: usize,
}

#[derive(Debug)]
struct Joined {
    number: usize,
    member: Member,
    sent: Bytes,
    version: i16,
    hears: bool,
}

impl Replay {
    fn list(&self, text: &str) -> Vec<TopicPartition> {
        let mut list = Vec::new();
        for part in text.split(';').filter(|part| !part.is_empty() && *part != "-") {
            let (topic, ranges) = part.split_once(':').expect("topic:partitions");
            for range in ranges.split(',') {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                for index in first.parse().expect("a number")..=last.parse().expect("a number") {
                    list.push(TopicPartition::new(self.topics[number(topic)].clone(), index));
                }
            }
        }
        list
    }

    fn cluster(&mut self, topics: &[&str]) {
        self.cluster = ClusterTopics::new();
        for topic in topics {
            let (topic, partitions) = topic.split_once(':').expect("topic:racks");
            let racks =
                |text: &str| text.chars().filter(|rack| *rack != '_').map(|rack| rack_name(rack).into()).collect();
            let partitions = partitions.split(',').enumerate();
            let partitions =
                partitions.map(|(index, text)| PartitionRacks { partition: index as i32, racks: racks(text) });
            self.cluster.insert(self.topics[number(topic)].clone(), partitions.collect());
        }
    }

    fn join(&mut self, fields: &[&str]) -> Joined {
        let [id, instance, rack, topics, version, generation, owned, user_data, hears] = fields else {
            panic!("a member has nine fields: {fields:?}")
        };
        let id = number(id);
        let assignor = &self.assignor;
        let new = || Own { assignor: builtin(assignor).expect("one of Kafka's"), heard: Vec::new() };
        let own = self.own.entry(id).or_insert_with(new);
        let topics: Vec<Arc<str>> =
            topics.split(',').filter(|topic| *topic != "-").map(|topic| self.topics[number(topic)].clone()).collect();
        let said = own.assignor.user_data(&topics);
        let heard = own.heard.clone();
        let subscription = Subscription {
            topics,
            user_data: match *user_data {
                "-" => None,
                "s" => said,
                hex => Some(bytes_of(&hex[1..])),
            },
            owned_partitions: if *owned == "p" { heard } else { self.list(owned) },
            generation_id: Some(generation.parse().expect("a number")).filter(|generation| *generation >= 0),
            rack_id: rack.chars().next().filter(|rack| *rack != '-').map(rack_name),
        };
        let raw = version.strip_prefix('r');
        let version = raw.unwrap_or(version).parse().expect("a version");
        let sent = encode_subscription(&subscription, version).expect("it can be encoded");
        let subscription =
            if raw.is_some() { subscription } else { decode_subscription(&sent).expect("it can be decoded") };
        if raw.is_none() {
            // A version that does not exist yet has the same fields first.
            let newer = [&[0, 9], &sent[2..], &[1, 2, 3]].concat();
            let as_newest = decode_subscription(&Bytes::from(newer));
            assert!(version < 3 || as_newest.expect("newer versions are readable") == subscription);
        }
        let group_instance_id = Some(*instance).filter(|instance| *instance != "-").map(String::from);
        let member = Member { id: self.members[id].clone(), group_instance_id, subscription };
        Joined { number: id, member, sent, version, hears: *hears == "y" }
    }

    fn rebalance(&mut self, leader: usize, joined: &[Joined], answer: &str, lists: &[&str]) -> Result<(), String> {
        let members: Vec<Member> = joined.iter().map(|joined| joined.member.clone()).collect();
        let assignor = self.own[&leader].assignor.clone();
        let assigned = assignor.assign(&self.cluster, &members);
        if answer.starts_with('!') {
            // Java trips over partitions that members own and that are no more, or over members that had a topic and
            // no longer want it. There we only have to give every partition to somebody, and none to two.
            self.refused += 1;
            let assigned = assigned.map_err(|error| error.to_string())?;
            let mut given: Vec<_> = assigned.values().flat_map(|assignment| &assignment.partitions).collect();
            let count = given.len();
            given.sort();
            given.dedup();
            return if given.len() == count { Ok(()) } else { Err(format!("a partition twice: {assigned:?}")) };
        }
        let mut assigned = assigned.map_err(|error| error.to_string())?;
        *self.counts.entry(self.assignor.clone()).or_default() += 1;
        if assigned.len() != joined.len() {
            return Err(format!("assignments for {} of {} members", assigned.len(), joined.len()));
        }
        let fields: Vec<&str> = answer.split(' ').collect();
        let [_, generation, sent, got] = fields[..] else { panic!("an answer has three fields: {answer}") };
        let bytes: Vec<Bytes> = joined.iter().map(|joined| joined.sent.clone()).collect();
        if crc(&bytes) != sent {
            return Err("the subscriptions have other bytes".into());
        }
        let mut bytes = Vec::new();
        for (joined, list) in joined.iter().zip(lists) {
            let assignment = assigned.remove(&joined.member.id).unwrap_or_default();
            let expected = self.list(list);
            if assignment.partitions != expected {
                let id = &joined.member.id;
                return Err(format!("member {id} gets {:?}\n   where Java gives {expected:?}", assignment.partitions));
            }
            bytes.push(encode_assignment(&assignment, joined.version).expect("it can be encoded"));
            if joined.hears {
                let newest = encode_assignment(&assignment, i16::MAX).expect("it can be encoded");
                let heard: Assignment = decode_assignment(&newest).expect("it can be decoded");
                let own = self.own.get_mut(&joined.number).expect("it has joined");
                own.assignor.on_assignment(&heard, generation.parse().expect("a number"));
                own.heard = heard.partitions;
            }
        }
        if crc(&bytes) != got {
            return Err("the assignments have other bytes".into());
        }
        Ok(())
    }
}

fn number(text: &str) -> usize {
    text.parse().expect("a number")
}

fn rack_name(letter: char) -> String {
    format!("rack-{letter}")
}

fn bytes_of(hex: &str) -> Bytes {
    let pairs = (0..hex.len()).step_by(2);
    pairs.map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
}

fn crc(parts: &[Bytes]) -> String {
    let mut crc = flate2::Crc::new();
    parts.iter().for_each(|part| crc.update(part));
    format!("{:x}", crc.sum())
}

#[test]
fn groups_are_assigned_what_java_assigns_them() {
    let text = recorded();
    let mut lines = text.lines().enumerate().peekable();
    let mut replay = Replay::default();
    let mut wrong = Vec::new();
    while let Some((line_number, line)) = lines.next() {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        match kind {
            "M" => replay.members.push(rest.to_owned()),
            "T" => replay.topics.push(rest.into()),
            "S" => {
                replay.assignor = rest.to_owned();
                replay.own.clear();
            }
            "C" => replay.cluster(&rest.split(' ').filter(|topic| !topic.is_empty()).collect::<Vec<_>>()),
            "A" => {
                let mut joined = Vec::new();
                while let Some((_, line)) = lines.next_if(|(_, line)| line.starts_with("m ")) {
                    joined.push(replay.join(&line[2..].split(' ').collect::<Vec<_>>()));
                }
                // Those who left come back as new ones.
                replay.own.retain(|id, _| joined.iter().any(|joined| joined.number == *id));
                let (_, answer) = lines.next().expect("a rebalance has an answer");
                let mut lists = Vec::new();
                while let Some((_, line)) = lines.next_if(|(_, line)| line.starts_with('=')) {
                    lists.push(line[1..].trim_start());
                }
                if let Err(what) = replay.rebalance(number(rest), &joined, answer, &lists) {
                    wrong.push(format!("{} (line {}): {what}", replay.assignor, line_number + 1));
                    // What follows in this group builds on it.
                    while lines.next_if(|(_, line)| !line.starts_with("S ")).is_some() {}
                }
            }
            _ => panic!("line {}: {line}", line_number + 1),
        }
    }
    assert!(wrong.is_empty(), "{} groups differ:\n{}", wrong.len(), wrong[..wrong.len().min(10)].join("\n"));
    println!("{:?}, Java refused {}", replay.counts, replay.refused);
    for assignor in ["range", "roundrobin", "sticky", "cooperative-sticky"] {
        let count = replay.counts.get(assignor).copied().unwrap_or(0);
        assert!(count >= 1000, "{count} rebalances with {assignor}");
    }
}
