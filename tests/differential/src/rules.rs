//! What may differ between two brokers' answers, and how it is made equal before they are compared. Nothing else may.

use crate::tree::Tree;
use std::collections::HashMap;

/// Differs by its nature: which broker it is, how long something took.
const IGNORED: &[&str] = &["throttle_time_ms", "host", "port", "cluster_id", "finalized_features_epoch"];
/// Texts for people: it is compared whether there is one.
const PRESENCE: &[&str] = &["error_message", "batch_index_error_message", "documentation"];
/// Drawn at random by a broker: the first that a case sees is `#1` on both sides, and so on.
const GENERATED: &[&str] = &["topic_id", "member_id", "leader", "producer_id", "session_id"];
/// Lists whose order Kafka leaves to a hash map: compared as sets. The struct's name and its field.
const UNORDERED: &[(&str, &str)] = &[
    ("MetadataResponse", "topics"),
    ("CreateTopicsResponse", "topics"),
    ("CreatableTopicResult", "configs"),
    ("DeleteTopicsResponse", "responses"),
    ("CreatePartitionsResponse", "results"),
    ("AlterConfigsResponse", "responses"),
    ("IncrementalAlterConfigsResponse", "responses"),
    ("DescribeConfigsResult", "configs"),
    ("ListGroupsResponse", "groups"),
    ("OffsetFetchResponse", "topics"),
    ("OffsetFetchResponseGroup", "topics"),
    ("OffsetFetchResponseTopic", "partitions"),
    ("OffsetFetchResponseTopics", "partitions"),
    ("OffsetCommitResponse", "topics"),
    ("OffsetCommitResponseTopic", "partitions"),
    ("ListOffsetsTopicResponse", "partitions"),
    ("ProduceResponse", "responses"),
    ("TopicProduceResponse", "partition_responses"),
    ("DescribeGroupsResponse", "groups"),
    ("DeleteGroupsResponse", "results"),
    ("OffsetDeleteResponse", "topics"),
    ("DescribedGroup", "members"),
    ("JoinGroupResponse", "members"),
    ("DeleteRecordsResponse", "topics"),
    ("DeleteRecordsTopicResult", "partitions"),
];

/// The names that a case's generated ids get, in order of appearance.
#[derive(Debug, Default)]
pub struct Symbols {
    known: HashMap<String, String>,
}

impl Symbols {
    fn name(&mut self, id: &str) -> String {
        if matches!(id, "-1" | "0" | "\"\"" | "AAAAAAAAAAAAAAAAAAAAAA" | "None") {
            return id.to_owned();
        }
        let next = format!("#{}", self.known.len() + 1);
        self.known.entry(id.to_owned()).or_insert(next).clone()
    }

    /// Makes an answer comparable. Lists are sorted first, by what is not generated.
    pub fn normalise(&mut self, tree: Tree) -> Tree {
        // Sorted again once the ids have their names, which is all that tells some members apart.
        sort(self.rename(sort(tree)))
    }

    fn rename(&mut self, tree: Tree) -> Tree {
        match tree {
            Tree::Struct(name, fields) => {
                let fields = fields.into_iter().filter(|(field, _)| !IGNORED.contains(&field.as_str()));
                let fields = fields.map(|(field, value)| {
                    let value = match value {
                        Tree::Leaf(text) if PRESENCE.contains(&field.as_str()) => {
                            // Kafka writes both null and "" for "no text".
                            let none = matches!(text.as_str(), "None" | "\"\"");
                            Tree::Leaf(if none { "no text" } else { "a text" }.to_owned())
                        }
                        Tree::Leaf(text) if GENERATED.contains(&field.as_str()) => Tree::Leaf(self.name(&text)),
                        value => self.rename(value),
                    };
                    (field, value)
                });
                let fields = fields.collect();
                Tree::Struct(name, fields)
            }
            Tree::List(items) => Tree::List(items.into_iter().map(|item| self.rename(item)).collect()),
            leaf => leaf,
        }
    }
}

fn sort(tree: Tree) -> Tree {
    match tree {
        Tree::Struct(name, fields) => {
            let fields = fields.into_iter().map(|(field, value)| {
                let mut value = sort(value);
                if let Tree::List(items) = &mut value
                    && UNORDERED.contains(&(name.as_str(), field.as_str()))
                {
                    items.sort_by_key(|item| (without_generated(item), format!("{item:?}")));
                }
                (field, value)
            });
            let fields = fields.collect();
            Tree::Struct(name, fields)
        }
        Tree::List(items) => Tree::List(items.into_iter().map(sort).collect()),
        leaf => leaf,
    }
}

/// Names first, so that answers that differ in a code still stand beside each other.
fn without_generated(tree: &Tree) -> (String, String) {
    let name = ["name", "topic", "group_id", "resource_name", "group_instance_id", "partition_index", "index"]
        .iter()
        .filter_map(|field| tree.leaf(field))
        .collect::<Vec<_>>()
        .join(" ");
    let Tree::Struct(_, fields) = tree else { return (name, format!("{tree:?}")) };
    let ours = |field: &str| IGNORED.contains(&field) || PRESENCE.contains(&field) || GENERATED.contains(&field);
    let rest: Vec<&(String, Tree)> = fields.iter().filter(|(field, _)| !ours(field)).collect();
    (name, format!("{rest:?}"))
}

/// Drops the elements of other runs from an answer about everything: those whose name does not start as this run's.
pub fn only_of_run(tree: Tree, run: &str) -> Tree {
    match tree {
        Tree::Struct(name, fields) => {
            Tree::Struct(name, fields.into_iter().map(|(field, value)| (field, only_of_run(value, run))).collect())
        }
        Tree::List(items) => {
            let other = |item: &Tree| {
                let name = item.leaf("name").or(item.leaf("group_id")).or(item.leaf("topic"));
                name.is_some_and(|name| !name.starts_with(&format!("\"{run}")))
            };
            Tree::List(items.into_iter().filter(|item| !other(item)).map(|item| only_of_run(item, run)).collect())
        }
        leaf => leaf,
    }
}
