//! What may differ between the answers of two brokers that do the same, and lists whose order means nothing.

use crate::tree::Tree;

/// Differs by its nature: which broker it is, whom it talks to, how long something took.
pub const IGNORED: &[&str] = &["throttle_time_ms", "host", "port", "client_host", "finalized_features_epoch"];
/// Texts for people and times: it is compared whether there is one.
pub const PRESENCE: &[&str] = &[
    "error_message",
    "batch_index_error_message",
    "documentation",
    "log_append_time_ms",
    "timestamp",
    "last_timestamp",
    "transaction_start_time_ms",
    "issue_timestamp_ms",
    "expiry_timestamp_ms",
    "max_timestamp_ms",
];
/// Made up by a broker; no place in a list by it.
const GENERATED: &[&str] =
    &["topic_id", "member_id", "leader", "producer_id", "producer_epoch", "session_id", "node_id"];
/// Lists whose order Kafka leaves to a hash map: compared as sets. The struct's name and its field.
const UNORDERED: &[(&str, &str)] = &[
    ("MetadataResponse", "topics"),
    ("MetadataResponse", "brokers"),
    ("MetadataResponseTopic", "partitions"),
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
    ("TxnOffsetCommitResponse", "topics"),
    ("TxnOffsetCommitResponseTopic", "partitions"),
    ("AddPartitionsToTxnResponse", "results_by_topic_v3_and_below"),
    ("AddPartitionsToTxnTopicResult", "results_by_partition"),
    ("ListOffsetsResponse", "topics"),
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
    ("AddPartitionsToTxnResult", "topic_results"),
    ("WriteTxnMarkersResponse", "markers"),
    ("WritableTxnMarkerResult", "topics"),
    ("WritableTxnMarkerTopicResult", "partitions"),
];

/// Fields by which the elements of a list are told apart.
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

/// Whether there is no text, or no time.
pub fn is_absent(leaf: &str) -> bool {
    // Kafka writes both null and "" for "no text".
    matches!(leaf, "None" | "\"\"" | "-1")
}

/// Sorts the lists whose order means nothing, by what is not generated.
pub fn sort(tree: Tree) -> Tree {
    match tree {
        Tree::Struct(name, fields) => {
            let fields = fields.into_iter().map(|(field, value)| {
                let mut value = sort(value);
                if let Tree::List(items) = &mut value
                    && UNORDERED.contains(&(name.as_str(), field.as_str()))
                {
                    items.sort_by_cached_key(|item| (without_generated(item), format!("{item:?}")));
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
    let name = NAMES.iter().filter_map(|field| tree.leaf(field)).collect::<Vec<_>>().join(" ");
    let Tree::Struct(_, fields) = tree else { return (name, format!("{tree:?}")) };
    let ours = |field: &str| IGNORED.contains(&field) || PRESENCE.contains(&field) || GENERATED.contains(&field);
    let rest: Vec<&(String, Tree)> = fields.iter().filter(|(field, _)| !ours(field)).collect();
    (name, format!("{rest:?}"))
}
