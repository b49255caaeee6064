//! Topic overrides: resolved, described, validated and altered.

use ottla_config::alter::{self, AlterOp};
use ottla_config::describe::{self, ConfigSource};
use ottla_config::{BrokerConfig, CompressionType, Profile, Props, TimestampType, TopicConfig};

fn broker(pairs: &[(&str, &str)]) -> BrokerConfig {
    BrokerConfig::parse(Profile::Server, pairs.iter().copied()).unwrap().0
}

fn props(pairs: &[(&str, &str)]) -> Props {
    pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
}

#[test]
fn override_then_broker_then_default() {
    let broker =
        broker(&[("log.segment.bytes", "2000000"), ("log.retention.minutes", "1"), ("compression.type", "zstd")]);
    let config =
        TopicConfig::resolve(&broker, &props(&[("retention.ms", " 5 "), ("cleanup.policy", "compact, delete")]));
    assert_eq!((config.retention_ms, config.segment_bytes, config.segment_ms), (5, 2_000_000, 604_800_000));
    assert!(config.compact && config.delete);
    assert_eq!(config.compression_type, CompressionType::Zstd);
    assert_eq!(config.message_timestamp_type, TimestampType::CreateTime);
    // What another version wrote and we cannot read counts as absent.
    assert_eq!(TopicConfig::resolve(&broker, &props(&[("retention.ms", "soon")])).retention_ms, 60_000);
    assert_eq!(TopicConfig::resolve(&broker, &props(&[("internal.segment.bytes", "100")])).segment_bytes, 100);
}

#[test]
fn describe_names_every_source() {
    let broker = broker(&[("log.retention.ms", "7"), ("log.retention.hours", "1")]);
    let entries = describe::topic(&broker, &props(&[("retention.ms", "5")]));
    assert_eq!(entries.len(), 37);
    let entry = entries.iter().find(|e| e.name == "retention.ms").unwrap();
    assert_eq!((entry.value.as_deref(), entry.source, entry.config_type), (Some("5"), ConfigSource::DynamicTopic, 5));
    let list: Vec<_> =
        entry.synonyms.iter().map(|s| (s.name.as_str(), s.value.as_deref().unwrap(), s.source)).collect();
    assert_eq!(
        list,
        [
            ("retention.ms", "5", ConfigSource::DynamicTopic),
            ("log.retention.ms", "7", ConfigSource::StaticBroker),
            ("log.retention.hours", "1", ConfigSource::StaticBroker),
            ("log.retention.hours", "168", ConfigSource::Default),
        ]
    );
    // Kafka drops what stands before the name itself, so hours alone leave no synonym.
    let entry = entries.iter().find(|e| e.name == "segment.ms").unwrap();
    assert_eq!(
        (entry.value.as_deref(), entry.source, entry.synonyms.len()),
        (Some("604800000"), ConfigSource::Default, 0)
    );
}

#[test]
fn validation_speaks_kafkas_words() {
    let broker = broker(&[]);
    let check = |name: &str, value: &str| {
        alter::validate_topic(&broker, &props(&[(name, value)])).err().map_or("ok".to_owned(), |e| e.to_string())
    };
    assert_eq!(check("retention.ms", "-1"), "ok");
    assert_eq!(
        check("retention.ms", "-2"),
        "Invalid value -2 for configuration retention.ms: Value must be at least -1"
    );
    assert_eq!(check("retention.mss", "1"), "Unknown topic config name: retention.mss");
    assert_eq!(
        check("segment.bytes", "1"),
        "Invalid value 1 for configuration segment.bytes: Value must be at least 1048576"
    );
    assert_eq!(check("cleanup.policy", "compact,delete"), "ok");
    assert_eq!(
        check("cleanup.policy", "archive"),
        "Invalid value archive for configuration cleanup.policy: String must be one of: compact, delete"
    );
    assert_eq!(check("leader.replication.throttled.replicas", "0:1,1:2"), "ok");
    assert_eq!(
        check("compression.gzip.level", "0"),
        "Invalid value 0 for configuration compression.gzip.level: Value must be between 1 and 9 or equal to -1"
    );
    assert_eq!(check("max.compaction.lag.ms", "1"), "ok");
    let both = props(&[("min.compaction.lag.ms", "2"), ("max.compaction.lag.ms", "1")]);
    assert_eq!(
        alter::validate_topic(&broker, &both).unwrap_err().message,
        "conflict topic config setting min.compaction.lag.ms (2) > max.compaction.lag.ms (1)"
    );
    assert!(check("remote.storage.enable", "true").starts_with("Tiered Storage functionality is disabled"));
}

#[test]
fn alter_operations() {
    let broker = broker(&[]);
    let current = props(&[("cleanup.policy", "delete"), ("retention.ms", "5")]);
    let alter = |ops: &[alter::Request<'_>]| alter::alter_topic(&broker, &current, ops).map_err(|e| e.message);
    let change = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));

    assert_eq!(
        alter(&[("retention.ms", AlterOp::Delete, None), ("cleanup.policy", AlterOp::Append, Some("compact,delete"))]),
        Ok(vec![change("retention.ms", None), change("cleanup.policy", Some("delete,compact"))])
    );
    assert_eq!(
        alter(&[("cleanup.policy", AlterOp::Subtract, Some("delete"))]),
        Ok(vec![change("cleanup.policy", Some(""))])
    );
    // Unchanged values need no record.
    assert_eq!(alter(&[("retention.ms", AlterOp::Set, Some("5"))]), Ok(vec![]));
    assert_eq!(
        alter(&[("retention.ms", AlterOp::Append, Some("5"))]),
        Err("Can't APPEND to key retention.ms because its type is not LIST.".to_owned())
    );
    assert_eq!(
        alter(&[("retention.ms", AlterOp::Set, None)]),
        Err("Null value not supported for retention.ms".to_owned())
    );
    assert_eq!(
        alter(&[("cleanup.policy", AlterOp::Append, Some("x"))]),
        Err("Invalid value x for configuration cleanup.policy: String must be one of: compact, delete".to_owned())
    );
    assert_eq!(
        alter::replace(&current, &props(&[("retention.ms", "6")])),
        [change("retention.ms", Some("6")), change("cleanup.policy", None)]
    );
}

#[test]
fn dynamic_broker_changes() {
    let none = Props::new();
    let set = |name, value, node| {
        alter::alter_broker(&none, &[(name, AlterOp::Set, Some(value))], node).map(|c| c.len()).map_err(|e| e.message)
    };
    assert_eq!(set("message.max.bytes", "10", false), Ok(1));
    assert_eq!(
        set("num.partitions", "10", true),
        Err("Cannot update these configs dynamically: [num.partitions]".to_owned())
    );
    assert!(set("listeners", "PLAINTEXT://:1", false).unwrap_err().contains("broker id must be specified"));
    assert_eq!(
        set("message.max.bytes", "x", true),
        Err("Invalid value x for configuration message.max.bytes: Not a number of type INT".to_owned())
    );
}
