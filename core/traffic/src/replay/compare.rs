//! Two answers to one request, field by field. What a broker makes up is compared by what it stands for.

use super::ids::{Ids, Kind, unquote};
use crate::rules::{IGNORED, PRESENCE, is_absent};
use crate::tree::Tree;
use std::collections::{HashMap, HashSet};

/// Fields with node ids; those of the second kind are lists.
const NODES: &[&str] = &["node_id", "leader_id", "controller_id", "broker_id", "preferred_read_replica"];
const NODE_LISTS: &[&str] =
    &["replica_nodes", "isr_nodes", "offline_replicas", "eligible_leader_replicas", "last_known_elr"];
/// Configs that name the broker's place: their values differ by nature.
const PLACES: &[&str] =
    &["listeners", "advertised.listeners", "log.dir", "log.dirs", "metadata.log.dir", "node.id", "broker.id"];
/// Longer than this a value is cut for people.
const SHOWN_MAX: usize = 200;

/// One field that differs: where, and both values.
pub(crate) type Differing = (String, String, String);

/// What two answers are to each other.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    /// Fields that differ.
    pub(crate) differing: Vec<Differing>,
    /// Whether one of two fetches has more than the other, of the same.
    pub(crate) by_timing: bool,
}

/// Compares answers whose unordered lists are sorted, and learns the ids in them. `group` is the one of the request, as text.
///
/// A fetch that waited while others produced has what was there when it came to be answered: `overlapping` ones may have more or
/// less of the same.
pub(crate) fn compare(
    recorded: &Tree,
    replayed: &Tree,
    group: Option<&str>,
    overlapping: bool,
    ids: &mut Ids,
) -> Comparison {
    let is_fetch = matches!(recorded, Tree::Struct(name, _) if name == "FetchResponse");
    let found = Comparison::default();
    let mut compared = Compared { group: group.unwrap_or_default(), is_loose: overlapping && is_fetch, ids, found };
    compared.values("", "", recorded, replayed);
    compared.found
}

struct Compared<'a> {
    group: &'a str,
    /// More or less of the same is no difference.
    is_loose: bool,
    ids: &'a mut Ids,
    found: Comparison,
}

/// Fields of a fetched partition that say how far its log went at that time.
const PROGRESS: &[&str] = &["high_watermark", "last_stable_offset", "aborted_transactions"];
/// Lists that an incremental fetch has only the news in.
const NEWS: &[&str] = &["responses", "partitions"];

impl Compared<'_> {
    fn values(&mut self, path: &str, field: &str, recorded: &Tree, replayed: &Tree) {
        if IGNORED.contains(&field) {
            return;
        }
        if self.is_loose && PROGRESS.contains(&field) {
            self.found.by_timing |= recorded != replayed;
            return;
        }
        match (recorded, replayed) {
            (Tree::Struct(name, fields), Tree::Struct(other, others)) if name == other => {
                self.structs(path, recorded, fields, others);
            }
            (Tree::List(items), Tree::List(others)) => self.lists(path, field, items, others),
            (Tree::Leaf(text), Tree::Leaf(other)) => {
                if !self.leaves(field, text, other) {
                    self.differ(path, recorded, replayed);
                }
            }
            _ => self.differ(path, recorded, replayed),
        }
    }

    fn structs(&mut self, path: &str, recorded: &Tree, fields: &[(String, Tree)], others: &[(String, Tree)]) {
        let is_place = recorded.leaf("name").is_some_and(|name| PLACES.contains(&unquote(name).as_str()));
        let producer = recorded.leaf("producer_id").unwrap_or_default();
        for ((field, value), (_, other)) in fields.iter().zip(others) {
            let dot = if path.is_empty() { "" } else { "." };
            let path = format!("{path}{dot}{field}");
            match (field.as_str(), value, other) {
                // Also in what the defaults say.
                ("value" | "synonyms", ..) if is_place => {}
                ("producer_epoch", Tree::Leaf(text), Tree::Leaf(epoch)) => {
                    if !self.ids.pair(Kind::ProducerEpoch(producer.to_owned()), text, epoch) {
                        self.differ(&path, value, other);
                    }
                }
                // The name of a broker among config resources.
                ("resource_name", Tree::Leaf(text), Tree::Leaf(name))
                    if recorded.leaf("resource_type") == Some("4") =>
                {
                    if !self.ids.pair(Kind::Node, &unquote(text), &unquote(name)) {
                        self.differ(&path, value, other);
                    }
                }
                _ => self.values(&path, field, value, other),
            }
        }
    }

    fn lists(&mut self, path: &str, field: &str, items: &[Tree], others: &[Tree]) {
        if self.is_loose && (field == "records" || NEWS.contains(&field)) {
            self.found.by_timing |= items.len() != others.len();
        } else if items.len() != others.len() {
            let count = |items: &[Tree]| Tree::Leaf(format!("{} elements", items.len()));
            self.differ(&format!("{path}.len"), &count(items), &count(others));
        }
        // Elements with names of their own are found by them, so that a missing one does not shift the rest.
        let (names, other_names) = (names_of(items, Some(self.ids)), names_of(others, None));
        if let (Some(names), Some(other_names)) = (names, other_names) {
            let by_name: HashMap<&str, &Tree> = other_names.iter().map(String::as_str).zip(others).collect();
            let is_news = |item: &Tree| NEWS.contains(&field) && !has_failed(item);
            for (name, item) in names.iter().zip(items) {
                let path = format!("{path}[{}]", unquote(name));
                match by_name.get(name.as_str()) {
                    Some(other) => self.values(&path, field, item, other),
                    None if self.is_loose && is_news(item) => {}
                    None => self.differ(&path, item, &absent()),
                }
            }
            let known: HashSet<String> = names.into_iter().collect();
            for (name, other) in other_names.iter().zip(others).filter(|(name, _)| !known.contains(*name)) {
                if !(self.is_loose && is_news(other)) {
                    self.differ(&format!("{path}[{}]", unquote(name)), &absent(), other);
                }
            }
            return;
        }
        for (index, (item, other)) in items.iter().zip(others).enumerate() {
            self.values(&format!("{path}[{index}]"), field, item, other);
        }
    }

    /// Whether two leaves are equal, or stand for each other.
    fn leaves(&mut self, field: &str, recorded: &str, replayed: &str) -> bool {
        let kind = match field {
            "topic_id" => Kind::Topic,
            "member_id" | "leader" => Kind::Member,
            "producer_id" => Kind::Producer,
            "session_id" => Kind::FetchSession,
            "cluster_id" => Kind::Cluster,
            "generation_id" | "member_epoch" | "group_epoch" | "assignment_epoch" if !self.group.is_empty() => {
                Kind::Generation(self.group.to_owned())
            }
            _ if NODES.contains(&field) || NODE_LISTS.contains(&field) => Kind::Node,
            _ if PRESENCE.contains(&field) => return is_absent(recorded) == is_absent(replayed),
            _ => return recorded == replayed,
        };
        self.ids.pair(kind, recorded, replayed)
    }

    fn differ(&mut self, path: &str, recorded: &Tree, replayed: &Tree) {
        self.found.differing.push((path.to_owned(), shown(recorded), shown(replayed)));
    }
}

/// The names of a list's elements, if each has one of its own. `ids` turns those of the recording into the target's.
fn names_of(items: &[Tree], ids: Option<&Ids>) -> Option<Vec<String>> {
    let names: Vec<String> = items.iter().map(|item| key_of(item, ids)).collect::<Option<_>>()?;
    (names.iter().collect::<HashSet<_>>().len() == names.len()).then_some(names)
}

fn key_of(item: &Tree, ids: Option<&Ids>) -> Option<String> {
    // Where topics have ids, their names are empty.
    if let Some(name) = item.name().filter(|name| *name != "\"\"" && *name != "None") {
        return Some(name.to_owned());
    }
    if let Some(id) = item.leaf("topic_id") {
        return Some(ids.and_then(|ids| ids.find(&Kind::Topic, id)).unwrap_or(id).to_owned());
    }
    ["partition_index", "index", "partition"].iter().find_map(|field| item.leaf(field)).map(str::to_owned)
}

/// Whether there is an error anywhere in it.
fn has_failed(item: &Tree) -> bool {
    match item {
        Tree::Struct(_, fields) => fields.iter().any(|(name, value)| match value {
            Tree::Leaf(code) if name == "error_code" => code != "0",
            value => has_failed(value),
        }),
        Tree::List(items) => items.iter().any(has_failed),
        Tree::Leaf(_) => false,
    }
}

fn absent() -> Tree {
    Tree::Leaf("(absent)".to_owned())
}

fn shown(tree: &Tree) -> String {
    let text = tree.to_string();
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(recorded: &str, replayed: &str, overlapping: bool, ids: &mut Ids) -> (Vec<String>, bool) {
        let found = compare(&Tree::parse(recorded), &Tree::parse(replayed), Some("\"g\""), overlapping, ids);
        (found.differing.into_iter().map(|(path, ..)| path).collect(), found.by_timing)
    }

    fn paths(recorded: &str, replayed: &str, ids: &mut Ids) -> Vec<String> {
        compared(recorded, replayed, false, ids).0
    }

    #[test]
    fn what_is_made_up_stands_for_what_was() {
        let mut ids = Ids::default();
        let join =
            |generation, member| format!("J {{ generation_id: {generation}, member_id: \"{member}\", code: 0 }}");
        assert!(paths(&join(1, "a"), &join(5, "x"), &mut ids).is_empty());
        assert!(paths(&join(1, "a"), &join(5, "x"), &mut ids).is_empty());
        assert_eq!(paths(&join(1, "a"), &join(6, "y"), &mut ids), ["generation_id", "member_id"]);
        assert_eq!(paths("J { member_id: \"\" }", "J { member_id: \"x\" }", &mut ids), ["member_id"]);
        let init = |id, epoch| format!("I {{ producer_id: {id}, producer_epoch: {epoch} }}");
        assert!(paths(&init(0, 3), &init(4000, 0), &mut ids).is_empty());
        assert!(paths(&init(1, 3), &init(4001, 1), &mut ids).is_empty(), "an epoch is one of its producer");
        assert_eq!(paths(&init(0, 3), &init(4000, 1), &mut ids), ["producer_epoch"]);
        // Places and times.
        let place = |host, port| format!("M {{ host: \"{host}\", port: {port}, throttle_time_ms: {port} }}");
        assert!(paths(&place("a", 1), &place("b", 2), &mut ids).is_empty());
        assert_eq!(
            paths("P { log_append_time_ms: -1 }", "P { log_append_time_ms: 7 }", &mut ids),
            ["log_append_time_ms"]
        );
        assert!(paths("P { log_append_time_ms: 6 }", "P { log_append_time_ms: 7 }", &mut ids).is_empty());
    }

    #[test]
    fn elements_are_found_by_their_names_and_ids() {
        let mut ids = Ids::default();
        let list = |names: &[&str]| {
            let items: Vec<String> = names.iter().map(|name| format!("T {{ name: \"{name}\", code: 0 }}")).collect();
            format!("M {{ topics: [{}] }}", items.join(", "))
        };
        assert_eq!(paths(&list(&["a", "b"]), &list(&["b"]), &mut ids), ["topics.len", "topics[a]"]);
        assert_eq!(paths(&list(&["b"]), &list(&["c", "b"]), &mut ids), ["topics.len", "topics[c]"]);
        ids.pair(Kind::Topic, "AAAAAAAAAAAAAAAAAAAAAQ", "BBBBBBBBBBBBBBBBBBBBBQ");
        ids.pair(Kind::Topic, "AAAAAAAAAAAAAAAAAAAAAg", "BBBBBBBBBBBBBBBBBBBBBg");
        let topic = |id: &str, code| format!("T {{ topic: \"\", topic_id: {id}, error_code: {code} }}");
        let (one, two) = (topic("AAAAAAAAAAAAAAAAAAAAAQ", 1), topic("AAAAAAAAAAAAAAAAAAAAAg", 2));
        let (eins, zwei) = (topic("BBBBBBBBBBBBBBBBBBBBBQ", 1), topic("BBBBBBBBBBBBBBBBBBBBBg", 2));
        let recorded = format!("F {{ responses: [{one}, {two}] }}");
        assert!(paths(&recorded, &format!("F {{ responses: [{zwei}, {eins}] }}"), &mut ids).is_empty());
    }

    #[test]
    fn an_overlapping_fetch_may_have_more_of_the_same() {
        let fetched = |records: &[&str], code| {
            let batches: Vec<String> = records.iter().map(|it| format!("RecordBatch {{ batch: {it} }}")).collect();
            let (count, batches) = (records.len(), batches.join(", "));
            format!(
                "FetchResponse {{ responses: [T {{ topic: \"t\", partitions: [P {{ partition_index: 0, error_code: {code}, \
                 high_watermark: {count}, records: [{batches}] }}] }}] }}"
            )
        };
        let mut ids = Ids::default();
        assert_eq!(compared(&fetched(&["a"], 0), &fetched(&["a", "b"], 0), true, &mut ids), (vec![], true));
        assert_eq!(compared(&fetched(&["a"], 0), &fetched(&["a"], 0), true, &mut ids), (vec![], false));
        let (paths, _) = compared(&fetched(&["a"], 0), &fetched(&["a", "b"], 0), false, &mut ids);
        assert_eq!(paths.len(), 2, "high_watermark and records: {paths:?}");
        let (paths, _) = compared(&fetched(&["a"], 0), &fetched(&["x", "b"], 0), true, &mut ids);
        assert_eq!(paths, ["responses[t].partitions[0].records[0].batch"], "other records are a difference");
        let (paths, _) = compared(&fetched(&["a"], 0), &fetched(&["a"], 3), true, &mut ids);
        assert_eq!(paths, ["responses[t].partitions[0].error_code"]);
        // An incremental fetch has what is new; an error is always one.
        let none = "FetchResponse { responses: [] }";
        assert_eq!(compared(&fetched(&["a"], 0), none, true, &mut ids), (vec![], true));
        let (paths, _) = compared(&fetched(&[], 3), none, true, &mut ids);
        assert!(!paths.is_empty(), "a partition that failed is missed");
    }
}
