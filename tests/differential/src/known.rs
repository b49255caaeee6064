//! Differences that are wanted, each with its reason. README.md says the same for people.

/// One wanted difference: parts of the step's label and of the path, and why.
struct Known {
    label: &'static str,
    path: &'static str,
    #[allow(dead_code)]
    reason: &'static str,
}

const KNOWN: &[Known] = &[
    // What is not served.
    Known { label: "ApiVersions", path: "api_keys", reason: "an API that is not served is not advertised" },
    Known { label: "ApiVersions", path: "features", reason: "a feature is finalised only when it is served" },
    Known { label: "replica 5", path: "", reason: "there are no followers yet" },
    // Other paths and ports by nature.
    Known { label: "DescribeConfigs", path: "configs[\"listeners\"]", reason: "ports" },
    Known { label: "DescribeConfigs", path: "configs[\"advertised.listeners\"]", reason: "ports" },
    Known { label: "DescribeConfigs", path: "configs[\"inter.broker.listener.name\"]", reason: "set for Kafka only" },
    Known { label: "DescribeConfigs", path: "configs[\"controller.", reason: "set for Kafka only: Ottla has its own" },
    Known { label: "DescribeConfigs", path: "configs[\"log.dir", reason: "directories" },
    Known { label: "DescribeConfigs", path: "documentation", reason: "a text for people" },
    // Kafka fails inside (UNKNOWN_SERVER_ERROR) where Ottla answers.
    Known { label: "isolation 2", path: "", reason: "Ottla reads uncommitted" },
    Known { label: "isolation -1", path: "", reason: "Ottla reads uncommitted" },
    Known { label: "isolation 3", path: "", reason: "Ottla reads uncommitted" },
    Known { label: "limit -1", path: "", reason: "Ottla takes a negative limit as 0" },
    Known { label: "codec 5", path: "", reason: "Ottla answers INVALID_RECORD" },
    Known { label: "codec 7", path: "", reason: "Ottla answers INVALID_RECORD" },
    Known { label: "bad operation", path: "error_code", reason: "Ottla answers INVALID_REQUEST" },
    Known { label: "negative operation", path: "error_code", reason: "Ottla answers INVALID_REQUEST" },
    Known { label: "DescribeTopicPartitions v0: bad names", path: "", reason: "Ottla answers INVALID_TOPIC_EXCEPTION" },
    Known { label: "null records", path: "", reason: "Kafka never answers; Ottla answers INVALID_RECORD" },
    Known { label: "empty records", path: "", reason: "Kafka never answers; Ottla answers INVALID_RECORD" },
    Known { label: "that is none", path: "", reason: "Ottla answers CORRUPT_MESSAGE" },
    Known { label: "Metadata v12: id None", path: "", reason: "neither name nor id: INVALID_TOPIC_EXCEPTION" },
    Known { label: "Metadata v13: id None", path: "", reason: "neither name nor id: INVALID_TOPIC_EXCEPTION" },
    Known {
        label: "WriteTxnMarkers",
        path: "error_code",
        reason: "an old epoch: Ottla answers INVALID_PRODUCER_EPOCH",
    },
    // Chosen otherwise.
    Known { label: "verify true, no partition", path: "", reason: "answered as it is asked" },
    Known { label: "verify true, a partition twice", path: "", reason: "answered as it is asked" },
    Known { label: "verify true, a topic twice", path: "", reason: "answered as it is asked" },
    Known { label: "of the right id", path: "error_code", reason: "Ottla compares the transactional id each time" },
    Known { label: "the later aborted: level 1", path: "aborted_transactions", reason: "none behind what is read" },
    Known { label: " at -3", path: "topics", reason: "the record of the largest timestamp, where Kafka's is deleted" },
    Known { label: "record delta 3", path: "", reason: "Ottla writes the offset delta that the record has to have" },
    Known { label: "what is there", path: "records", reason: "the same, read back" },
    Known { label: "topic twice, each apart", path: "topics", reason: "answered as it is asked" },
    Known { label: "in a session, unknown", path: "responses", reason: "order of what does not exist" },
    Known { label: "DescribeConfigs", path: "configs[\"node.id\"].synonyms", reason: "node.id has a default" },
    Known { label: "DescribeConfigs", path: "configs[\"process.roles\"]", reason: "set for Kafka only" },
    Known { label: "DescribeConfigs", path: "configs[\"share.coordinator.", reason: "set for Kafka only" },
    Known { label: "DescribeConfigs", path: "configs[\"transaction.state.", reason: "set for Kafka only" },
    Known { label: "DescribeConfigs", path: "configs[\"socket.receive.buffer.bytes\"]", reason: "Ottla's own default" },
    Known {
        label: "DescribeConfigs",
        path: "configs[\"offsets.topic.replication.factor\"]",
        reason: "1 where nobody set it",
    },
    Known { label: "all brokers", path: "configs", reason: "eligible leader replicas are not served" },
    Known { label: "two that collide", path: "", reason: "Kafka compares with earlier requests only" },
    Known { label: "unknown topic and key", path: "error_code", reason: "Ottla says first that the topic is unknown" },
];

/// Whether the difference at `path` of a step is wanted.
pub fn is_known(label: &str, path: &str, kafka: &str, ottla: &str) -> bool {
    if path.starts_with("api_keys[") && !(kafka == "(absent)" || ottla == "(absent)") {
        // What both advertise has the same versions.
        return false;
    }
    // More explanation than Kafka gives is welcome.
    let more_text = kafka == "no text" && ottla == "a text";
    // Eligible leader replicas are not served: their feature sets this config for the whole cluster at Kafka.
    let elr = path.contains("min.insync.replicas") && (path.contains("synonyms") || !path.ends_with("value"));
    more_text || elr || KNOWN.iter().any(|known| label.contains(known.label) && path.contains(known.path))
}
