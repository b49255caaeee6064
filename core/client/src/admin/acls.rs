//! Access control lists: what to allow or deny to whom (KIP-11, KIP-290 for patterns).

use super::Admin;
use super::call::{Controller, PerKey, check_code, owned, text};
use crate::error::Result;
use ottla_protocol::create_acls_request::{AclCreation, CreateAclsRequest};
use ottla_protocol::delete_acls_request::{DeleteAclsFilter, DeleteAclsRequest};
use ottla_protocol::delete_acls_response::DeleteAclsFilterResult;
use ottla_protocol::describe_acls_request::DescribeAclsRequest;
use std::collections::BTreeSet;

/// An enum whose values have numbers in the protocol and names in Kafka.
macro_rules! coded {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $code:literal $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $name {
            /// One that this client does not know.
            Unknown,
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// The number in the protocol; 0 for `Unknown`.
            pub const fn code(self) -> i8 {
                match self {
                    $name::Unknown => 0,
                    $($name::$variant => $code,)*
                }
            }

            /// The value with this number.
            pub const fn from_code(code: i8) -> $name {
                match code {
                    $($code => $name::$variant,)*
                    _ => $name::Unknown,
                }
            }

            /// Kafka's name.
            pub const fn name(self) -> &'static str {
                match self {
                    $name::Unknown => "UNKNOWN",
                    $($name::$variant => $text,)*
                }
            }

            /// The value with this name, in any case; `None` when Kafka has no such name.
            pub fn from_name(name: &str) -> Option<$name> {
                $(if name.eq_ignore_ascii_case($text) {
                    return Some($name::$variant);
                })*
                None
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
pub(super) use coded;

coded! {
    /// What someone does with a resource.
    AclOperation {
        /// In a filter: any.
        Any = 1 "ANY",
        /// All of them.
        All = 2 "ALL",
        /// Fetch records, read offsets, join a group.
        Read = 3 "READ",
        /// Produce records.
        Write = 4 "WRITE",
        /// Create topics.
        Create = 5 "CREATE",
        /// Delete topics, groups, records.
        Delete = 6 "DELETE",
        /// Add partitions.
        Alter = 7 "ALTER",
        /// Look at it.
        Describe = 8 "DESCRIBE",
        /// What brokers do among themselves.
        ClusterAction = 9 "CLUSTER_ACTION",
        /// Look at its configs.
        DescribeConfigs = 10 "DESCRIBE_CONFIGS",
        /// Change its configs.
        AlterConfigs = 11 "ALTER_CONFIGS",
        /// Produce idempotently.
        IdempotentWrite = 12 "IDEMPOTENT_WRITE",
        /// Create delegation tokens for others (KIP-373).
        CreateTokens = 13 "CREATE_TOKENS",
        /// Describe delegation tokens of others.
        DescribeTokens = 14 "DESCRIBE_TOKENS",
        /// Take part in a two-phase commit (KIP-939).
        TwoPhaseCommit = 15 "TWO_PHASE_COMMIT",
    }
}

coded! {
    /// What kind of thing an ACL is about.
    AclResourceType {
        /// In a filter: any.
        Any = 1 "ANY",
        /// A topic.
        Topic = 2 "TOPIC",
        /// A group.
        Group = 3 "GROUP",
        /// The cluster, whose name is `kafka-cluster`.
        Cluster = 4 "CLUSTER",
        /// A `transactional.id`.
        TransactionalId = 5 "TRANSACTIONAL_ID",
        /// A delegation token.
        DelegationToken = 6 "DELEGATION_TOKEN",
        /// A principal, for delegation tokens.
        User = 7 "USER",
    }
}

coded! {
    /// How an ACL's resource name is read (KIP-290).
    PatternType {
        /// In a filter: any.
        Any = 1 "ANY",
        /// In a filter: whatever applies to a resource of this name.
        Match = 2 "MATCH",
        /// The name itself; `*` is all names.
        Literal = 3 "LITERAL",
        /// All names that begin so.
        Prefixed = 4 "PREFIXED",
    }
}

coded! {
    /// Whether an ACL allows or denies.
    AclPermissionType {
        /// In a filter: either.
        Any = 1 "ANY",
        /// Denies, whatever else allows.
        Deny = 2 "DENY",
        /// Allows.
        Allow = 3 "ALLOW",
    }
}

/// One rule: a principal at a host may or may not do something with a resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AclBinding {
    /// The kind of resource.
    pub resource_type: AclResourceType,
    /// The resource's name or prefix.
    pub resource_name: String,
    /// How the name is read.
    pub pattern_type: PatternType,
    /// `User:name`, or `User:*` for everyone.
    pub principal: String,
    /// The address it comes from, or `*`.
    pub host: String,
    /// What is allowed or denied.
    pub operation: AclOperation,
    /// Allowed or denied.
    pub permission_type: AclPermissionType,
}

/// Which rules; the default is all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AclBindingFilter {
    /// The kind of resource, or `Any`.
    pub resource_type: AclResourceType,
    /// The resource's name; `None` is any.
    pub resource_name: Option<String>,
    /// How the name is read; `Match` finds what applies to the name.
    pub pattern_type: PatternType,
    /// `None` is any.
    pub principal: Option<String>,
    /// `None` is any.
    pub host: Option<String>,
    /// The operation, or `Any`.
    pub operation: AclOperation,
    /// Allowed, denied, or `Any`.
    pub permission_type: AclPermissionType,
}

impl Default for AclBindingFilter {
    fn default() -> AclBindingFilter {
        AclBindingFilter {
            resource_type: AclResourceType::Any,
            resource_name: None,
            pattern_type: PatternType::Any,
            principal: None,
            host: None,
            operation: AclOperation::Any,
            permission_type: AclPermissionType::Any,
        }
    }
}

impl Admin {
    /// Adds rules; one that is there already is no error.
    pub async fn create_acls(&self, acls: &[AclBinding]) -> PerKey<AclBinding, ()> {
        let build = |_, acls: &[AclBinding]| {
            let creation = |acl: &AclBinding| AclCreation {
                resource_type: acl.resource_type.code(),
                resource_name: text(&acl.resource_name),
                resource_pattern_type: acl.pattern_type.code(),
                principal: text(&acl.principal),
                host: text(&acl.host),
                operation: acl.operation.code(),
                permission_type: acl.permission_type.code(),
                ..Default::default()
            };
            Ok(CreateAclsRequest { creations: acls.iter().map(creation).collect(), ..Default::default() })
        };
        let read = |response: ottla_protocol::CreateAclsResponse, acls: &[AclBinding]| {
            // Results come in the order of the request.
            let results = response
                .results
                .iter()
                .map(|result| check_code(result.error_code, "the ACL", result.error_message.as_deref()));
            acls.iter().cloned().zip(results).collect()
        };
        self.per_key(Controller, acls.iter().cloned(), usize::MAX, build, read).await
    }

    /// The rules that match `filter`.
    ///
    /// # Errors
    /// `SECURITY_DISABLED` when the brokers have no authorizer.
    pub async fn describe_acls(&self, filter: &AclBindingFilter) -> Result<Vec<AclBinding>> {
        let request = DescribeAclsRequest {
            resource_type_filter: filter.resource_type.code(),
            resource_name_filter: filter.resource_name.as_deref().map(text),
            pattern_type_filter: filter.pattern_type.code(),
            principal_filter: filter.principal.as_deref().map(text),
            host_filter: filter.host.as_deref().map(text),
            operation: filter.operation.code(),
            permission_type: filter.permission_type.code(),
            ..Default::default()
        };
        let read = |response: ottla_protocol::DescribeAclsResponse| {
            check_code(response.error_code, "the ACLs", response.error_message.as_deref())?;
            let mut found = Vec::new();
            for resource in &response.resources {
                found.extend(resource.acls.iter().map(|acl| AclBinding {
                    resource_type: AclResourceType::from_code(resource.resource_type),
                    resource_name: resource.resource_name.to_string(),
                    pattern_type: PatternType::from_code(resource.pattern_type),
                    principal: acl.principal.to_string(),
                    host: acl.host.to_string(),
                    operation: AclOperation::from_code(acl.operation),
                    permission_type: AclPermissionType::from_code(acl.permission_type),
                }));
            }
            found.sort();
            Ok(found)
        };
        self.any(|_| Ok(request.clone()), read).await
    }

    /// Deletes the rules that match each filter and tells which they were, each with what became of it.
    pub async fn delete_acls(
        &self,
        filters: &[AclBindingFilter],
    ) -> PerKey<AclBindingFilter, Vec<(AclBinding, Result<()>)>> {
        let build = |_, filters: &[AclBindingFilter]| {
            let filter = |filter: &AclBindingFilter| DeleteAclsFilter {
                resource_type_filter: filter.resource_type.code(),
                resource_name_filter: filter.resource_name.as_deref().map(text),
                pattern_type_filter: filter.pattern_type.code(),
                principal_filter: filter.principal.as_deref().map(text),
                host_filter: filter.host.as_deref().map(text),
                operation: filter.operation.code(),
                permission_type: filter.permission_type.code(),
                ..Default::default()
            };
            Ok(DeleteAclsRequest { filters: filters.iter().map(filter).collect(), ..Default::default() })
        };
        let read = |response: ottla_protocol::DeleteAclsResponse, filters: &[AclBindingFilter]| {
            filters.iter().cloned().zip(response.filter_results.iter().map(deleted)).collect()
        };
        self.per_key(Controller, filters.iter().cloned(), usize::MAX, build, read).await
    }
}

fn deleted(result: &DeleteAclsFilterResult) -> Result<Vec<(AclBinding, Result<()>)>> {
    check_code(result.error_code, "the filter", result.error_message.as_deref())?;
    let matching = result.matching_acls.iter().map(|acl| {
        let binding = AclBinding {
            resource_type: AclResourceType::from_code(acl.resource_type),
            resource_name: acl.resource_name.to_string(),
            pattern_type: PatternType::from_code(acl.pattern_type),
            principal: acl.principal.to_string(),
            host: acl.host.to_string(),
            operation: AclOperation::from_code(acl.operation),
            permission_type: AclPermissionType::from_code(acl.permission_type),
        };
        (binding, check_code(acl.error_code, "the ACL", owned(&acl.error_message).as_deref()))
    });
    Ok(matching.collect())
}

/// The operations of an answer's bit field; `None` when the broker did not tell (KIP-430).
pub(super) fn authorized(bits: i32) -> Option<BTreeSet<AclOperation>> {
    if bits == i32::MIN {
        return None;
    }
    let set = (0..31).filter(|bit| bits & (1 << bit) != 0).map(|bit| AclOperation::from_code(bit as i8));
    Some(set.filter(|operation| *operation != AclOperation::Unknown).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_come_as_bits() {
        assert_eq!(authorized(i32::MIN), None);
        assert_eq!(authorized(0), Some(BTreeSet::new()));
        let bits = (1 << 3) | (1 << 8) | (1 << 30);
        assert_eq!(authorized(bits), Some(BTreeSet::from([AclOperation::Read, AclOperation::Describe])));
    }

    #[test]
    fn names_and_numbers_agree() {
        for code in 1..=15 {
            let operation = AclOperation::from_code(code);
            assert_eq!(operation.code(), code);
            assert_eq!(AclOperation::from_name(&operation.name().to_lowercase()), Some(operation));
        }
        assert_eq!(AclOperation::from_code(99), AclOperation::Unknown);
        assert_eq!(PatternType::from_name("prefixed"), Some(PatternType::Prefixed));
        assert_eq!(AclResourceType::from_name("broker"), None);
    }
}
