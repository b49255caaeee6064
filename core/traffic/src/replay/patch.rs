//! Where ids that a broker made up stand in requests, per request: what is listed here is all there is.

use super::ids::Ids;
use crate::bodies::is_sensitive;
use bytes::Bytes;
use ottla_model::record_batch::{ATTRIBUTES_OFFSET, BatchHeader, HEADER_SIZE, verify_crc};
use ottla_model::{Records, crc32c};
use ottla_protocol::*;

/// Config resources of this type are brokers, and of the second their loggers; their names are node ids.
const BROKERS: [i8; 2] = [4, 8];

/// A request that can be replayed.
pub(crate) trait Patch: Request {
    /// Whether [`Patch::patch`] does anything.
    const PATCHED: bool = false;

    /// Puts the ids of the target in the place of those that were recorded.
    fn patch(&mut self, _ids: &Ids) {}

    /// Whether it holds what must not be written down.
    fn has_secrets(&self) -> bool {
        false
    }
}

macro_rules! plain {
    ($($name:ident)*) => { $(impl Patch for $name {})* };
}

macro_rules! patch {
    ($($name:ident |$request:ident, $ids:ident| $body:expr;)*) => {$(
        impl Patch for $name {
            const PATCHED: bool = true;

            fn patch(&mut self, $ids: &Ids) {
                let $request = self;
                $body
            }
        }
    )*};
}

plain! {
    ListOffsetsRequest FindCoordinatorRequest DescribeGroupsRequest ListGroupsRequest SaslHandshakeRequest
    DeleteRecordsRequest OffsetForLeaderEpochRequest DescribeAclsRequest CreateAclsRequest DeleteAclsRequest
    AlterReplicaLogDirsRequest DescribeLogDirsRequest SaslAuthenticateRequest CreatePartitionsRequest
    CreateDelegationTokenRequest RenewDelegationTokenRequest ExpireDelegationTokenRequest DescribeDelegationTokenRequest
    DeleteGroupsRequest ElectLeadersRequest ListPartitionReassignmentsRequest OffsetDeleteRequest DescribeClientQuotasRequest
    AlterClientQuotasRequest DescribeUserScramCredentialsRequest AlterUserScramCredentialsRequest DescribeQuorumRequest
    UpdateFeaturesRequest DescribeClusterRequest DescribeProducersRequest DescribeTransactionsRequest
    ConsumerGroupDescribeRequest GetTelemetrySubscriptionsRequest PushTelemetryRequest ListConfigResourcesRequest
    DescribeTopicPartitionsRequest ShareGroupDescribeRequest AddRaftVoterRequest RemoveRaftVoterRequest
    InitializeShareGroupStateRequest ReadShareGroupStateRequest WriteShareGroupStateRequest DeleteShareGroupStateRequest
    ReadShareGroupStateSummaryRequest StreamsGroupDescribeRequest DescribeShareGroupOffsetsRequest
    AlterShareGroupOffsetsRequest DeleteShareGroupOffsetsRequest StreamsGroupTopologyDescriptionUpdateRequest
    UnregisterControllerRequest
}

patch! {
    ApiVersionsRequest |it, ids| {
        ids.cluster(&mut it.cluster_id);
        ids.node(&mut it.node_id);
    };
    ProduceRequest |it, ids| for topic in &mut it.topic_data {
        ids.topic(&mut topic.topic_id);
        for records in topic.partition_data.iter_mut().filter_map(|data| data.records.as_mut()) {
            if let Some(patched) = patched(records, ids) {
                *records = patched;
            }
        }
    };
    FetchRequest |it, ids| {
        ids.cluster(&mut it.cluster_id);
        ids.fetch_session(&mut it.session_id);
        it.topics.iter_mut().for_each(|topic| ids.topic(&mut topic.topic_id));
        it.forgotten_topics_data.iter_mut().for_each(|topic| ids.topic(&mut topic.topic_id));
    };
    MetadataRequest |it, ids| {
        it.topics.iter_mut().flatten().for_each(|topic| ids.topic(&mut topic.topic_id));
    };
    DeleteTopicsRequest |it, ids| it.topics.iter_mut().for_each(|topic| ids.topic(&mut topic.topic_id));
    OffsetCommitRequest |it, ids| {
        ids.generation(&it.group_id, &mut it.generation_id_or_member_epoch);
        ids.member(&mut it.member_id);
        it.topics.iter_mut().for_each(|topic| ids.topic(&mut topic.topic_id));
    };
    OffsetFetchRequest |it, ids| for group in &mut it.groups {
        ids.generation(&group.group_id, &mut group.member_epoch);
        ids.member_if_any(&mut group.member_id);
        group.topics.iter_mut().flatten().for_each(|topic| ids.topic(&mut topic.topic_id));
    };
    JoinGroupRequest |it, ids| ids.member(&mut it.member_id);
    HeartbeatRequest |it, ids| {
        ids.generation(&it.group_id, &mut it.generation_id);
        ids.member(&mut it.member_id);
    };
    LeaveGroupRequest |it, ids| {
        ids.member(&mut it.member_id);
        it.members.iter_mut().for_each(|member| ids.member(&mut member.member_id));
    };
    SyncGroupRequest |it, ids| {
        ids.generation(&it.group_id, &mut it.generation_id);
        ids.member(&mut it.member_id);
        it.assignments.iter_mut().for_each(|member| ids.member(&mut member.member_id));
    };
    InitProducerIdRequest |it, ids| ids.producer(&mut it.producer_id, &mut it.producer_epoch);
    AddPartitionsToTxnRequest |it, ids| {
        // What the version does not have stays as it is, or it could not be written.
        if it.transactions.is_empty() {
            ids.producer(&mut it.v3_and_below_producer_id, &mut it.v3_and_below_producer_epoch);
        }
        it.transactions.iter_mut().for_each(|it| ids.producer(&mut it.producer_id, &mut it.producer_epoch));
    };
    AddOffsetsToTxnRequest |it, ids| ids.producer(&mut it.producer_id, &mut it.producer_epoch);
    EndTxnRequest |it, ids| ids.producer(&mut it.producer_id, &mut it.producer_epoch);
    WriteTxnMarkersRequest |it, ids| {
        it.markers.iter_mut().for_each(|it| ids.producer(&mut it.producer_id, &mut it.producer_epoch));
    };
    TxnOffsetCommitRequest |it, ids| {
        ids.producer(&mut it.producer_id, &mut it.producer_epoch);
        ids.generation(&it.group_id, &mut it.generation_id_or_member_epoch);
        ids.member(&mut it.member_id);
        it.topics.iter_mut().for_each(|topic| ids.topic(&mut topic.topic_id));
    };
    ListTransactionsRequest |it, ids| it.producer_id_filters.iter_mut().for_each(|id| ids.producer_id(id));
    DescribeConfigsRequest |it, ids| {
        it.resources.iter_mut().for_each(|it| broker_name(it.resource_type, &mut it.resource_name, ids));
    };
    AlterPartitionReassignmentsRequest |it, ids| {
        for partition in it.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            partition.replicas.iter_mut().flatten().for_each(|id| ids.node(id));
        }
    };
    UnregisterBrokerRequest |it, ids| ids.node(&mut it.broker_id);
    ConsumerGroupHeartbeatRequest |it, ids| {
        ids.generation(&it.group_id, &mut it.member_epoch);
        ids.member(&mut it.member_id);
        it.topic_partitions.iter_mut().flatten().for_each(|topic| ids.topic(&mut topic.topic_id));
    };
    ShareGroupHeartbeatRequest |it, ids| {
        ids.generation(&it.group_id, &mut it.member_epoch);
        ids.member(&mut it.member_id);
    };
    StreamsGroupHeartbeatRequest |it, ids| {
        ids.generation(&it.group_id, &mut it.member_epoch);
        ids.member(&mut it.member_id);
    };
    ShareFetchRequest |it, ids| {
        ids.member_if_any(&mut it.member_id);
        it.topics.iter_mut().for_each(|topic| ids.topic(&mut topic.topic_id));
        it.forgotten_topics_data.iter_mut().for_each(|topic| ids.topic(&mut topic.topic_id));
    };
    ShareAcknowledgeRequest |it, ids| {
        ids.member_if_any(&mut it.member_id);
        it.topics.iter_mut().for_each(|topic| ids.topic(&mut topic.topic_id));
    };
}

impl Patch for CreateTopicsRequest {
    const PATCHED: bool = true;

    fn patch(&mut self, ids: &Ids) {
        for assignment in self.topics.iter_mut().flat_map(|topic| &mut topic.assignments) {
            assignment.broker_ids.iter_mut().for_each(|id| ids.node(id));
        }
    }

    fn has_secrets(&self) -> bool {
        let mut configs = self.topics.iter().flat_map(|topic| &topic.configs);
        configs.any(|config| is_sensitive(&config.name))
    }
}

impl Patch for AlterConfigsRequest {
    const PATCHED: bool = true;

    fn patch(&mut self, ids: &Ids) {
        self.resources.iter_mut().for_each(|it| broker_name(it.resource_type, &mut it.resource_name, ids));
    }

    fn has_secrets(&self) -> bool {
        let mut configs = self.resources.iter().flat_map(|resource| &resource.configs);
        configs.any(|config| is_sensitive(&config.name))
    }
}

impl Patch for IncrementalAlterConfigsRequest {
    const PATCHED: bool = true;

    fn patch(&mut self, ids: &Ids) {
        self.resources.iter_mut().for_each(|it| broker_name(it.resource_type, &mut it.resource_name, ids));
    }

    fn has_secrets(&self) -> bool {
        let mut configs = self.resources.iter().flat_map(|resource| &resource.configs);
        configs.any(|config| is_sensitive(&config.name))
    }
}

/// The name of a broker among config resources is its node id.
fn broker_name(resource_type: i8, name: &mut Str, ids: &Ids) {
    if let (true, Ok(mut id)) = (BROKERS.contains(&resource_type), name.parse::<i32>()) {
        ids.node(&mut id);
        *name = id.to_string().as_str().into();
    }
}

/// The batches with the producer that the target knows; `None` where nothing changes. A batch whose checksum is wrong is sent as
/// it was: it was refused, and shall be.
fn patched(records: &Records, ids: &Ids) -> Option<Records> {
    let mut bytes = records.to_bytes().ok()?.to_vec();
    let (mut at, mut changed) = (0, false);
    while let Some(batch) = bytes.get(at..)
        && let Ok(header) = BatchHeader::parse(batch)
    {
        let size = header.size_in_bytes();
        if size < HEADER_SIZE || size > batch.len() {
            break;
        }
        let (mut id, mut epoch) = (header.producer_id, header.producer_epoch);
        ids.producer(&mut id, &mut epoch);
        if (id, epoch) != (header.producer_id, header.producer_epoch) && verify_crc(batch).is_ok() {
            let batch = &mut bytes[at..at + size];
            let header = BatchHeader { producer_id: id, producer_epoch: epoch, ..header };
            batch[..HEADER_SIZE].copy_from_slice(&header.to_bytes());
            let crc = crc32c(&batch[ATTRIBUTES_OFFSET..]);
            batch[..HEADER_SIZE].copy_from_slice(&BatchHeader { crc, ..header }.to_bytes());
            changed = true;
        }
        at += size;
    }
    changed.then(|| Records::from(Bytes::from(bytes)))
}

#[cfg(test)]
mod tests {
    use super::super::ids::Kind;
    use super::*;
    use ottla_model::record_batch::{BatchBuilder, BatchIter, BatchOptions};

    fn batch(producer_id: i64, value: &[u8]) -> Bytes {
        let options = BatchOptions { producer_id, producer_epoch: 2, base_sequence: 5, ..Default::default() };
        let mut builder = BatchBuilder::new(options);
        builder.append(7, None::<&[u8]>, Some(value), &[] as &[(Bytes, Option<Bytes>)]).unwrap();
        builder.into_bytes().unwrap()
    }

    #[test]
    fn producers_in_batches_are_the_targets() {
        let mut ids = Ids::default();
        assert!(ids.pair(Kind::Producer, "9", "4000") && ids.pair(Kind::ProducerEpoch("9".to_owned()), "2", "0"));
        let mut damaged = batch(9, b"damaged").to_vec();
        *damaged.last_mut().unwrap() ^= 1;
        let parts = [batch(9, b"one"), batch(8, b"another's"), batch(9, b"two"), Bytes::from(damaged.clone())];
        let together = Records::from(Bytes::from(parts.concat()));

        let patched = patched(&together, &ids).expect("something changed").to_bytes().unwrap();
        let batches: Vec<_> = BatchIter::new(patched).map(Result::unwrap).collect();
        let producers: Vec<_> = batches.iter().map(|it| (it.header.producer_id, it.header.producer_epoch)).collect();
        assert_eq!(producers, [(4000, 0), (8, 2), (4000, 0), (9, 2)]);
        for batch in &batches[..3] {
            verify_crc(&batch.bytes).unwrap();
            assert_eq!(batch.header.base_sequence, 5);
        }
        assert_eq!(batches[1].bytes, parts[1]);
        assert_eq!(batches[3].bytes, damaged);
    }

    #[test]
    fn bytes_that_are_no_batches_stay() {
        let mut ids = Ids::default();
        ids.pair(Kind::Producer, "9", "4000");
        for bytes in [vec![], vec![1; 30], vec![0xff; 100], batch(9, b"x")[..65].to_vec()] {
            assert!(patched(&Records::from(Bytes::from(bytes)), &ids).is_none());
        }
    }
}
