//! What is said at the start about configs that are unknown, without effect, or wrong.

use crate::support::{Folder, start_in};
use ottla::Broker;
use ottla::config::{ConfigDef, DefaultValue, Scope, Status, Type, Validator};

async fn warnings(configs: &[(&str, &str)]) -> Vec<String> {
    let broker = Broker::builder().configs(configs.iter().copied()).start().await.expect("a warning is no error");
    let warnings = broker.warnings().iter().map(|warning| format!("{}: {}", warning.key, warning.message)).collect();
    broker.close().await.expect("closes");
    warnings
}

#[tokio::test]
async fn an_unknown_key_names_the_nearest_known_one() {
    let said = warnings(&[("num.partition", "3")]).await;
    assert_eq!(said, ["num.partition: Unknown config num.partition has no effect; did you mean num.partitions?"]);
}

#[tokio::test]
async fn a_bad_value_is_an_error_that_names_the_key_and_what_was_expected() {
    let cases = [
        ("num.partitions", "many", "INT"),
        ("num.partitions", "0", "at least 1"),
        ("auto.create.topics.enable", "yes", "true or false"),
        ("compression.type", "brotli", "zstd"),
        ("listeners", "127.0.0.1:9092", "NAME://host:port"),
        ("listeners", "SSL://127.0.0.1:0", "PLAINTEXT"),
        ("log.retention.ms", "0", "at least 1"),
    ];
    for (key, value, expected) in cases {
        let error = Broker::builder().config(key, value).start().await.expect_err("a bad value").to_string();
        assert!(error.contains(key) && error.contains(value) && error.contains(expected), "{key}={value}: {error}");
    }
}

/// A value that the row takes and that is not its default.
fn another(row: &ConfigDef) -> String {
    let mut candidates: Vec<String> = match row.kind {
        Type::Boolean => vec!["true".into(), "false".into()],
        Type::Short | Type::Int | Type::Long => (1..=4000).map(|number: i64| (number * 131).to_string()).collect(),
        Type::Double => vec!["0.25".into(), "0.75".into()],
        Type::String | Type::List | Type::Class | Type::Password => {
            vec!["a".into(), "b".into(), "1:1".into(), "a:1".into(), "1@h:1".into(), "PT1M".into()]
        }
    };
    candidates.extend(["1".to_owned(), "2".to_owned(), "5".to_owned(), "9".to_owned()]);
    if let Validator::AtLeast(min) = row.validator {
        candidates.push(min.saturating_add(1).to_string());
    }
    if let Validator::OneOf(names) | Validator::ListOf(names) | Validator::NonEmptyListOf(names) = row.validator {
        candidates.extend(names.iter().map(|name| (*name).to_owned()));
    }
    if let Validator::OneOfIgnoreCase(names) = row.validator {
        candidates.extend(names.iter().map(|name| (*name).to_owned()));
    }
    let profile = ottla::config::Profile::Embedded.default_of(row.name);
    let defaults = [profile, if let DefaultValue::Value(text) = row.default { Some(text) } else { None }];
    let is_default =
        |value: &String| defaults.iter().flatten().any(|default| row.parse(default).ok() == row.parse(value).ok());
    let found = candidates.into_iter().find(|value| row.parse(value).is_ok() && !is_default(value));
    found.unwrap_or_else(|| panic!("{} takes none of the values tried", row.name))
}

#[tokio::test]
async fn every_row_without_effect_is_a_warning_when_it_is_set() {
    for row in Scope::Broker.rows().filter(|row| row.status == Status::Ignored) {
        let value = another(row);
        let said = match ottla::config::BrokerConfig::parse(ottla::config::Profile::Embedded, [(row.name, &*value)]) {
            Ok((_, said)) => said,
            Err(error) => panic!("{}={value}: {error}", row.name),
        };
        let named = said.iter().filter(|warning| warning.key == row.name && warning.message.contains("no effect"));
        assert_eq!(named.count(), 1, "{}={value}: {said:?}", row.name);
    }
}

/// The rows with effect are silent: a warning there would be wrong.
#[tokio::test]
async fn a_row_with_effect_is_no_warning() {
    let said = warnings(&[("num.partitions", "3"), ("log.retention.hours", "1"), ("max.connections", "5")]).await;
    assert_eq!(said, Vec::<String>::new());
}

/// A directory may bring configs that nobody set here.
#[tokio::test]
async fn stored_configs_without_effect_are_warned_of_at_the_next_start() {
    let folder = Folder::new();
    let node = start_in(&folder, &[]).await;
    node.create("a", 1, &[("preallocate", "true"), ("retention.ms", "1000000")]).await;
    node.create("b", 1, &[("preallocate", "true")]).await;
    assert_eq!(node.alter(None, "background.threads", "7").await, ottla_model::ErrorCode::None);
    assert_eq!(node.broker.warnings(), []);
    node.close().await;
    let node = start_in(&folder, &[]).await;
    let said: Vec<String> = node.broker.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "preallocate, set for a and 1 more, has no effect in this version of Ottla",
            "background.threads, set for this broker, has no effect in this version of Ottla",
        ]
    );
    node.close().await;
}

#[tokio::test]
async fn configs_of_one_listener_are_warned_of() {
    let said = warnings(&[("listener.name.lan.max.connections", "5")]).await;
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("listener.name.lan.max.connections has no effect"), "{said:?}");
}
