//! Groups of every kind: listing, deleting, and describing those of the classic protocol.

use super::acls::{AclOperation, authorized};
use super::call::{GroupCoordinator, Node, PerKey, all, check_code, text};
use super::{Admin, MemberDescription};
use crate::coordinator::Coordinator;
use crate::error::{Error, ErrorKind, Result};
use ottla_model::{ErrorCode, Str};
use ottla_protocol::describe_groups_response::DescribedGroup;
use ottla_protocol::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse, ListGroupsRequest,
    ListGroupsResponse,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// An enum whose values have names in the protocol.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $name {
            /// One that this client does not know.
            Unknown,
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// Kafka's name.
            pub const fn name(self) -> &'static str {
                match self {
                    $name::Unknown => "Unknown",
                    $($name::$variant => $text,)*
                }
            }

            /// The value with this name, in any case; `Unknown` when Kafka 4.4 has none.
            pub fn from_name(name: &str) -> $name {
                $(if name.eq_ignore_ascii_case($text) {
                    return $name::$variant;
                })*
                $name::Unknown
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
pub(super) use named;

named! {
    /// What a group is doing.
    GroupState {
        /// Waiting for members to join (classic).
        PreparingRebalance "PreparingRebalance",
        /// Waiting for the leader's assignment (classic).
        CompletingRebalance "CompletingRebalance",
        /// All members have what they should have.
        Stable "Stable",
        /// It is gone, or never was.
        Dead "Dead",
        /// It has no members, but offsets.
        Empty "Empty",
        /// The coordinator is computing the assignment (consumer, streams).
        Assigning "Assigning",
        /// Members are moving to their new assignment (consumer, streams).
        Reconciling "Reconciling",
        /// Topics that it needs are missing (streams).
        NotReady "NotReady",
    }
}

named! {
    /// By which protocol a group works.
    GroupType {
        /// JoinGroup and SyncGroup; Kafka Connect and older consumers.
        Classic "Classic",
        /// Consumers whose coordinator assigns (KIP-848).
        Consumer "Consumer",
        /// Share groups (KIP-932).
        Share "Share",
        /// Kafka Streams (KIP-1071).
        Streams "Streams",
    }
}

/// One line of a list of groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupListing {
    /// `group.id`.
    pub group_id: String,
    /// Its protocol; `None` from brokers before 3.8.
    pub group_type: Option<GroupType>,
    /// What its members call their protocol: `consumer`, `connect`, `share`; empty when it has offsets only.
    pub protocol: String,
    /// What it is doing; `None` from brokers before 2.6.
    pub state: Option<GroupState>,
}

impl GroupListing {
    /// Whether it only stores offsets of consumers that assign partitions themselves.
    pub fn is_simple_consumer_group(&self) -> bool {
        self.group_type.is_none_or(|kind| kind == GroupType::Classic) && self.protocol.is_empty()
    }
}

/// Which groups to list; the default is all.
#[derive(Debug, Clone, Default)]
pub struct ListGroupsOptions {
    /// Only in these states; empty is any.
    pub states: BTreeSet<GroupState>,
    /// Only of these types; empty is any.
    pub types: BTreeSet<GroupType>,
    /// Only with these protocols; empty is any.
    pub protocols: BTreeSet<String>,
}

impl ListGroupsOptions {
    /// Groups of consumers, by either protocol, and those that only store offsets.
    pub fn for_consumer_groups() -> ListGroupsOptions {
        ListGroupsOptions {
            types: BTreeSet::from([GroupType::Classic, GroupType::Consumer]),
            protocols: BTreeSet::from(["consumer".to_owned(), String::new()]),
            ..ListGroupsOptions::default()
        }
    }

    /// Share groups.
    pub fn for_share_groups() -> ListGroupsOptions {
        ListGroupsOptions { types: BTreeSet::from([GroupType::Share]), ..ListGroupsOptions::default() }
    }

    /// Streams groups.
    pub fn for_streams_groups() -> ListGroupsOptions {
        ListGroupsOptions { types: BTreeSet::from([GroupType::Streams]), ..ListGroupsOptions::default() }
    }
}

/// The groups that were found, and the brokers that did not tell theirs.
#[derive(Debug, Clone, Default)]
pub struct GroupListings {
    /// By group id.
    pub groups: Vec<GroupListing>,
    /// Why a broker's groups are missing, by its id.
    pub errors: BTreeMap<i32, Error>,
}

/// A group by the classic protocol, of consumers or of anything else.
#[derive(Debug, Clone)]
pub struct ClassicGroupDescription {
    /// `group.id`.
    pub group_id: String,
    /// What its members call their protocol: `consumer`, `connect`; empty when it has offsets only.
    pub protocol: String,
    /// What they agreed on, for consumers the assignor.
    pub protocol_data: String,
    /// What it is doing.
    pub state: GroupState,
    /// Its members.
    pub members: Vec<MemberDescription>,
    /// The coordinator's node id; `None` when it is not among the known brokers.
    pub coordinator: Option<i32>,
    /// What this client may do with it, where that was asked for (KIP-430).
    pub authorized_operations: Option<BTreeSet<AclOperation>>,
}

impl ClassicGroupDescription {
    /// Whether it only stores offsets of consumers that assign partitions themselves.
    pub fn is_simple_consumer_group(&self) -> bool {
        self.protocol.is_empty()
    }
}

impl Admin {
    /// The groups of all brokers (KIP-518, KIP-848), sorted by id.
    ///
    /// # Errors
    /// When not even the brokers are known; what a single broker said instead is in [`GroupListings::errors`].
    pub async fn list_groups(&self, options: &ListGroupsOptions) -> Result<GroupListings> {
        let brokers = self.broker_ids().await?;
        let build = |version: i16, _: &[i32]| list_request(version, options);
        let read = |response: ListGroupsResponse, brokers: &[i32]| {
            let what = format!("the groups of broker {}", brokers[0]);
            if let Err(error) = check_code(response.error_code, &what, None) {
                return all(brokers, &error);
            }
            let listed = response.groups.iter().map(|group| GroupListing {
                group_id: group.group_id.to_string(),
                group_type: Some(GroupType::from_name(&group.group_type)).filter(|_| !group.group_type.is_empty()),
                protocol: group.protocol_type.to_string(),
                state: Some(GroupState::from_name(&group.group_state)).filter(|_| !group.group_state.is_empty()),
            });
            PerKey::from([(brokers[0], Ok(listed.collect::<Vec<_>>()))])
        };
        let mut groups = BTreeMap::new();
        let mut errors = BTreeMap::new();
        for (broker, result) in self.per_key(Node, brokers, 1, build, read).await {
            match result {
                Ok(listed) => groups.extend(listed.into_iter().map(|group| (group.group_id.clone(), group))),
                Err(error) => drop(errors.insert(broker, error)),
            }
        }
        let wanted = |group: &GroupListing| options.protocols.is_empty() || options.protocols.contains(&group.protocol);
        Ok(GroupListings { groups: groups.into_values().filter(wanted).collect(), errors })
    }

    /// Deletes groups with their offsets.
    ///
    /// # Errors
    /// Per group `NON_EMPTY_GROUP` while it has members, `GROUP_ID_NOT_FOUND`.
    pub async fn delete_consumer_groups(&self, group_ids: &[String]) -> PerKey<String, ()> {
        let build = |_, ids: &[String]| {
            Ok(DeleteGroupsRequest { groups_names: ids.iter().map(text).collect(), ..Default::default() })
        };
        let read = |response: DeleteGroupsResponse, _: &[String]| {
            let results = response.results.iter().map(|result| {
                let what = format!("group {}", result.group_id);
                (result.group_id.to_string(), check_code(result.error_code, &what, result.error_message.as_deref()))
            });
            results.collect()
        };
        self.per_key(GroupCoordinator, group_ids.iter().cloned(), usize::MAX, build, read).await
    }

    /// Deletes share groups; as [`Admin::delete_consumer_groups`].
    pub async fn delete_share_groups(&self, group_ids: &[String]) -> PerKey<String, ()> {
        self.delete_consumer_groups(group_ids).await
    }

    /// Deletes streams groups; as [`Admin::delete_consumer_groups`].
    pub async fn delete_streams_groups(&self, group_ids: &[String]) -> PerKey<String, ()> {
        self.delete_consumer_groups(group_ids).await
    }

    /// Describes groups of the classic protocol, whatever their members are (KIP-1043).
    ///
    /// # Errors
    /// Per group `GROUP_ID_NOT_FOUND` when there is none or it has another protocol; brokers before 4.0 describe one that
    /// there is not as `Dead`.
    pub async fn describe_classic_groups(
        &self,
        group_ids: &[String],
        include_authorized_operations: bool,
    ) -> PerKey<String, ClassicGroupDescription> {
        let build = |version: i16, ids: &[String]| {
            if version < 3 && include_authorized_operations {
                return Err(Error::unsupported(format!(
                    "DescribeGroups {version} does not tell authorized operations; that needs version 3 (Apache Kafka 2.3)"
                )));
            }
            let groups = ids.iter().map(text).collect();
            Ok(DescribeGroupsRequest { groups, include_authorized_operations, ..Default::default() })
        };
        let read = |response: DescribeGroupsResponse, _: &[String]| {
            response.groups.iter().map(|group| (group.group_id.to_string(), classic(group))).collect()
        };
        let ids = group_ids.iter().cloned();
        let mut results = self.per_key(GroupCoordinator, ids, usize::MAX, build, read).await;
        for (id, result) in &mut results {
            if let Ok(group) = result {
                group.coordinator = self.group_coordinator(id).await;
            }
        }
        results
    }

    pub(super) async fn group_coordinator(&self, group_id: &str) -> Option<i32> {
        self.coordinator_id(Coordinator::Group(Arc::from(group_id))).await
    }
}

/// What an old broker cannot filter is left out where its groups could not be anything else, and refused otherwise.
fn list_request(version: i16, options: &ListGroupsOptions) -> Result<ListGroupsRequest> {
    if version < 4 && !options.states.is_empty() {
        return Err(Error::unsupported(format!(
            "ListGroups {version} cannot filter by state; that needs version 4 (Apache Kafka 2.6)"
        )));
    }
    // Before 3.8 there are classic groups only.
    let old = version < 5;
    if old && !options.types.is_empty() && !options.types.contains(&GroupType::Classic) {
        return Err(Error::unsupported(format!(
            "ListGroups {version} cannot filter by type; that needs version 5 (Apache Kafka 3.8)"
        )));
    }
    let types_filter = match old {
        true => Vec::new(),
        false => options.types.iter().map(|kind| Str::from(kind.name())).collect(),
    };
    let states_filter = options.states.iter().map(|state| Str::from(state.name())).collect();
    Ok(ListGroupsRequest { states_filter, types_filter, ..Default::default() })
}

fn classic(group: &DescribedGroup) -> Result<ClassicGroupDescription> {
    let what = format!("group {}", group.group_id);
    check_code(group.error_code, &what, group.error_message.as_deref())?;
    let of_consumers = &*group.protocol_type == crate::consumer::assignor::PROTOCOL_TYPE;
    let members: Result<Vec<MemberDescription>> =
        group.members.iter().map(|member| MemberDescription::classic(member, of_consumers)).collect();
    Ok(ClassicGroupDescription {
        group_id: group.group_id.to_string(),
        protocol: group.protocol_type.to_string(),
        protocol_data: group.protocol_data.to_string(),
        state: GroupState::from_name(&group.group_state),
        members: members.map_err(|error| Error::new(ErrorKind::Data, format!("{what}: {error}")))?,
        coordinator: None,
        authorized_operations: authorized(group.authorized_operations),
    })
}

/// Whether a group has to be asked for by the other protocol: the broker has no other, or the group is of that kind.
pub(super) fn of_other_protocol(error: &Error) -> bool {
    matches!(error.code(), Some(ErrorCode::UnsupportedVersion | ErrorCode::GroupIdNotFound))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_broker_is_asked_for_what_it_can_filter() {
        let consumers = ListGroupsOptions::for_consumer_groups();
        assert_eq!(list_request(3, &consumers).expect("all its groups are classic").types_filter.len(), 0);
        assert_eq!(list_request(5, &consumers).expect("it filters").types_filter.len(), 2);
        let shares = list_request(4, &ListGroupsOptions::for_share_groups()).expect_err("it has none");
        assert_eq!(shares.code(), Some(ErrorCode::UnsupportedVersion));
        let empty = ListGroupsOptions { states: BTreeSet::from([GroupState::Empty]), ..Default::default() };
        let error = list_request(3, &empty).expect_err("it does not know states");
        assert!(error.message().contains("ListGroups 3"), "{error}");
    }

    #[test]
    fn states_are_read_in_any_case() {
        assert_eq!(GroupState::from_name("preparingRebalance"), GroupState::PreparingRebalance);
        assert_eq!(GroupType::from_name("share"), GroupType::Share);
        assert_eq!(GroupState::from_name("Dancing"), GroupState::Unknown);
    }
}
