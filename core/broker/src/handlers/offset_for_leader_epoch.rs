//! OffsetForLeaderEpoch (23): where an epoch ended, so that a client or follower can find out whether its log was cut
//! (KIP-101, KIP-279, KIP-320). v2 is what librdkafka sends; v3 names the asking replica, v4 is flexible.

use crate::authorizer::Authorized;
use crate::dispatch::Reply;
use crate::node::Node;
use ottla_model::ErrorCode;
use ottla_protocol::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use ottla_protocol::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use std::sync::Arc;

pub(crate) async fn handle(
    node: &Arc<Node>,
    request: Authorized<OffsetForLeaderEpochRequest>,
) -> Reply<OffsetForLeaderEpochResponse> {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|wanted| {
            let found = node.partitions.by_name(&topic.topic, wanted.partition).and_then(|partition| {
                partition.check_leader_epoch(wanted.current_leader_epoch)?;
                Ok(partition.log().end_offset_for_epoch(wanted.leader_epoch).unwrap_or((-1, -1)))
            });
            let (error, (leader_epoch, end_offset)) = match found {
                Ok(found) => (ErrorCode::None, found),
                Err(error) => (error, (-1, -1)),
            };
            EpochEndOffset {
                error_code: error.code(),
                partition: wanted.partition,
                leader_epoch,
                end_offset,
                ..Default::default()
            }
        });
        OffsetForLeaderTopicResult {
            topic: topic.topic.clone(),
            partitions: partitions.collect(),
            ..Default::default()
        }
    });
    OffsetForLeaderEpochResponse { topics: topics.collect(), ..Default::default() }.into()
}
