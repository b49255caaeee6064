//! `server.properties` in, typed config, warnings or one error out.

use ottla_config::describe::{self, ConfigSource};
use ottla_config::{BrokerConfig, ConfigError, Profile, Props, Value, properties};

fn parse(text: &str) -> Result<(BrokerConfig, Vec<String>), ConfigError> {
    let (config, warnings) = BrokerConfig::parse(Profile::Server, properties::parse(text)?)?;
    Ok((config, warnings.iter().map(ToString::to_string).collect()))
}

fn good(text: &str) -> BrokerConfig {
    let (config, warnings) = parse(text).unwrap();
    assert_eq!(warnings, Vec::<String>::new(), "{text}");
    config
}

#[track_caller]
fn fails(text: &str, expected: &str) {
    assert_eq!(parse(text).unwrap_err().message, expected);
}

#[track_caller]
fn warns(text: &str, expected: &[&str]) {
    assert_eq!(parse(text).unwrap().1, expected);
}

#[test]
fn defaults_of_the_profiles() {
    let server = BrokerConfig::new(Profile::Server);
    assert_eq!(server, good(""));
    assert_eq!(server.node_id, 1);
    assert_eq!(server.listeners[0].to_string(), "PLAINTEXT://127.0.0.1:9092");
    assert_eq!(server.advertised_listeners, server.listeners);
    assert_eq!(server.log_dirs, [std::path::PathBuf::from("./ottla-data")]);
    assert_eq!(server.metadata_log_dir, server.log_dirs[0]);
    assert_eq!((server.offsets_topic_replication_factor, server.offsets_topic_num_partitions), (1, 50));
    assert_eq!(server.group_initial_rebalance_delay_ms, 3000);
    assert_eq!(server.inter_broker_listener_name, "PLAINTEXT");

    let embedded = BrokerConfig::new(Profile::Embedded);
    assert!(embedded.listeners.is_empty());
    assert_eq!((embedded.offsets_topic_num_partitions, embedded.group_initial_rebalance_delay_ms), (1, 0));
}

#[test]
fn kafkas_own_server_properties() {
    let text = "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.bootstrap.servers=localhost:9093\n\
        listeners=PLAINTEXT://:9092,CONTROLLER://:9093\ninter.broker.listener.name=PLAINTEXT\n\
        advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093\n\
        controller.listener.names=CONTROLLER\n\
        listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL\n\
        num.network.threads=3\nnum.io.threads=8\nsocket.send.buffer.bytes=102400\nsocket.receive.buffer.bytes=102400\n\
        socket.request.max.bytes=104857600\nlog.dirs=/data/kraft-combined-logs\nnum.partitions=1\n\
        num.recovery.threads.per.data.dir=1\noffsets.topic.replication.factor=1\n\
        share.coordinator.state.topic.replication.factor=1\nshare.coordinator.state.topic.min.isr=1\n\
        transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
        log.retention.hours=168\nlog.segment.bytes=1073741824\nlog.retention.check.interval.ms=300000\n";
    let (config, warnings) = parse(text).unwrap();
    assert_eq!(
        warnings,
        [
            "controller.quorum.bootstrap.servers has no effect: Ottla's controller runs inside the broker and needs no quorum",
            "Listener CONTROLLER://:9093 belongs to the controller; Ottla's controller runs inside the broker, so \
             it is not opened",
        ]
    );
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].to_string(), "PLAINTEXT://:9092");
    assert_eq!(config.advertised_listeners[0].to_string(), "PLAINTEXT://localhost:9092");
}

#[test]
fn named_listeners() {
    let config = good(
        "listeners=INTERNAL://[::1]:9092,external://0.0.0.0:0\n\
         listener.security.protocol.map=INTERNAL:PLAINTEXT,EXTERNAL:PLAINTEXT\n\
         advertised.listeners=INTERNAL://[::1]:9092,EXTERNAL://example.org:443\ninter.broker.listener.name=INTERNAL",
    );
    assert_eq!(config.listeners[0].to_string(), "INTERNAL://[::1]:9092");
    assert_eq!((config.listeners[1].name.as_str(), config.listeners[1].port), ("EXTERNAL", 0));
    // One port on both families is two addresses.
    good("listeners=A://127.0.0.1:9092,B://[::1]:9092\nlistener.security.protocol.map=A:PLAINTEXT,B:PLAINTEXT");
}

#[test]
fn listeners_that_cannot_be_used() {
    fails(
        "listeners=PLAINTEXT:9092",
        "Invalid value PLAINTEXT:9092 for configuration listeners: Expected NAME://host:port, such as PLAINTEXT://127.0.0.1:9092",
    );
    fails(
        "listeners=FOO://:9092",
        "Invalid value FOO://:9092 for configuration listeners: No security protocol for listener FOO; add \
         FOO:PLAINTEXT (or another) to listener.security.protocol.map",
    );
    fails(
        "listeners=PLAINTEXT://:99999",
        "Invalid value PLAINTEXT://:99999 for configuration listeners: Expected a port from 0 to 65535",
    );
    let text = "PLAINTEXT://:9092,B://:9092";
    fails(
        &format!("listeners={text}\nlistener.security.protocol.map=B:PLAINTEXT"),
        &format!(
            "Invalid value {text} for configuration listeners: Each listener must have a different port, 9092 comes twice"
        ),
    );
    let text = "PLAINTEXT://:9092,PLAINTEXT://:9093";
    fails(
        &format!("listeners={text}"),
        &format!(
            "Invalid value {text} for configuration listeners: Each listener must have a different name, PLAINTEXT comes twice"
        ),
    );
    fails(
        "listeners=PLAINTEXT://0.0.0.0:9092",
        "Invalid value PLAINTEXT://0.0.0.0:9092 for configuration listeners: Clients cannot connect to 0.0.0.0; \
         set advertised.listeners to an address they can reach",
    );
    fails(
        "advertised.listeners=PLAINTEXT://0.0.0.0:9092",
        "Invalid value PLAINTEXT://0.0.0.0:9092 for configuration advertised.listeners: advertised.listeners \
         cannot use the nonroutable meta-address 0.0.0.0; use an address clients can reach",
    );
    fails(
        "listeners=SSL://:9092",
        "Invalid value SSL://:9092 for configuration listeners: Listener SSL is SSL, which this version of Ottla \
         does not serve; use PLAINTEXT",
    );
    fails(
        "advertised.listeners=OTHER://h:1\nlistener.security.protocol.map=OTHER:PLAINTEXT",
        "Invalid value OTHER://h:1 for configuration advertised.listeners: Listener OTHER is not one of listeners (PLAINTEXT)",
    );
}

#[test]
fn warnings_and_bad_values() {
    warns(
        "log.retention.hour=5",
        &["Unknown config log.retention.hour has no effect; did you mean log.retention.hours?"],
    );
    warns("my.own.key=5", &["Unknown config my.own.key has no effect"]);
    warns("zookeeper.connect=x", &["zookeeper.connect was removed from Apache Kafka; it has no effect"]);
    warns("num.io.threads=9", &["num.io.threads=9 has no effect in this version of Ottla"]);
    warns(
        "listener.name.plaintext.ssl.keystore.password=s3cret",
        &["listener.name.plaintext.ssl.keystore.password has no effect in this version of Ottla"],
    );
    warns("num.io.threads=8", &[]);
    fails("num.partitions=many", "Invalid value many for configuration num.partitions: Not a number of type INT");
    fails("num.partitions=0", "Invalid value 0 for configuration num.partitions: Value must be at least 1");
    fails(
        "auto.create.topics.enable=yes",
        "Invalid value yes for configuration auto.create.topics.enable: Expected value to be either true or false",
    );
    fails(
        "compression.type=lzma",
        "Invalid value lzma for configuration compression.type: String must be one of: uncompressed, zstd, lz4, \
         snappy, gzip, producer",
    );
    fails("node.id=1\nbroker.id=2", "You must set `node.id` to the same value as `broker.id`, but they are 1 and 2.");
    fails(
        "process.roles=broker",
        "Invalid value broker for configuration process.roles: Joining the controllers of an Apache Kafka cluster \
         does not work yet; leave process.roles unset or set broker,controller",
    );
    fails(
        "log.retention.ms=0",
        "Invalid value 0 for configuration log.retention.ms: Expected -1 (for ever) or at least 1",
    );
    assert_eq!(good("broker.id=7").node_id, 7);
}

#[test]
fn the_smaller_unit_counts() {
    let retention = |text: &str| good(text).topic_defaults().retention_ms;
    assert_eq!(retention(""), 604_800_000);
    assert_eq!(retention("log.retention.hours=2"), 7_200_000);
    assert_eq!(retention("log.retention.hours=-1"), -1);
    assert_eq!(retention("log.retention.hours=2\nlog.retention.minutes=3"), 180_000);
    assert_eq!(retention("log.retention.hours=2\nlog.retention.minutes=3\nlog.retention.ms=4"), 4);
    let defaults =
        good("log.roll.hours=1\nlog.roll.jitter.hours=1\nlog.flush.scheduler.interval.ms=7").topic_defaults();
    assert_eq!((defaults.segment_ms, defaults.segment_jitter_ms, defaults.flush_ms), (3_600_000, 3_600_000, 7));
}

#[test]
fn dynamic_values_count_first() {
    let config = good("message.max.bytes=5\nlog.retention.hours=1");
    let props =
        |pairs: &[(&str, &str)]| -> Props { pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect() };
    let changed = config.with_dynamic(
        props(&[("message.max.bytes", "6"), ("log.retention.ms", "9"), ("num.partitions", "not a number")]),
        props(&[("message.max.bytes", "7")]),
    );
    assert_eq!(changed.get("message.max.bytes"), Some(Value::Int(7)));
    assert_eq!((changed.topic_defaults().retention_ms, changed.num_partitions), (9, 1));

    let entries = describe::broker(&changed);
    let entry = |name: &str| entries.iter().find(|e| e.name == name).unwrap();
    let list = |name: &str| -> Vec<(String, String, ConfigSource)> {
        let list = entry(name).synonyms.iter();
        list.map(|s| (s.name.clone(), s.value.clone().unwrap(), s.source)).collect()
    };
    let s = |name: &str, value: &str, source| (name.to_owned(), value.to_owned(), source);
    assert_eq!(
        list("message.max.bytes"),
        [
            s("message.max.bytes", "7", ConfigSource::DynamicBroker),
            s("message.max.bytes", "6", ConfigSource::DynamicDefaultBroker),
            s("message.max.bytes", "5", ConfigSource::StaticBroker),
            s("message.max.bytes", "1048588", ConfigSource::Default),
        ]
    );
    assert_eq!(
        list("log.retention.hours"),
        [
            s("log.retention.hours", "1", ConfigSource::StaticBroker),
            s("log.retention.hours", "168", ConfigSource::Default)
        ]
    );
    let defaults = describe::broker_defaults(&changed);
    assert_eq!(defaults.iter().map(|e| e.name.as_str()).collect::<Vec<_>>(), ["log.retention.ms", "message.max.bytes"]);
    assert_eq!(defaults[1].value.as_deref(), Some("6"));
}

#[test]
fn describe_hides_secrets_and_internals() {
    let (config, _) = parse("ssl.keystore.password=s3cret\nmy.key=s3cret\nlog.initial.task.delay.ms=1").unwrap();
    let entries = describe::broker(&config);
    assert!(!format!("{entries:?}").contains("s3cret"));
    let entry = |name: &str| entries.iter().find(|e| e.name == name).unwrap();
    assert!(entry("ssl.keystore.password").sensitive && !entry("ssl.keystore.password").read_only);
    assert!(entry("my.key").sensitive && entry("node.id").read_only);
    assert_eq!(entry("log.dirs").value, None);
    assert!(entries.iter().all(|e| e.name != "group.consumer.regex.refresh.interval.ms"));
    assert!(entries.windows(2).all(|w| w[0].name < w[1].name));
}
