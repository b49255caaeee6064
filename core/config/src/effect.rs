//! Stored configs without effect: overrides of topics and dynamic values of brokers, which no file says. They are worth
//! the same warning as those in `server.properties`, at start and when they are set.

use std::collections::BTreeMap;

use crate::alter::FIXED_AT_START;
use crate::{DefaultValue, Props, Scope, Status, Warning};

/// One warning per config that is set to something else than its default and has no effect, with whose it is: the first
/// owner by name and how many more there are.
pub fn warnings<'a>(scope: Scope, stored: impl IntoIterator<Item = (&'a str, &'a Props)>) -> Vec<Warning> {
    let mut owners: BTreeMap<&str, (&str, usize)> = BTreeMap::new();
    for (owner, props) in stored {
        for name in props.iter().filter(|(name, value)| is_without_effect(scope, name, value)).map(|(name, _)| name) {
            let (first, count) = owners.entry(name).or_insert((owner, 0));
            *first = (*first).min(owner);
            *count += 1;
        }
    }
    let warning = |(name, (first, count)): (&str, (&str, usize))| {
        let more = if count > 1 { format!(" and {} more", count - 1) } else { String::new() };
        Warning::new(name, format!("{name}, set for {first}{more}, has no effect in this version of Ottla"))
    };
    owners.into_iter().map(warning).collect()
}

fn is_without_effect(scope: Scope, name: &str, value: &str) -> bool {
    let Some(row) = scope.find(name) else { return true };
    let default = match row.default {
        DefaultValue::Value(text) => row.parse(text).ok(),
        DefaultValue::Null | DefaultValue::Required => None,
    };
    let is_read = row.status == Status::Implemented && !(scope == Scope::Broker && FIXED_AT_START.contains(&name));
    !is_read && row.parse(value).ok() != default
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_warning_per_config() {
        let props = |pairs: &[(&str, &str)]| -> Props {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let one = props(&[("preallocate", "true"), ("retention.ms", "5"), ("min.cleanable.dirty.ratio", "0.5")]);
        let two = props(&[("preallocate", "true"), ("remote.storage.enable", "true")]);
        let said: Vec<String> =
            warnings(Scope::Topic, [("b", &one), ("a", &two)]).iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "preallocate, set for a and 1 more, has no effect in this version of Ottla",
                "remote.storage.enable, set for a, has no effect in this version of Ottla",
            ]
        );
    }
}
