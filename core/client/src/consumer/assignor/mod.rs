//! Who reads what in a classic consumer group: the leader's assignors (`partition.assignment.strategy`) and the bytes in
//! which members tell the leader what they want and get told what they have.
//!
//! [`range`](RangeAssignor), [`roundrobin`](RoundRobinAssignor), [`sticky`](StickyAssignor) and
//! [`cooperative-sticky`](CooperativeStickyAssignor) give the very assignments that Kafka's Java client gives, in the
//! same order, so a group may mix both clients and change leaders between them. Java's results depend in places on the
//! iteration order of its hash maps; `java.rs` has that order. Nothing here does I/O or waits. Groups of the newer
//! protocol (KIP-848) are assigned by the broker and need none of this.

mod java;
mod plan;
mod protocol;
mod range;
mod roundrobin;
mod sticky;

pub use protocol::{
    ASSIGNMENT_VERSION, PROTOCOL_TYPE, SUBSCRIPTION_VERSION, decode_assignment, decode_subscription, encode_assignment,
    encode_subscription,
};
pub use range::RangeAssignor;
pub use roundrobin::RoundRobinAssignor;
pub use sticky::{CooperativeStickyAssignor, StickyAssignor};

use crate::error::{Error, ErrorKind, Result};
use bytes::Bytes;
use ottla_model::TopicPartition;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

/// How members give up partitions in a rebalance (KIP-429).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RebalanceProtocol {
    /// Every member gives up all it has before it joins again.
    Eager,
    /// Members keep what they have, give up what the assignment takes away, and join once more so that others get it.
    Cooperative,
}

/// A member's part in the group's decision, as it arrives with the JoinGroup request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subscription {
    /// The topics that the member wants to read.
    pub topics: Vec<Arc<str>>,
    /// What the member's assignor added ([`Assignor::user_data`]).
    pub user_data: Option<Bytes>,
    /// The partitions that the member still has; none under the eager protocol.
    pub owned_partitions: Vec<TopicPartition>,
    /// The generation in which it got them; `None` of a client that does not tell (before KIP-792) or of a new member.
    pub generation_id: Option<i32>,
    /// `client.rack` (KIP-881); `None` when it is not set.
    pub rack_id: Option<String>,
}

/// A member of the group as the leader sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    /// `member.id`, given by the coordinator.
    pub id: String,
    /// `group.instance.id` of a static member (KIP-345).
    pub group_instance_id: Option<String>,
    /// What it wants.
    pub subscription: Subscription,
}

/// What a member is told to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assignment {
    /// The partitions, in the assignor's order.
    pub partitions: Vec<TopicPartition>,
    /// What the leader's assignor added for the member's [`Assignor::on_assignment`].
    pub user_data: Option<Bytes>,
}

/// A partition that can be assigned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartitionRacks {
    /// Its number.
    pub partition: i32,
    /// The racks of its replicas, offline ones too; a replica whose broker has no `broker.rack` is left out.
    pub racks: Vec<Arc<str>>,
}

/// What the metadata knows about the topics that the group wants. A topic that does not exist is not in it, and nobody
/// is assigned its partitions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterTopics {
    topics: BTreeMap<Arc<str>, Vec<PartitionRacks>>,
}

impl ClusterTopics {
    /// No topics.
    pub fn new() -> ClusterTopics {
        ClusterTopics::default()
    }

    /// Adds a topic, or replaces it. The partitions come in any order; a topic without any counts as missing.
    pub fn insert(&mut self, topic: impl Into<Arc<str>>, mut partitions: Vec<PartitionRacks>) {
        partitions.sort_by_key(|partition| partition.partition);
        self.topics.insert(topic.into(), partitions);
    }

    /// Adds a topic with partitions 0 to `count` - 1 on brokers without racks.
    pub fn insert_without_racks(&mut self, topic: impl Into<Arc<str>>, count: i32) {
        let partition = |partition| PartitionRacks { partition, racks: Vec::new() };
        self.insert(topic, (0..count).map(partition).collect());
    }

    /// The partitions of a topic in the order of their numbers; `None` when the topic is missing.
    pub fn partitions(&self, topic: &str) -> Option<&[PartitionRacks]> {
        self.get(topic).map(|(_, partitions)| partitions)
    }

    pub(crate) fn get(&self, topic: &str) -> Option<(&Arc<str>, &[PartitionRacks])> {
        let (name, partitions) = self.topics.get_key_value(topic)?;
        Some((name, partitions.as_slice())).filter(|(_, partitions)| !partitions.is_empty())
    }

    /// The topics and their partitions, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &[PartitionRacks])> {
        self.topics.iter().map(|(topic, partitions)| (topic, partitions.as_slice()))
    }
}

/// Divides the partitions of a group's topics among its members (`ConsumerPartitionAssignor` in Java).
///
/// Each member of a group has an instance of each assignor it supports. The coordinator picks one assignor that all
/// members have, by [`name`](Assignor::name); the leader's instance assigns, and every member's instance hears of the
/// result. Calls must not block. Here is one that gives everything to one member:
///
/// ```
/// use ottla_client::assignor::{Assignment, Assignor, ClusterTopics, Member};
/// use ottla_client::{Result, TopicPartition};
/// use std::collections::BTreeMap;
///
/// #[derive(Debug)]
/// struct FirstTakesAll;
///
/// impl Assignor for FirstTakesAll {
///     fn name(&self) -> &str {
///         "first-takes-all"
///     }
///
///     fn assign(&self, cluster: &ClusterTopics, members: &[Member]) -> Result<BTreeMap<String, Assignment>> {
///         let mut assignments: BTreeMap<_, _> =
///             members.iter().map(|member| (member.id.clone(), Assignment::default())).collect();
///         if let Some(mut first) = assignments.first_entry() {
///             for (topic, partitions) in cluster.iter() {
///                 let all = partitions.iter().map(|p| TopicPartition::new(topic.clone(), p.partition));
///                 first.get_mut().partitions.extend(all);
///             }
///         }
///         Ok(assignments)
///     }
/// }
///
/// let mut cluster = ClusterTopics::new();
/// cluster.insert_without_racks("flights", 3);
/// let members = ["b", "a"].map(|id| Member { id: id.into(), ..Member::default() });
/// let assignments = FirstTakesAll.assign(&cluster, &members)?;
/// assert_eq!(assignments["a"].partitions.len(), 3);
/// # Ok::<(), ottla_client::Error>(())
/// ```
pub trait Assignor: Debug + Send + Sync {
    /// The name under which the members of a group agree on this assignor: "range".
    fn name(&self) -> &str;

    /// The protocols whose rules [`assign`](Assignor::assign) keeps. Under the cooperative one it must not give a member
    /// a partition that another still owns ([`validate_cooperative`] checks that).
    fn supported_protocols(&self) -> &[RebalanceProtocol] {
        &[RebalanceProtocol::Eager]
    }

    /// What goes into this member's [`Subscription::user_data`] when it joins to read `topics`.
    fn user_data(&self, topics: &[Arc<str>]) -> Option<Bytes> {
        let _ = topics;
        None
    }

    /// The leader's decision: one entry for each of `members`, which come in the order of the JoinGroup response.
    ///
    /// # Errors
    /// No assignment is possible; the leader's rebalance fails with it.
    fn assign(&self, cluster: &ClusterTopics, members: &[Member]) -> Result<BTreeMap<String, Assignment>>;

    /// This member got `assignment` in `generation`.
    fn on_assignment(&self, assignment: &Assignment, generation: i32) {
        let _ = (assignment, generation);
    }

    /// An instance for another consumer, which has not heard of anything yet; each consumer asks for one, so that options
    /// may be used for several. `None` when consumers may share this one, as it remembers nothing.
    fn for_another(&self) -> Option<Arc<dyn Assignor>> {
        None
    }
}

/// The assignors for one more consumer.
pub(crate) fn instances(assignors: &[Arc<dyn Assignor>]) -> Vec<Arc<dyn Assignor>> {
    assignors.iter().map(|assignor| assignor.for_another().unwrap_or_else(|| assignor.clone())).collect()
}

/// A new instance of one of Kafka's assignors, by its name ("range") or by the name of its Java class
/// ("org.apache.kafka.clients.consumer.RangeAssignor"); `None` for any other name.
///
/// ```
/// let assignor = ottla_client::assignor::builtin("org.apache.kafka.clients.consumer.StickyAssignor").unwrap();
/// assert_eq!(assignor.name(), "sticky");
/// ```
pub fn builtin(name: &str) -> Option<Arc<dyn Assignor>> {
    let class = name.strip_prefix("org.apache.kafka.clients.consumer.");
    Some(match class.unwrap_or(name) {
        "range" | "RangeAssignor" => Arc::new(RangeAssignor::new()),
        "roundrobin" | "RoundRobinAssignor" => Arc::new(RoundRobinAssignor::new()),
        "sticky" | "StickyAssignor" => Arc::new(StickyAssignor::new()),
        "cooperative-sticky" | "CooperativeStickyAssignor" => Arc::new(CooperativeStickyAssignor::new()),
        _ => return None,
    })
}

/// New instances for a `partition.assignment.strategy`, in its order. A name that is not Kafka's is looked up in
/// `custom` by [`Assignor::name`].
///
/// # Errors
/// The list is empty, a name is unknown, or two entries have the same name.
pub fn from_config(strategy: &[String], custom: &[Arc<dyn Assignor>]) -> Result<Vec<Arc<dyn Assignor>>> {
    let mut assignors: Vec<Arc<dyn Assignor>> = Vec::new();
    for entry in strategy.iter().map(|entry| entry.trim()) {
        let given = custom.iter().find(|assignor| assignor.name() == entry).cloned();
        let assignor = given.or_else(|| builtin(entry)).ok_or_else(|| {
            let message = format!(
                "partition.assignment.strategy names {entry:?}, which is none of range, roundrobin, sticky and \
                 cooperative-sticky (or their Java classes) and was not given to the consumer either"
            );
            Error::invalid(message)
        })?;
        if assignors.iter().any(|other| other.name() == assignor.name()) {
            let name = assignor.name();
            return Err(Error::invalid(format!("partition.assignment.strategy names the assignor {name:?} twice")));
        }
        assignors.push(assignor);
    }
    if assignors.is_empty() {
        return Err(Error::invalid("partition.assignment.strategy is empty; a group needs at least one assignor"));
    }
    Ok(assignors)
}

/// The most advanced protocol that all of a consumer's assignors support, which is the one it uses (KIP-429).
///
/// # Errors
/// They have none in common.
pub fn rebalance_protocol(assignors: &[Arc<dyn Assignor>]) -> Result<RebalanceProtocol> {
    let mut common: BTreeSet<_> = [RebalanceProtocol::Eager, RebalanceProtocol::Cooperative].into();
    for assignor in assignors {
        common.retain(|protocol| assignor.supported_protocols().contains(protocol));
    }
    common.last().copied().ok_or_else(|| {
        let names: Vec<_> = assignors.iter().map(|assignor| assignor.name()).collect();
        Error::invalid(format!("the assignors {names:?} have no rebalance protocol in common; configure others"))
    })
}

/// Whether `assignments` keep the cooperative protocol's rule: what a member owns goes to another one only in the
/// rebalance after it was given up. The leader asks this of every assignor but `cooperative-sticky`, which knows better:
/// of two members that own the same partition it believes the one with the later generation.
///
/// # Errors
/// Names the partitions that were given away too early.
pub fn validate_cooperative(members: &[Member], assignments: &BTreeMap<String, Assignment>) -> Result<()> {
    let (mut added, mut revoked) = (BTreeSet::new(), BTreeSet::new());
    for member in members {
        let assigned = assignments.get(&member.id).map_or(&[][..], |assignment| &assignment.partitions);
        let assigned: BTreeSet<_> = assigned.iter().collect();
        let owned: BTreeSet<_> = member.subscription.owned_partitions.iter().collect();
        added.extend(assigned.difference(&owned).copied());
        revoked.extend(owned.difference(&assigned).copied());
    }
    let early: Vec<_> = added.intersection(&revoked).map(|partition| partition.to_string()).collect();
    if early.is_empty() {
        return Ok(());
    }
    let message = format!(
        "the assignor supports the cooperative protocol and yet gave away partitions that their owners had not given up \
         before: {}",
        early.join(", ")
    );
    Err(Error::new(ErrorKind::Internal, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strategy(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[derive(Debug)]
    struct Given(&'static str, &'static [RebalanceProtocol]);

    impl Assignor for Given {
        fn name(&self) -> &str {
            self.0
        }

        fn supported_protocols(&self) -> &[RebalanceProtocol] {
            self.1
        }

        fn assign(&self, _: &ClusterTopics, _: &[Member]) -> Result<BTreeMap<String, Assignment>> {
            Ok(BTreeMap::new())
        }
    }

    #[test]
    fn a_strategy_names_kafkas_assignors_by_name_or_class_and_given_ones_by_name() {
        let class = "org.apache.kafka.clients.consumer.CooperativeStickyAssignor";
        let custom: Arc<dyn Assignor> = Arc::new(Given("mine", &[RebalanceProtocol::Eager]));
        let assignors = from_config(&strategy(&["range", class, "mine"]), std::slice::from_ref(&custom)).unwrap();
        let names: Vec<_> = assignors.iter().map(|assignor| assignor.name()).collect();
        assert_eq!(names, ["range", "cooperative-sticky", "mine"]);
        for wrong in [&["theirs"][..], &["sticky", "sticky"], &[class, "cooperative-sticky"], &[]] {
            let error = from_config(&strategy(wrong), &[]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{wrong:?}: {error}");
        }
    }

    #[test]
    fn consumers_with_the_same_options_share_no_history() {
        let options = from_config(&strategy(&["sticky", "cooperative-sticky"]), &[]).unwrap();
        let (first, second) = (instances(&options), instances(&options));
        let before: Vec<_> = second.iter().map(|assignor| assignor.user_data(&[])).collect();
        let assignment = Assignment { partitions: vec![TopicPartition::new("flights", 0)], user_data: None };
        first.iter().for_each(|assignor| assignor.on_assignment(&assignment, 5));
        assert_eq!(second.iter().map(|assignor| assignor.user_data(&[])).collect::<Vec<_>>(), before);
        assert_ne!(first.iter().map(|assignor| assignor.user_data(&[])).collect::<Vec<_>>(), before);
        let names: Vec<_> = first.iter().map(|assignor| assignor.name()).collect();
        assert_eq!(names, ["sticky", "cooperative-sticky"]);
    }

    #[test]
    fn the_protocol_is_the_most_advanced_that_all_support() {
        let of = |names: &[&str]| rebalance_protocol(&from_config(&strategy(names), &[]).unwrap()).unwrap();
        assert_eq!(of(&["range", "cooperative-sticky"]), RebalanceProtocol::Eager);
        assert_eq!(of(&["cooperative-sticky"]), RebalanceProtocol::Cooperative);
        let only: Arc<dyn Assignor> = Arc::new(Given("mine", &[RebalanceProtocol::Cooperative]));
        assert!(rebalance_protocol(&[builtin("range").unwrap(), only]).is_err());
    }

    #[test]
    fn an_owned_partition_may_not_go_to_another_at_once() {
        let owns = |id: &str, owned_partitions: &[TopicPartition]| Member {
            id: id.into(),
            subscription: Subscription { owned_partitions: owned_partitions.to_vec(), ..Subscription::default() },
            ..Member::default()
        };
        let (p0, p1) = (TopicPartition::new("flights", 0), TopicPartition::new("flights", 1));
        let members = [owns("a", &[p0.clone(), p1.clone()]), owns("b", &[])];
        let given = |a: &[&TopicPartition], b: &[&TopicPartition]| {
            let assignment = |partitions: &[&TopicPartition]| Assignment {
                partitions: partitions.iter().map(|partition| (*partition).clone()).collect(),
                user_data: None,
            };
            validate_cooperative(&members, &[("a".into(), assignment(a)), ("b".into(), assignment(b))].into())
        };
        given(&[&p0], &[]).unwrap();
        let error = given(&[&p0], &[&p1]).unwrap_err();
        assert!(error.message().contains("flights-1") && !error.message().contains("flights-0"), "{error}");
    }
}
