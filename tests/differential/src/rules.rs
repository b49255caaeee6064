//! What may differ between two brokers' answers, and how it is made equal before they are compared. Nothing else may.

use crate::records::EPOCH_MS;
use crate::tree::Tree;
use std::collections::HashMap;

/// Differs by its nature: which broker it is, how long something took.
const IGNORED: &[&str] = &["throttle_time_ms", "host", "port", "cluster_id", "finalized_features_epoch"];
/// Texts for people: it is compared whether there is one.
const PRESENCE: &[&str] = &["error_message", "batch_index_error_message", "documentation"];
/// Drawn at random by a broker: the first that a case sees is `#1` on both sides, and so on.
const GENERATED: &[&str] = &["topic_id", "member_id", "leader", "producer_id", "session_id"];
/// When a broker did something: it is compared whether it did. What the cases' own records say is compared as it is.
const TIMES: &[&str] = &["transaction_start_time_ms", "last_timestamp", "timestamp"];
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
    ("ListTransactionsResponse", "unknown_state_filters"),
    ("ListTransactionsResponse", "transaction_states"),
    ("DescribeTransactionsResponse", "transaction_states"),
    ("TransactionState", "topics"),
    ("TopicData", "partitions"),
    ("PartitionResponse", "active_producers"),
    ("PartitionData", "aborted_transactions"),
    ("AddPartitionsToTxnResponse", "results_by_transaction"),
    ("AddPartitionsToTxnResponse", "results_by_topic_v3_and_below"),
    ("AddPartitionsToTxnResult", "topic_results"),
    ("AddPartitionsToTxnTopicResult", "results_by_partition"),
    ("TxnOffsetCommitResponse", "topics"),
    ("TxnOffsetCommitResponseTopic", "partitions"),
    ("WriteTxnMarkersResponse", "markers"),
    ("WritableTxnMarkerResult", "topics"),
    ("WritableTxnMarkerTopicResult", "partitions"),
];

/// The names that a case's generated ids get, in order of appearance.
#[derive(Debug, Default)]
pub struct Symbols {
    known: HashMap<String, String>,
}

impl Symbols {
    fn name(&mut self, field: &str, id: &str) -> String {
        // The first producer id of a cluster is 0, which elsewhere stands for none.
        let is_producer = id == "0" && field == "producer_id";
        if !is_producer && matches!(id, "-1" | "0" | "\"\"" | "AAAAAAAAAAAAAAAAAAAAAA" | "None") {
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
                        Tree::Leaf(text) if GENERATED.contains(&field.as_str()) => Tree::Leaf(self.name(&field, &text)),
                        Tree::Leaf(text) if TIMES.contains(&field.as_str()) => {
                            // The cases' own records are of 2023.
                            let is_now = text.parse().is_ok_and(|at: i64| at > EPOCH_MS + 1_000_000_000);
                            Tree::Leaf(if is_now { "now".to_owned() } else { text })
                        }
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

/// Fields by which the items of a list are told apart.
const NAMES: &[&str] = &[
    "name",
    "topic",
    "group_id",
    "transactional_id",
    "resource_name",
    "group_instance_id",
    "partition_index",
    "index",
];

/// Names first, so that answers that differ in a code still stand beside each other.
fn without_generated(tree: &Tree) -> (String, String) {
    let name = NAMES.iter().filter_map(|field| tree.leaf(field)).collect::<Vec<_>>().join(" ");
    let Tree::Struct(_, fields) = tree else { return (name, format!("{tree:?}")) };
    let ours = |field: &str| IGNORED.contains(&field) || PRESENCE.contains(&field) || GENERATED.contains(&field);
    let rest: Vec<&(String, Tree)> = fields.iter().filter(|(field, _)| !ours(field)).collect();
    (name, format!("{rest:?}"))
}

/// Drops the elements of other cases from an answer about everything: those whose name does not begin as this case's.
pub fn only_of(tree: Tree, case: &str) -> Tree {
    match tree {
        Tree::Struct(name, fields) => {
            Tree::Struct(name, fields.into_iter().map(|(field, value)| (field, only_of(value, case))).collect())
        }
        Tree::List(items) => {
            let other = |item: &Tree| {
                let name = item
                    .leaf("name")
                    .or(item.leaf("group_id"))
                    .or(item.leaf("topic"))
                    .or(item.leaf("transactional_id"));
                name.is_some_and(|name| !name.starts_with(&format!("\"{case}")))
            };
            Tree::List(items.into_iter().filter(|item| !other(item)).map(|item| only_of(item, case)).collect())
        }
        leaf => leaf,
    }
}
