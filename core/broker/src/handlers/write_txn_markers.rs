//! WriteTxnMarkers (27): the end of transactions, written into the partitions named. On one broker the coordinator writes
//! its markers itself; what comes here is an admin's AbortTransaction for a transaction that no coordinator knows.
//! v2 names the version of transactions (KIP-1228).

use crate::authorizer::Authorized;
use crate::coordinators::write_marker;
use crate::dispatch::Reply;
use crate::node::Node;
use ottla_coordinator::transaction::ProducerIdEpoch;
use ottla_model::record_batch::control::EndTxnMarker;
use ottla_model::{ErrorCode, TopicPartition};
use ottla_protocol::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use ottla_protocol::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use ottla_protocol::{WriteTxnMarkersRequest, WriteTxnMarkersResponse};
use std::sync::Arc;

pub(crate) async fn handle(
    node: &Arc<Node>,
    request: Authorized<WriteTxnMarkersRequest>,
) -> Reply<WriteTxnMarkersResponse> {
    let markers = request.markers.iter().map(|marker| WritableTxnMarkerResult {
        producer_id: marker.producer_id,
        topics: marker.topics.iter().map(|topic| write(node, marker, topic)).collect(),
        ..Default::default()
    });
    WriteTxnMarkersResponse { markers: markers.collect(), ..Default::default() }.into()
}

fn write(node: &Node, marker: &WritableTxnMarker, topic: &WritableTxnMarkerTopic) -> WritableTxnMarkerTopicResult {
    let name: Arc<str> = (&topic.name).into();
    let end = EndTxnMarker { commit: marker.transaction_result, coordinator_epoch: marker.coordinator_epoch };
    let producer = ProducerIdEpoch { producer_id: marker.producer_id, epoch: marker.producer_epoch };
    let result = |&partition_index: &i32| {
        let written = write_marker(node, end, producer, &TopicPartition::new(name.clone(), partition_index));
        WritableTxnMarkerPartitionResult {
            partition_index,
            error_code: written.err().unwrap_or(ErrorCode::None).code(),
            ..Default::default()
        }
    };
    WritableTxnMarkerTopicResult {
        name: topic.name.clone(),
        partitions: topic.partition_indexes.iter().map(result).collect(),
        ..Default::default()
    }
}
