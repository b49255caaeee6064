//! DescribeConfigs, IncrementalAlterConfigs, AlterConfigs.

use crate::ask::{pause, topic};
use crate::side::{Side, all_versions, versions};
use ottla_model::Str;
use ottla_protocol::describe_configs_request::DescribeConfigsResource;
use ottla_protocol::*;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

fn describe_one(resource_type: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsRequest {
    let resource = DescribeConfigsResource {
        resource_type,
        resource_name: name.into(),
        configuration_keys: keys.map(|keys| keys.iter().map(|key| Str::from(*key)).collect()),
        ..Default::default()
    };
    DescribeConfigsRequest { resources: vec![resource], ..Default::default() }
}

pub async fn describe(side: &mut Side) {
    let overrides = [("cleanup.policy", "compact"), ("segment.bytes", "1048576")];
    let (name, _) = topic(side, "a", 1, &overrides).await;
    let unknown = side.name("unknown");
    for version in all_versions::<DescribeConfigsRequest>() {
        for synonyms in [false, true] {
            let flags = |request: DescribeConfigsRequest| DescribeConfigsRequest {
                include_synonyms: synonyms,
                include_documentation: synonyms && version >= 3,
                ..request
            };
            side.ask("topic", version, &flags(describe_one(TOPIC, &name, None))).await;
            side.ask("broker", version, &flags(describe_one(BROKER, "1", None))).await;
            side.ask("all brokers", version, &flags(describe_one(BROKER, "", None))).await;
        }
        let keys: [&[&str]; 4] =
            [&[], &["retention.ms"], &["no.such", "retention.ms"], &["retention.ms", "retention.ms"]];
        for keys in keys {
            side.ask(&format!("keys {keys:?}"), version, &describe_one(TOPIC, &name, Some(keys))).await;
        }
        let broker_keys: &[&str] = &["log.retention.ms", "num.partitions", "no.such", "log.retention.hours"];
        side.ask("broker keys", version, &describe_one(BROKER, "1", Some(broker_keys))).await;
        for (kind, name) in [
            (TOPIC, unknown.as_str()),
            (TOPIC, ""),
            (TOPIC, "a b"),
            (BROKER, "2"),
            (BROKER, "x"),
            (BROKER, "-1"),
            (BROKER, " 1"),
            (0, "x"),
            (1, "x"),
            (3, "x"),
            (127, "x"),
        ] {
            side.ask(&format!("type {kind} name {name:?}"), version, &describe_one(kind, name, None)).await;
        }
        let mut both = describe_one(TOPIC, &name, Some(&["retention.ms"]));
        both.resources.extend(describe_one(TOPIC, &name, Some(&["segment.bytes"])).resources);
        both.resources.extend(describe_one(BROKER, "1", Some(&["num.partitions"])).resources);
        side.ask("several", version, &both).await;
        side.ask("none", version, &DescribeConfigsRequest::default()).await;
    }
}

pub type Change<'a> = (&'a str, i8, Option<&'a str>);

pub fn change(resource_type: i8, name: &str, changes: &[Change<'_>]) -> IncrementalAlterConfigsRequest {
    use ottla_protocol::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let configs = changes.iter().map(|(name, config_operation, value)| AlterableConfig {
        name: (*name).into(),
        config_operation: *config_operation,
        value: value.map(Str::from),
        ..Default::default()
    });
    let resource = AlterConfigsResource {
        resource_type,
        resource_name: name.into(),
        configs: configs.collect(),
        ..Default::default()
    };
    IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() }
}

pub async fn incremental(side: &mut Side) {
    let (name, _) = topic(side, "a", 1, &[]).await;
    let unknown = side.name("unknown");
    let (set, delete, append, subtract) = (0, 1, 2, 3);
    let tries: Vec<(&str, i8, &str, Vec<Change<'_>>)> = vec![
        ("set", TOPIC, &name, vec![("retention.ms", set, Some("1000000000"))]),
        ("set twice", TOPIC, &name, vec![("retention.ms", set, Some("5")), ("retention.ms", set, Some("6"))]),
        ("bad value", TOPIC, &name, vec![("retention.ms", set, Some("soon"))]),
        ("bad value and good", TOPIC, &name, vec![("flush.ms", set, Some("9")), ("retention.ms", set, Some("soon"))]),
        ("out of range", TOPIC, &name, vec![("min.insync.replicas", set, Some("0"))]),
        ("unknown key", TOPIC, &name, vec![("no.such", set, Some("5"))]),
        ("delete unknown key", TOPIC, &name, vec![("no.such", delete, None)]),
        ("empty key", TOPIC, &name, vec![("", set, Some("5"))]),
        ("null value", TOPIC, &name, vec![("retention.ms", set, None)]),
        // Not tried: appending null, which ends the leadership of Kafka's controller (4.4.0).
        ("empty value", TOPIC, &name, vec![("retention.ms", set, Some(""))]),
        ("empty policy", TOPIC, &name, vec![("cleanup.policy", set, Some(""))]),
        ("bad operation", TOPIC, &name, vec![("retention.ms", 9, Some("5"))]),
        ("negative operation", TOPIC, &name, vec![("retention.ms", -1, Some("5"))]),
        ("append to no list", TOPIC, &name, vec![("retention.ms", append, Some("5"))]),
        ("subtract from no list", TOPIC, &name, vec![("retention.ms", subtract, Some("5"))]),
        ("append", TOPIC, &name, vec![("cleanup.policy", append, Some("compact"))]),
        ("append again", TOPIC, &name, vec![("cleanup.policy", append, Some("compact"))]),
        ("append bad", TOPIC, &name, vec![("cleanup.policy", append, Some("none"))]),
        ("subtract", TOPIC, &name, vec![("cleanup.policy", subtract, Some("compact"))]),
        ("subtract the last", TOPIC, &name, vec![("cleanup.policy", subtract, Some("delete"))]),
        ("delete what is not set", TOPIC, &name, vec![("flush.ms", delete, None)]),
        ("delete with a value", TOPIC, &name, vec![("cleanup.policy", delete, Some("x"))]),
        ("spaces", TOPIC, &name, vec![("retention.ms", set, Some(" 77 "))]),
        ("policy with spaces", TOPIC, &name, vec![("cleanup.policy", set, Some("delete, compact"))]),
        ("delete", TOPIC, &name, vec![("retention.ms", delete, None), ("cleanup.policy", delete, None)]),
        ("nothing", TOPIC, &name, vec![]),
        ("unknown topic", TOPIC, &unknown, vec![("retention.ms", set, Some("5"))]),
        ("unknown topic and key", TOPIC, &unknown, vec![("no.such", set, Some("5"))]),
        ("bad topic", TOPIC, "a b", vec![("retention.ms", set, Some("5"))]),
        ("empty topic", TOPIC, "", vec![("retention.ms", set, Some("5"))]),
        ("unknown broker", BROKER, "2", vec![("log.cleaner.threads", set, Some("2"))]),
        ("no broker", BROKER, "x", vec![("log.cleaner.threads", set, Some("2"))]),
        ("read-only", BROKER, "1", vec![("log.dirs", set, Some("/tmp"))]),
        ("node id", BROKER, "1", vec![("node.id", set, Some("3"))]),
        ("per cluster at a broker", BROKER, "1", vec![("log.retention.ms", set, Some("1000000000000"))]),
        ("per cluster", BROKER, "", vec![("log.retention.ms", set, Some("1000000000000"))]),
        ("per cluster, bad", BROKER, "", vec![("log.retention.ms", set, Some("soon"))]),
        ("at a broker, gone", BROKER, "1", vec![("log.retention.ms", delete, None)]),
        ("per cluster, gone", BROKER, "", vec![("log.retention.ms", delete, None)]),
        ("broker's unknown", BROKER, "", vec![("no.such", set, Some("1"))]),
        ("broker's unknown, gone", BROKER, "", vec![("no.such", delete, None)]),
        ("no type", 0, "x", vec![("a", set, Some("1"))]),
        ("any type", 1, "x", vec![("a", set, Some("1"))]),
        ("bad type", 55, "x", vec![("a", set, Some("1"))]),
    ];
    for version in all_versions::<IncrementalAlterConfigsRequest>() {
        for (label, kind, name, changes) in &tries {
            let request = change(*kind, name, changes);
            let only = IncrementalAlterConfigsRequest { validate_only: true, ..request.clone() };
            side.ask(&format!("{label}, validate only"), version, &only).await;
            side.ask(label, version, &request).await;
        }
        pause(side).await;
        let keys: &[&str] = &["retention.ms", "cleanup.policy", "flush.ms", "min.insync.replicas"];
        side.ask("what is left", 4, &describe_one(TOPIC, &name, Some(keys))).await;
        let mut twice = change(TOPIC, &name, &[("retention.ms", set, Some("5"))]);
        twice.resources.extend(change(TOPIC, &name, &[("flush.ms", set, Some("5"))]).resources);
        twice.resources.extend(change(TOPIC, &unknown, &[("flush.ms", set, Some("5"))]).resources);
        side.ask("resource twice", version, &twice).await;
        side.ask("no resource", version, &IncrementalAlterConfigsRequest::default()).await;
    }
}

fn replace(resource_type: i8, name: &str, configs: &[(&str, Option<&str>)]) -> AlterConfigsRequest {
    use ottla_protocol::alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let configs = configs.iter().map(|(name, value)| AlterableConfig {
        name: (*name).into(),
        value: value.map(Str::from),
        ..Default::default()
    });
    let resource = AlterConfigsResource {
        resource_type,
        resource_name: name.into(),
        configs: configs.collect(),
        ..Default::default()
    };
    AlterConfigsRequest { resources: vec![resource], ..Default::default() }
}

pub async fn alter(side: &mut Side) {
    let (name, _) = topic(side, "a", 1, &[("flush.ms", "9")]).await;
    let unknown = side.name("unknown");
    type Try<'a> = (&'a str, i8, &'a str, Vec<(&'a str, Option<&'a str>)>);
    let tries: Vec<Try<'_>> = vec![
        ("one", TOPIC, &name, vec![("retention.ms", Some("-1"))]),
        ("another", TOPIC, &name, vec![("cleanup.policy", Some("compact"))]),
        ("twice", TOPIC, &name, vec![("retention.ms", Some("5")), ("retention.ms", Some("6"))]),
        ("null", TOPIC, &name, vec![("retention.ms", None)]),
        ("bad", TOPIC, &name, vec![("retention.ms", Some("x"))]),
        ("unknown key", TOPIC, &name, vec![("no.such", Some("x"))]),
        ("unknown topic", TOPIC, &unknown, vec![("retention.ms", Some("1"))]),
        ("bad topic", TOPIC, "a b", vec![("retention.ms", Some("1"))]),
        ("unknown broker", BROKER, "7", vec![]),
        ("bad type", 9, "x", vec![]),
        ("nothing", TOPIC, &name, vec![]),
    ];
    for version in versions::<AlterConfigsRequest>() {
        for (label, kind, name, configs) in &tries {
            let request = replace(*kind, name, configs);
            let only = AlterConfigsRequest { validate_only: true, ..request.clone() };
            side.ask(&format!("{label}, validate only"), version, &only).await;
            side.ask(label, version, &request).await;
        }
        pause(side).await;
        let keys: &[&str] = &["retention.ms", "cleanup.policy", "flush.ms"];
        side.ask("what is left", 4, &describe_one(TOPIC, &name, Some(keys))).await;
        // Not tried: one resource twice, which Kafka (4.4.0) never answers.
    }
}
