//! The scopes and how a row is found in them.

use crate::{ConfigDef, admin, broker, client, consumer, producer, suggest, topic};

/// Whose configs: each scope is one table, the three clients' have a shared part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Broker,
    Topic,
    Producer,
    Consumer,
    Admin,
}

impl Scope {
    fn tables(self) -> [&'static [ConfigDef]; 2] {
        match self {
            Scope::Broker => [broker::ROWS, &[]],
            Scope::Topic => [topic::ROWS, &[]],
            Scope::Producer => [producer::ROWS, client::ROWS],
            Scope::Consumer => [consumer::ROWS, client::ROWS],
            Scope::Admin => [admin::ROWS, client::ROWS],
        }
    }

    /// All rows: the scope's own by name, then the shared ones by name.
    pub fn rows(self) -> impl Iterator<Item = &'static ConfigDef> {
        self.tables().into_iter().flatten()
    }

    /// The row called `name`.
    pub fn find(self, name: &str) -> Option<&'static ConfigDef> {
        self.tables().into_iter().find_map(|t| t.binary_search_by(|row| row.name.cmp(name)).ok().map(|i| &t[i]))
    }

    /// The known name nearest to a misspelt one, if one is near enough to be meant.
    pub fn nearest(self, name: &str) -> Option<&'static str> {
        suggest::nearest(name, self.rows().filter(|row| !row.is_internal()).map(|row| row.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DefaultValue;

    const ALL: [Scope; 5] = [Scope::Broker, Scope::Topic, Scope::Producer, Scope::Consumer, Scope::Admin];

    #[test]
    fn tables_are_sorted_and_every_default_passes_its_own_validator() {
        for scope in ALL {
            for table in scope.tables() {
                assert!(table.windows(2).all(|w| w[0].name < w[1].name), "{scope:?} is not sorted");
            }
            for row in scope.rows() {
                if let DefaultValue::Value(default) = row.default {
                    let value = row.parse(default).unwrap_or_else(|e| panic!("{scope:?}: {e}"));
                    if row.kind != crate::Type::Password {
                        assert_eq!(value.to_text(), default, "{}", row.name);
                    }
                }
                assert!(row.doc.ends_with('.') && row.doc.len() < 120, "{}: {}", row.name, row.doc);
                assert_eq!(scope.find(row.name), Some(row));
            }
        }
    }

    #[test]
    fn counts_are_those_of_kafka_4_4() {
        // The broker's 379 and three that exist only as dynamic ones.
        assert_eq!(Scope::Broker.rows().count(), 382);
        assert_eq!(Scope::Topic.rows().count(), 38);
        assert_eq!(ALL[2..].iter().map(|s| s.rows().count()).collect::<Vec<_>>(), [120, 120, 95]);
    }

    #[test]
    fn nearest() {
        assert_eq!(Scope::Broker.nearest("log.retention.hour"), Some("log.retention.hours"));
        assert_eq!(Scope::Broker.nearest("advertised.listener"), Some("advertised.listeners"));
        assert_eq!(Scope::Broker.nearest("Num_Partitions"), Some("num.partitions"));
        assert_eq!(Scope::Broker.nearest("my.own.thing"), None);
    }
}
