//! What goes into a shard and what comes out: events, records, replies.

use std::sync::Arc;

use ottla_model::ErrorCode;
use ottla_protocol::delete_groups_response::DeletableGroupResult;
use ottla_protocol::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse, Str, SyncGroupRequest,
    SyncGroupResponse, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};

use super::records::CoordinatorRecord;
use crate::Ticket;

/// The time at which something happens, by two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of a clock that never jumps, from any start; sessions and rebalances are measured by it.
    pub steady_ms: i64,
    /// Milliseconds since 1970, which may jump: what is written into records, and what offsets expire by.
    pub wall_ms: i64,
}

/// Who joins, beyond what the request says.
#[derive(Clone, Debug)]
pub struct JoinContext {
    pub api_version: i16,
    /// The client id of the request header; empty when there is none.
    pub client_id: Arc<str>,
    /// As Kafka prints an address: `/127.0.0.1`.
    pub client_host: Arc<str>,
    /// 128 random bits: the tail of the member id, should one be needed.
    pub random: u128,
}

/// Something that happened to a shard.
#[derive(Debug)]
pub enum Event {
    JoinGroup {
        ticket: Ticket,
        context: JoinContext,
        request: JoinGroupRequest,
    },
    SyncGroup {
        ticket: Ticket,
        request: SyncGroupRequest,
    },
    Heartbeat {
        ticket: Ticket,
        request: HeartbeatRequest,
    },
    LeaveGroup {
        ticket: Ticket,
        api_version: i16,
        request: LeaveGroupRequest,
    },
    /// The topics carry their names, also where the request had ids (v10): the caller resolves them and answers the
    /// partitions that do not exist itself.
    OffsetCommit {
        ticket: Ticket,
        api_version: i16,
        request: OffsetCommitRequest,
    },
    /// Offsets that count once the producer's transaction is committed (KIP-98). Topics as in [`Event::OffsetCommit`];
    /// that the transaction is open, and this partition part of it, is the caller's to know.
    TxnOffsetCommit {
        ticket: Ticket,
        request: TxnOffsetCommitRequest,
    },
    OffsetDelete {
        ticket: Ticket,
        request: OffsetDeleteRequest,
    },
    DeleteGroups {
        ticket: Ticket,
        groups: Vec<Str>,
    },
    /// No member of any group will come back: all groups become empty, their offsets stay.
    MembersGone,
    /// The group is to rebalance although nothing has changed; ignored where it has no generation.
    Rebalance(Arc<str>),
    /// This topic exists no more; its offsets go with it.
    TopicDeleted(Arc<str>),
    /// Time has passed: see [`GroupShard::next_deadline`](super::GroupShard::next_deadline).
    Tick,
}

/// The answer to one ticket.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Join(JoinGroupResponse),
    Sync(SyncGroupResponse),
    Heartbeat(HeartbeatResponse),
    Leave(LeaveGroupResponse),
    OffsetCommit(OffsetCommitResponse),
    TxnOffsetCommit(TxnOffsetCommitResponse),
    OffsetDelete(OffsetDeleteResponse),
    DeleteGroups(Vec<DeletableGroupResult>),
}

/// What one event asks of the caller: append `records` in one batch, replay them, then release `replies`.
///
/// If the append fails, hand the step to [`GroupShard::fail`](super::GroupShard::fail) instead.
#[derive(Debug, Default)]
#[must_use]
pub struct Step {
    pub records: Vec<CoordinatorRecord>,
    /// The producer id and epoch of the transactional batch that the records go into; `None` for a plain one.
    pub producer: Option<(i64, i16)>,
    pub replies: Vec<(Ticket, Reply)>,
}

impl Reply {
    /// The same reply, as an error.
    #[must_use]
    pub fn into_error(self, error: ErrorCode) -> Self {
        match self {
            Self::Join(reply) => Self::Join(join_error(&reply.member_id, error)),
            Self::Sync(_) => Self::Sync(sync_error(error)),
            Self::Heartbeat(_) => Self::Heartbeat(HeartbeatResponse { error_code: error.code(), ..Default::default() }),
            Self::Leave(_) => Self::Leave(LeaveGroupResponse { error_code: error.code(), ..Default::default() }),
            Self::OffsetCommit(mut reply) => {
                for partition in reply.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
                    partition.error_code = error.code();
                }
                Self::OffsetCommit(reply)
            }
            Self::TxnOffsetCommit(mut reply) => {
                for partition in reply.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
                    partition.error_code = error.code();
                }
                Self::TxnOffsetCommit(reply)
            }
            Self::OffsetDelete(_) => {
                Self::OffsetDelete(OffsetDeleteResponse { error_code: error.code(), ..Default::default() })
            }
            Self::DeleteGroups(mut results) => {
                for result in &mut results {
                    result.error_code = error.code();
                }
                Self::DeleteGroups(results)
            }
        }
    }
}

/// What a group client is told when the append of its records failed with `error`.
pub fn append_error(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UnknownTopicOrPartition | ErrorCode::NotEnoughReplicas | ErrorCode::RequestTimedOut => {
            ErrorCode::CoordinatorNotAvailable
        }
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge | ErrorCode::InvalidFetchSize => {
            ErrorCode::UnknownServerError
        }
        other => other,
    }
}

pub(crate) fn join_error(member_id: &str, error: ErrorCode) -> JoinGroupResponse {
    JoinGroupResponse { error_code: error.code(), member_id: member_id.into(), ..Default::default() }
}

pub(crate) fn sync_error(error: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse { error_code: error.code(), ..Default::default() }
}
