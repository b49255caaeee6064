//! Client quotas: limits of bytes, requests and connections by user, client id and address (KIP-546).

use super::Admin;
use super::call::{Anyone, Controller, PerKey, check_code, owned, text};
use crate::error::{Error, Result};
use ottla_protocol::alter_client_quotas_request::{AlterClientQuotasRequest, EntityData, EntryData, OpData};
use ottla_protocol::describe_client_quotas_request::{ComponentData, DescribeClientQuotasRequest};
use ottla_protocol::{AlterClientQuotasResponse, DescribeClientQuotasResponse};
use std::collections::BTreeMap;

/// Whom a quota is for: names by entity type (`user`, `client-id`, `ip`); `None` is the default of that type.
pub type ClientQuotaEntity = BTreeMap<String, Option<String>>;

/// What an entity must be to be described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuotaMatch {
    /// This name.
    Exact(String),
    /// The default of the type.
    Default,
    /// Any that is given.
    Specified,
}

/// Changes to the quotas of one entity: values by quota name (`producer_byte_rate`, `consumer_byte_rate`,
/// `request_percentage`, `controller_mutation_rate`, `connection_creation_rate`); `None` removes.
pub type ClientQuotaChanges = BTreeMap<String, Option<f64>>;

impl Admin {
    /// The quotas of the entities that match every part of `filter`, by entity type; an empty filter is all. With `strict`
    /// entities that have further parts are left out.
    pub async fn describe_client_quotas(
        &self,
        filter: &BTreeMap<String, QuotaMatch>,
        strict: bool,
    ) -> Result<BTreeMap<ClientQuotaEntity, BTreeMap<String, f64>>> {
        let component = |(kind, matching): (&String, &QuotaMatch)| {
            let (match_type, name) = match matching {
                QuotaMatch::Exact(name) => (0, Some(text(name))),
                QuotaMatch::Default => (1, None),
                QuotaMatch::Specified => (2, None),
            };
            ComponentData { entity_type: text(kind), match_type, r#match: name, ..Default::default() }
        };
        let request = DescribeClientQuotasRequest {
            components: filter.iter().map(component).collect(),
            strict,
            ..Default::default()
        };
        let read = |response: DescribeClientQuotasResponse| {
            check_code(response.error_code, "the quotas", response.error_message.as_deref())?;
            let entries = response.entries.iter().flatten().map(|entry| {
                let entity = entry.entity.iter().map(|part| (part.entity_type.to_string(), owned(&part.entity_name)));
                let values = entry.values.iter().map(|value| (value.key.to_string(), value.value));
                (entity.collect(), values.collect())
            });
            Ok(entries.collect())
        };
        self.one(Anyone, (), |_| Ok(request.clone()), read).await
    }

    /// Changes quotas; `validate_only` only checks.
    pub async fn alter_client_quotas(
        &self,
        changes: &BTreeMap<ClientQuotaEntity, ClientQuotaChanges>,
        validate_only: bool,
    ) -> PerKey<ClientQuotaEntity, ()> {
        let build = |_, entities: &[ClientQuotaEntity]| {
            let entry = |entity: &ClientQuotaEntity| EntryData {
                entity: entity
                    .iter()
                    .map(|(kind, name)| EntityData {
                        entity_type: text(kind),
                        entity_name: name.as_deref().map(text),
                        ..Default::default()
                    })
                    .collect(),
                ops: changes
                    .get(entity)
                    .into_iter()
                    .flatten()
                    .map(|(key, value)| OpData {
                        key: text(key),
                        value: value.unwrap_or_default(),
                        remove: value.is_none(),
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            };
            let entries = entities.iter().map(entry).collect();
            Ok::<_, Error>(AlterClientQuotasRequest { entries, validate_only, ..Default::default() })
        };
        let read = |response: AlterClientQuotasResponse, _: &[ClientQuotaEntity]| {
            let results = response.entries.iter().map(|entry| {
                let parts = entry.entity.iter().map(|part| (part.entity_type.to_string(), owned(&part.entity_name)));
                let entity: ClientQuotaEntity = parts.collect();
                let what = label(&entity);
                (entity, check_code(entry.error_code, &what, entry.error_message.as_deref()))
            });
            results.collect()
        };
        self.per_key(Controller, changes.keys().cloned(), usize::MAX, build, read).await
    }
}

fn label(entity: &ClientQuotaEntity) -> String {
    let part = |(kind, name): (&String, &Option<String>)| match name {
        Some(name) => format!("{kind} {name}"),
        None => format!("the default {kind}"),
    };
    format!("the quotas of {}", entity.iter().map(part).collect::<Vec<_>>().join(", "))
}
