//! A shard with its log and its clock: does what a broker does, in one thread. Every record goes through its bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla_coordinator::Ticket;
use ottla_coordinator::group::{CoordinatorRecord, Event, GroupConfig, GroupShard, JoinContext, Now, Reply, Step};
use ottla_protocol::join_group_request::JoinGroupRequestProtocol;
use ottla_protocol::leave_group_request::MemberIdentity;
use ottla_protocol::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use ottla_protocol::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use ottla_protocol::sync_group_request::SyncGroupRequestAssignment;
use ottla_protocol::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, OffsetCommitRequest,
    SyncGroupRequest, SyncGroupResponse,
};

pub const GROUP: &str = "g";

pub struct Harness {
    pub shard: GroupShard,
    pub config: GroupConfig,
    pub now_ms: i64,
    pub log: Vec<(Bytes, Option<Bytes>)>,
    pub replies: BTreeMap<Ticket, Reply>,
    next_ticket: u64,
}

/// A join request in the making.
#[derive(Clone)]
pub struct Member {
    pub version: i16,
    pub id: String,
    pub instance: Option<String>,
    pub protocol_type: String,
    pub protocols: Vec<(String, Bytes)>,
    pub session_ms: i32,
    pub rebalance_ms: i32,
}

impl Member {
    /// A dynamic member of the newest version, without an id yet.
    pub fn new() -> Self {
        Self {
            version: 9,
            id: String::new(),
            instance: None,
            protocol_type: "consumer".into(),
            protocols: vec![("range".into(), subscription(&["t"])), ("sticky".into(), subscription(&["t"]))],
            session_ms: 10_000,
            rebalance_ms: 60_000,
        }
    }

    pub fn fixed(instance: &str) -> Self {
        Self { instance: Some(instance.into()), ..Self::new() }
    }

    pub fn version(self, version: i16) -> Self {
        Self { version, ..self }
    }

    pub fn id(&self, id: &str) -> Self {
        Self { id: id.into(), ..self.clone() }
    }

    pub fn protocols(self, names: &[&str]) -> Self {
        let protocols = names.iter().map(|name| (name.to_string(), subscription(&["t"]))).collect();
        Self { protocols, ..self }
    }
}

/// Two clocks that do not start together.
fn at(ms: i64) -> Now {
    Now { steady_ms: ms, wall_ms: ms + 1_000_000 }
}

/// A ConsumerProtocolSubscription v1.
pub fn subscription(topics: &[&str]) -> Bytes {
    let mut bytes = vec![0, 1];
    bytes.extend((topics.len() as i32).to_be_bytes());
    for topic in topics {
        bytes.extend((topic.len() as i16).to_be_bytes());
        bytes.extend(topic.as_bytes());
    }
    bytes.extend([0xff; 4]);
    bytes.extend([0; 4]);
    bytes.into()
}

impl Harness {
    pub fn new() -> Self {
        Self::with(GroupConfig::default())
    }

    pub fn with(config: GroupConfig) -> Self {
        let mut shard = GroupShard::new(config.clone());
        assert!(shard.loaded(at(0)).records.is_empty());
        Self { shard, config, now_ms: 0, log: Vec::new(), replies: BTreeMap::new(), next_ticket: 0 }
    }

    pub fn now(&self) -> Now {
        at(self.now_ms)
    }

    pub fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    pub fn event(&mut self, event: Event) {
        let step = self.shard.step(self.now(), event);
        self.apply(step);
    }

    pub fn apply(&mut self, step: Step) {
        for record in &step.records {
            let (key, value) = record.encode().unwrap();
            let record = CoordinatorRecord::decode(Some(&key), value.as_ref()).unwrap();
            self.shard.replay(self.log.len() as i64, -1, &record);
            self.log.push((key, value));
        }
        for (ticket, reply) in step.replies {
            assert!(self.replies.insert(ticket, reply).is_none(), "{ticket:?} was answered twice");
        }
    }

    /// Lets time pass, deadline by deadline.
    pub fn advance(&mut self, ms: i64) {
        let end = self.now_ms + ms;
        while let Some(deadline) = self.shard.next_deadline().filter(|deadline| *deadline <= end) {
            self.now_ms = deadline.max(self.now_ms);
            self.event(Event::Tick);
        }
        self.now_ms = end;
    }

    /// A new broker on the same log.
    pub fn restart(&mut self) {
        let config = self.config.clone();
        let old = std::mem::replace(&mut self.shard, GroupShard::new(config));
        for (ticket, reply) in old.unload() {
            assert!(self.replies.insert(ticket, reply).is_none(), "{ticket:?} was answered twice");
        }
        for (offset, (key, value)) in self.log.iter().enumerate() {
            let record = CoordinatorRecord::decode(Some(key), value.as_ref()).unwrap();
            self.shard.replay(offset as i64, -1, &record);
        }
        let step = self.shard.loaded(self.now());
        self.apply(step);
    }

    pub fn join(&mut self, member: &Member) -> Ticket {
        self.join_group(GROUP, member)
    }

    pub fn join_group(&mut self, group: &str, member: &Member) -> Ticket {
        let ticket = self.ticket();
        let protocol = |(name, metadata): &(String, Bytes)| JoinGroupRequestProtocol {
            name: name.into(),
            metadata: metadata.clone(),
            ..Default::default()
        };
        let request = JoinGroupRequest {
            group_id: group.into(),
            session_timeout_ms: member.session_ms,
            rebalance_timeout_ms: member.rebalance_ms,
            member_id: (&member.id).into(),
            group_instance_id: member.instance.as_ref().map(Into::into),
            protocol_type: (&member.protocol_type).into(),
            protocols: member.protocols.iter().map(protocol).collect(),
            ..Default::default()
        };
        let context = JoinContext {
            api_version: member.version,
            client_id: "client".into(),
            client_host: "/127.0.0.1".into(),
            random: u128::from(ticket.0),
        };
        self.event(Event::JoinGroup { ticket, context, request });
        ticket
    }

    /// Joins, and comes back with the id if asked to; returns the ticket that is still open, and the id.
    pub fn join_twice(&mut self, member: &Member) -> (Ticket, String) {
        let first = self.join(member);
        let id = self.join_error(first, 79);
        (self.join(&member.id(&id)), id)
    }

    pub fn sync(&mut self, member: &str, generation: i32, assignments: &[(&str, &str)]) -> Ticket {
        let ticket = self.ticket();
        let assignment = |(member, assignment): &(&str, &str)| SyncGroupRequestAssignment {
            member_id: (*member).into(),
            assignment: Bytes::copy_from_slice(assignment.as_bytes()),
            ..Default::default()
        };
        let request = SyncGroupRequest {
            group_id: GROUP.into(),
            generation_id: generation,
            member_id: member.into(),
            assignments: assignments.iter().map(assignment).collect(),
            ..Default::default()
        };
        self.event(Event::SyncGroup { ticket, request });
        ticket
    }

    pub fn heartbeat(&mut self, member: &str, generation: i32) -> i16 {
        self.heartbeat_as(member, None, generation)
    }

    pub fn heartbeat_as(&mut self, member: &str, instance: Option<&str>, generation: i32) -> i16 {
        let ticket = self.ticket();
        let request = HeartbeatRequest {
            group_id: GROUP.into(),
            member_id: member.into(),
            group_instance_id: instance.map(Into::into),
            generation_id: generation,
            ..Default::default()
        };
        self.event(Event::Heartbeat { ticket, request });
        match self.reply(ticket) {
            Reply::Heartbeat(reply) => reply.error_code,
            other => panic!("{other:?}"),
        }
    }

    pub fn leave(&mut self, members: &[(&str, Option<&str>)]) -> LeaveGroupResponse {
        let ticket = self.ticket();
        let member = |(member, instance): &(&str, Option<&str>)| MemberIdentity {
            member_id: (*member).into(),
            group_instance_id: instance.map(Into::into),
            ..Default::default()
        };
        let request = LeaveGroupRequest {
            group_id: GROUP.into(),
            members: members.iter().map(member).collect(),
            ..Default::default()
        };
        self.event(Event::LeaveGroup { ticket, api_version: 5, request });
        match self.reply(ticket) {
            Reply::Leave(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    /// Commits `topic` partition 0; the partition's error.
    pub fn commit(&mut self, group: &str, member: &str, generation: i32, topic: &str, offset: i64) -> i16 {
        let partition = OffsetCommitRequestPartition {
            committed_offset: offset,
            committed_metadata: Some("m".into()),
            ..Default::default()
        };
        let request = OffsetCommitRequest {
            group_id: group.into(),
            member_id: member.into(),
            generation_id_or_member_epoch: generation,
            topics: vec![OffsetCommitRequestTopic {
                name: topic.into(),
                partitions: vec![partition],
                ..Default::default()
            }],
            ..Default::default()
        };
        self.commit_request(9, request)[0]
    }

    pub fn commit_request(&mut self, api_version: i16, request: OffsetCommitRequest) -> Vec<i16> {
        let ticket = self.ticket();
        self.event(Event::OffsetCommit { ticket, api_version, request });
        match self.reply(ticket) {
            Reply::OffsetCommit(reply) => (reply.topics.iter())
                .flat_map(|topic| &topic.partitions)
                .map(|partition| partition.error_code)
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    /// The committed offset of partition 0, -1 for none.
    pub fn fetch(&self, group: &str, topic: &str) -> i64 {
        let topics =
            vec![OffsetFetchRequestTopics { name: topic.into(), partition_indexes: vec![0], ..Default::default() }];
        let request = OffsetFetchRequestGroup { group_id: group.into(), topics: Some(topics), ..Default::default() };
        self.shard.fetch_offsets(&request, false).topics[0].partitions[0].committed_offset
    }

    pub fn reply(&mut self, ticket: Ticket) -> Reply {
        self.replies.remove(&ticket).unwrap_or_else(|| panic!("{ticket:?} has no reply"))
    }

    pub fn is_parked(&self, ticket: Ticket) -> bool {
        !self.replies.contains_key(&ticket)
    }

    pub fn joined(&mut self, ticket: Ticket) -> JoinGroupResponse {
        match self.reply(ticket) {
            Reply::Join(reply) if reply.error_code == 0 => reply,
            other => panic!("{other:?}"),
        }
    }

    /// Expects this error; returns the member id beside it.
    pub fn join_error(&mut self, ticket: Ticket, error: i16) -> String {
        match self.reply(ticket) {
            Reply::Join(reply) if reply.error_code == error => reply.member_id.to_string(),
            other => panic!("{other:?}"),
        }
    }

    pub fn synced(&mut self, ticket: Ticket) -> SyncGroupResponse {
        match self.reply(ticket) {
            Reply::Sync(reply) if reply.error_code == 0 => reply,
            other => panic!("{other:?}"),
        }
    }

    pub fn sync_error(&mut self, ticket: Ticket) -> i16 {
        match self.reply(ticket) {
            Reply::Sync(reply) => reply.error_code,
            other => panic!("{other:?}"),
        }
    }

    pub fn state(&self) -> String {
        self.shard.describe_group(&GROUP.into(), 5).group_state.to_string()
    }

    /// A stable group of `count` dynamic members, the leader first, and its generation.
    pub fn stable(&mut self, count: usize) -> (Vec<String>, i32) {
        let joins: Vec<_> = (0..count).map(|_| self.join_twice(&Member::new())).collect();
        self.advance(10_000);
        let replies: Vec<_> = joins.iter().map(|(ticket, _)| self.joined(*ticket)).collect();
        let leader = replies[0].leader.to_string();
        let generation = replies[0].generation_id;
        let mut ids: Vec<_> = joins.into_iter().map(|(_, id)| id).collect();
        ids.sort_by_key(|id| *id != leader);
        let followers: Vec<_> = ids[1..].iter().map(|id| self.sync(id, generation, &[])).collect();
        let assignments: Vec<_> = ids.iter().map(|id| (&**id, &**id)).collect();
        let sync = self.sync(&leader, generation, &assignments);
        for ticket in followers.into_iter().chain([sync]) {
            self.synced(ticket);
        }
        assert_eq!(self.state(), "Stable");
        (ids, generation)
    }
}
