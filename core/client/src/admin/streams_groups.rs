//! Streams groups: applications of Kafka Streams whose coordinator assigns tasks (KIP-1071).

use super::acls::{AclOperation, authorized, coded};
use super::call::{GroupCoordinator, PerKey, check_code, owned, text};
use super::{Admin, GroupState};
use crate::error::{Error, Result};
use ottla_protocol::streams_group_describe_response as wire;
use ottla_protocol::{StreamsGroupDescribeRequest, StreamsGroupDescribeResponse};
use std::collections::{BTreeMap, BTreeSet};

/// A streams group.
#[derive(Debug, Clone)]
pub struct StreamsGroupDescription {
    /// `group.id`, the application's id.
    pub group_id: String,
    /// What it is doing.
    pub state: GroupState,
    /// Counts changes of members and topology.
    pub group_epoch: i32,
    /// The `group_epoch` that the target assignment was computed for.
    pub target_assignment_epoch: i32,
    /// The version of the topology; -1 while the group has none.
    pub topology_epoch: i32,
    /// The parts of its topology.
    pub subtopologies: Vec<StreamsSubtopology>,
    /// Its members.
    pub members: Vec<StreamsMember>,
    /// The coordinator's node id; `None` when it is not among the known brokers.
    pub coordinator: Option<i32>,
    /// What this client may do with it, where that was asked for.
    pub authorized_operations: Option<BTreeSet<AclOperation>>,
    /// The topology with its nodes, where that was asked for and the group has told it.
    pub topology_description: Option<StreamsTopology>,
    /// Whether the topology's description is stored.
    pub topology_description_status: TopologyDescriptionStatus,
    /// The assignor's name; `None` from brokers before 4.4.
    pub assignor_name: Option<String>,
}

/// Whether a streams group's topology can be described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopologyDescriptionStatus {
    /// It was not asked for.
    NotRequested,
    /// The group has not told it.
    NotStored,
    /// It could not be read; the broker's log says why.
    Error,
    /// It is there.
    Available,
    /// One that this client does not know.
    Unknown,
}

/// A part of a topology whose tasks belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamsSubtopology {
    /// Its id.
    pub subtopology_id: String,
    /// The topics that it reads.
    pub source_topics: Vec<String>,
    /// The topics for repartitioning that it writes.
    pub repartition_sink_topics: Vec<String>,
    /// The changelogs of its state stores.
    pub state_changelog_topics: Vec<StreamsTopicInfo>,
    /// The topics for repartitioning that it reads.
    pub repartition_source_topics: Vec<StreamsTopicInfo>,
}

/// A topic that a streams group makes for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamsTopicInfo {
    /// Its name.
    pub name: String,
    /// How many partitions; 0 where the coordinator decides.
    pub partitions: i32,
    /// How many replicas; 0 for the brokers' default.
    pub replication_factor: i16,
    /// Its configs.
    pub configs: BTreeMap<String, String>,
}

/// Tasks by subtopology: the partitions of each.
pub type StreamsTasks = BTreeMap<String, BTreeSet<i32>>;

/// The tasks of a member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamsAssignment {
    /// Those it runs.
    pub active: StreamsTasks,
    /// Those whose state it keeps up to date.
    pub standby: StreamsTasks,
    /// Those whose state it is catching up with before it takes them over.
    pub warmup: StreamsTasks,
}

/// How far a task is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamsTaskOffset {
    /// The subtopology's id.
    pub subtopology_id: String,
    /// The partition.
    pub partition: i32,
    /// The sum of its changelogs' offsets.
    pub offset: i64,
}

/// A member of a streams group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamsMember {
    /// Its id.
    pub member_id: String,
    /// Its epoch.
    pub member_epoch: i32,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<String>,
    /// `client.rack`.
    pub rack_id: Option<String>,
    /// `client.id`.
    pub client_id: String,
    /// The address it is connected from.
    pub host: String,
    /// The version of the topology that it runs.
    pub topology_epoch: i32,
    /// The id of its process; members of one process share it.
    pub process_id: String,
    /// Where interactive queries reach it, host and port.
    pub user_endpoint: Option<(String, u16)>,
    /// Its tags, for rack-aware standbys.
    pub client_tags: BTreeMap<String, String>,
    /// How far its tasks are.
    pub task_offsets: Vec<StreamsTaskOffset>,
    /// How far its tasks could be.
    pub task_end_offsets: Vec<StreamsTaskOffset>,
    /// The tasks it has.
    pub assignment: StreamsAssignment,
    /// The tasks it shall have.
    pub target_assignment: StreamsAssignment,
    /// Whether it speaks the classic protocol, as during a migration.
    pub is_classic: bool,
}

/// A topology with its nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamsTopology {
    /// The nodes of each subtopology, by its id.
    pub subtopologies: BTreeMap<String, Vec<StreamsNode>>,
    /// Sources and processors of global stores.
    pub global_stores: Vec<(StreamsNode, StreamsNode)>,
}

coded! {
    /// What a node of a topology does.
    StreamsNodeType {
        /// Reads topics.
        Source = 1 "SOURCE",
        /// Processes records.
        Processor = 2 "PROCESSOR",
        /// Writes to a topic.
        Sink = 3 "SINK",
    }
}

/// A node of a topology.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamsNode {
    /// Its name.
    pub name: String,
    /// What it does, as the protocol numbers it.
    pub node_type: StreamsNodeType,
    /// The topics a source reads.
    pub source_topics: Vec<String>,
    /// The topic a sink writes.
    pub sink_topic: Option<String>,
    /// The stores a processor uses.
    pub stores: Vec<String>,
    /// The nodes that get its records.
    pub successors: Vec<String>,
}

/// What to tell of streams groups.
#[derive(Debug, Clone, Copy, Default)]
pub struct DescribeStreamsGroupsOptions {
    /// Ask what this client may do with each; false.
    pub include_authorized_operations: bool,
    /// The topology with its nodes; false (Apache Kafka from 4.4).
    pub include_topology_description: bool,
}

impl Admin {
    /// Describes streams groups.
    ///
    /// # Errors
    /// Per group `GROUP_ID_NOT_FOUND`, also when it is no streams group.
    pub async fn describe_streams_groups(
        &self,
        group_ids: &[String],
        options: &DescribeStreamsGroupsOptions,
    ) -> PerKey<String, StreamsGroupDescription> {
        let build = |version: i16, ids: &[String]| {
            if version < 1 && options.include_topology_description {
                return Err(Error::unsupported(format!(
                    "StreamsGroupDescribe {version} has no topology description; that needs version 1 (Apache Kafka 4.4)"
                )));
            }
            Ok(StreamsGroupDescribeRequest {
                group_ids: ids.iter().map(text).collect(),
                include_authorized_operations: options.include_authorized_operations,
                include_topology_description: options.include_topology_description,
                ..Default::default()
            })
        };
        let read = |response: StreamsGroupDescribeResponse, _: &[String]| {
            response.groups.iter().map(|group| (group.group_id.to_string(), described(group))).collect()
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
}

fn described(group: &wire::DescribedGroup) -> Result<StreamsGroupDescription> {
    check_code(group.error_code, &format!("group {}", group.group_id), group.error_message.as_deref())?;
    let subtopologies = group.topology.iter().flat_map(|topology| topology.subtopologies.iter().flatten());
    Ok(StreamsGroupDescription {
        group_id: group.group_id.to_string(),
        state: GroupState::from_name(&group.group_state),
        group_epoch: group.group_epoch,
        target_assignment_epoch: group.assignment_epoch,
        topology_epoch: group.topology.as_ref().map_or(-1, |topology| topology.epoch),
        subtopologies: subtopologies.map(subtopology).collect(),
        members: group.members.iter().map(member).collect(),
        coordinator: None,
        authorized_operations: authorized(group.authorized_operations),
        topology_description: group.topology_description.as_ref().map(topology),
        topology_description_status: status(group.topology_description_status),
        assignor_name: owned(&group.assignor_name),
    })
}

fn status(code: i8) -> TopologyDescriptionStatus {
    match code {
        0 => TopologyDescriptionStatus::NotRequested,
        1 => TopologyDescriptionStatus::NotStored,
        2 => TopologyDescriptionStatus::Error,
        3 => TopologyDescriptionStatus::Available,
        _ => TopologyDescriptionStatus::Unknown,
    }
}

fn strings(texts: &[ottla_model::Str]) -> Vec<String> {
    texts.iter().map(|text| text.to_string()).collect()
}

fn subtopology(part: &wire::Subtopology) -> StreamsSubtopology {
    StreamsSubtopology {
        subtopology_id: part.subtopology_id.to_string(),
        source_topics: strings(&part.source_topics),
        repartition_sink_topics: strings(&part.repartition_sink_topics),
        state_changelog_topics: part.state_changelog_topics.iter().map(topic).collect(),
        repartition_source_topics: part.repartition_source_topics.iter().map(topic).collect(),
    }
}

fn topic(topic: &wire::TopicInfo) -> StreamsTopicInfo {
    StreamsTopicInfo {
        name: topic.name.to_string(),
        partitions: topic.partitions,
        replication_factor: topic.replication_factor,
        configs: pairs(&topic.topic_configs),
    }
}

fn pairs(pairs: &[wire::KeyValue]) -> BTreeMap<String, String> {
    pairs.iter().map(|pair| (pair.key.to_string(), pair.value.to_string())).collect()
}

fn member(member: &wire::Member) -> StreamsMember {
    StreamsMember {
        member_id: member.member_id.to_string(),
        member_epoch: member.member_epoch,
        instance_id: owned(&member.instance_id),
        rack_id: owned(&member.rack_id),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        topology_epoch: member.topology_epoch,
        process_id: member.process_id.to_string(),
        user_endpoint: member.user_endpoint.as_ref().map(|endpoint| (endpoint.host.to_string(), endpoint.port)),
        client_tags: pairs(&member.client_tags),
        task_offsets: offsets(&member.task_offsets),
        task_end_offsets: offsets(&member.task_end_offsets),
        assignment: assignment(&member.assignment),
        target_assignment: assignment(&member.target_assignment),
        is_classic: member.is_classic,
    }
}

fn offsets(offsets: &[wire::TaskOffset]) -> Vec<StreamsTaskOffset> {
    let offset = |task: &wire::TaskOffset| StreamsTaskOffset {
        subtopology_id: task.subtopology_id.to_string(),
        partition: task.partition,
        offset: task.offset,
    };
    offsets.iter().map(offset).collect()
}

fn assignment(assignment: &wire::Assignment) -> StreamsAssignment {
    let tasks = |tasks: &[wire::TaskIds]| -> StreamsTasks {
        tasks.iter().map(|ids| (ids.subtopology_id.to_string(), ids.partitions.iter().copied().collect())).collect()
    };
    StreamsAssignment {
        active: tasks(&assignment.active_tasks),
        standby: tasks(&assignment.standby_tasks),
        warmup: tasks(&assignment.warmup_tasks),
    }
}

fn topology(topology: &wire::TopologyDescription) -> StreamsTopology {
    let parts = topology.subtopologies.iter();
    StreamsTopology {
        subtopologies: parts.map(|p| (p.subtopology_id.to_string(), p.nodes.iter().map(node).collect())).collect(),
        global_stores: topology.global_stores.iter().map(|g| (node(&g.source), node(&g.processor))).collect(),
    }
}

fn node(node: &wire::TopologyDescriptionNode) -> StreamsNode {
    StreamsNode {
        name: node.name.to_string(),
        node_type: StreamsNodeType::from_code(node.node_type),
        source_topics: strings(&node.source_topics),
        sink_topic: owned(&node.sink_topic),
        stores: strings(&node.stores),
        successors: strings(&node.successors),
    }
}
