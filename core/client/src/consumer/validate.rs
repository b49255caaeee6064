//! Whether the log still has what was read (KIP-320). When a partition has a new leader, it is asked where the epoch of
//! the last record that was read ends; an end before the position means that records were lost, and other ones may stand
//! under their offsets.

use super::fetcher::{Ask, arrive};
use super::options::OffsetReset;
use super::position::Place;
use super::{Shared, positioner};
use crate::broker::Connection;
use crate::error::{Error, ErrorKind, Result};
use ottla_model::{ErrorCode, Str, TopicPartition};
use ottla_protocol::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use ottla_protocol::offset_for_leader_epoch_response::OffsetForLeaderEpochResponse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The first version that consumers may use: before it took the permission to act on the cluster.
const VERSION_MIN: i16 = 3;

/// Compares the positions in `wanted` that ask for it with the leader's log. Those that do not fit, or are not known to
/// fit yet, are taken out of `wanted`.
pub(super) async fn validate(
    shared: &Arc<Shared>,
    connection: &Connection,
    wanted: &mut BTreeMap<TopicPartition, Ask>,
) -> Result<()> {
    let version = connection.version::<OffsetForLeaderEpochRequest>();
    let asked: Vec<(TopicPartition, Ask)> =
        wanted.iter().filter(|(_, ask)| ask.validate).map(|(partition, ask)| (partition.clone(), *ask)).collect();
    let version = match version {
        Ok(version) if version >= VERSION_MIN => version,
        _ => {
            asked.iter().for_each(|(partition, ask)| passed(shared, partition, ask));
            return Ok(());
        }
    };
    let mut topics: BTreeMap<&str, Vec<OffsetForLeaderPartition>> = BTreeMap::new();
    for (partition, ask) in &asked {
        topics.entry(&*partition.topic).or_default().push(OffsetForLeaderPartition {
            partition: partition.partition,
            current_leader_epoch: ask.leader_epoch,
            leader_epoch: ask.epoch.unwrap_or(-1),
            ..Default::default()
        });
    }
    let topics = topics.into_iter().map(|(topic, partitions)| OffsetForLeaderTopic {
        topic: Str::from(topic),
        partitions,
        ..Default::default()
    });
    let request = OffsetForLeaderEpochRequest { replica_id: -1, topics: topics.collect(), ..Default::default() };
    let timeout = shared.client.options().request_timeout;
    let response: OffsetForLeaderEpochResponse = connection.request_at(&request, version, timeout).await?;
    for (partition, _) in &asked {
        // Until it is known to fit.
        if let Some(ask) = wanted.remove(partition) {
            let topic = response.topics.iter().find(|topic| *topic.topic == *partition.topic);
            let end = topic.and_then(|topic| topic.partitions.iter().find(|p| p.partition == partition.partition));
            let Some(end) = end else { continue };
            match ErrorCode::from_code(end.error_code) {
                ErrorCode::None if fits(&ask, end.leader_epoch, end.end_offset) => {
                    passed(shared, partition, &ask);
                    wanted.insert(partition.clone(), ask);
                }
                ErrorCode::None => truncated(shared, partition, &ask, end.leader_epoch, end.end_offset),
                code if code.is_retriable() || code.is_metadata_stale() => {
                    return Err(Error::from_code(code, &format!("partition {partition}"), None));
                }
                code => {
                    let error = Error::from_code(code, &format!("partition {partition}"), None);
                    arrive(shared, partition, ask.generation, Err(error));
                }
            }
        }
    }
    Ok(())
}

/// Whether the log that ends `epoch` at `end` holds what was read.
fn fits(ask: &Ask, epoch: i32, end: i64) -> bool {
    epoch >= 0 && end >= 0 && end >= ask.offset
}

fn passed(shared: &Shared, partition: &TopicPartition, ask: &Ask) {
    let mut state = shared.state.lock();
    if let Some(assigned) = state.partitions.get_mut(partition).filter(|a| a.generation == ask.generation) {
        assigned.validated_epoch = ask.leader_epoch;
    }
}

/// The log was cut off: it is the same up to `end`, where `epoch` ends; negative where the leader does not know.
pub(super) fn truncated(shared: &Arc<Shared>, partition: &TopicPartition, ask: &Ask, epoch: i32, end: i64) {
    let known = epoch >= 0 && end >= 0;
    let mut state = shared.state.lock();
    let Some(assigned) = state.partitions.get_mut(partition).filter(|a| a.generation == ask.generation) else { return };
    let Some(position) = assigned.position() else { return };
    let last_read = assigned.epoch;
    if known && end >= position {
        // Only what was fetched ahead is gone.
        let _ = state.go(partition, Place::At(position), last_read);
        if let Some(assigned) = state.partitions.get_mut(partition) {
            assigned.validated_epoch = ask.leader_epoch;
        }
        return;
    }
    tracing::warn!(%partition, position, epoch, end, "the log was cut off before the position");
    match shared.options.offset_reset {
        OffsetReset::None => {
            drop(state);
            let at =
                if known { format!("at offset {end}") } else { "at an offset that its leader does not know".into() };
            let message = format!(
                "partition {partition}: the log was cut off {at} and the position is {}: records that were read are gone \
                 (log truncation); seek to go on",
                ask.offset
            );
            arrive(shared, partition, ask.generation, Err(Error::new(ErrorKind::Data, message)));
        }
        _ if known => {
            let _ = state.go(partition, Place::At(end), Some(epoch));
            if let Some(assigned) = state.partitions.get_mut(partition) {
                assigned.validated_epoch = ask.leader_epoch;
            }
        }
        _ => {
            let _ = state.go(partition, Place::Reset, None);
            drop(state);
            positioner::start(shared);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;
    use crate::consumer::position::What;
    use crate::consumer::{Consumer, ConsumerOptions};
    use crate::options::ClientOptions;
    use ottla_env::Env;

    fn partition() -> TopicPartition {
        TopicPartition::new("t", 0)
    }

    /// A consumer that has read up to offset 10 in epoch 2 and fetched up to 20, and what it asks.
    fn reader(offset_reset: OffsetReset) -> (Consumer, Ask) {
        // Nothing is dialled: an answer is put in by hand.
        let client = Client::new(Env::memory(), ClientOptions::new("127.0.0.1:1")).expect("well formed");
        let consumer = Consumer::new(client, ConsumerOptions { offset_reset, ..ConsumerOptions::default() });
        let mut state = consumer.shared.state.lock();
        state.assign([(partition(), Place::At(0))], false);
        state.go(&partition(), Place::At(10), Some(2)).expect("assigned");
        let assigned = state.partitions.get_mut(&partition()).expect("assigned");
        assigned.fetch_offset = 20;
        let ask = Ask { generation: assigned.generation, offset: 20, leader_epoch: 3, epoch: Some(2), validate: true };
        drop(state);
        (consumer, ask)
    }

    /// Where it goes on: what is handed out next, what is fetched next, the epoch of the record before.
    fn place(consumer: &Consumer) -> (Place, i64, Option<i32>) {
        let state = consumer.shared.state.lock();
        let assigned = &state.partitions[&partition()];
        (assigned.place, assigned.fetch_offset, assigned.epoch)
    }

    #[tokio::test]
    async fn a_log_that_ends_before_the_position_is_read_from_where_it_parts() {
        let (_, ask) = reader(OffsetReset::Latest);
        assert!(fits(&ask, 2, 20) && !fits(&ask, 2, 19) && !fits(&ask, -1, -1));

        let (consumer, ask) = reader(OffsetReset::Latest);
        truncated(&consumer.shared, &partition(), &ask, 1, 7);
        assert_eq!(place(&consumer), (Place::At(7), 7, Some(1)));
        // An answer to what was asked before says nothing any more.
        truncated(&consumer.shared, &partition(), &ask, 1, 3);
        assert_eq!(place(&consumer).0, Place::At(7));

        let (consumer, ask) = reader(OffsetReset::Latest);
        truncated(&consumer.shared, &partition(), &ask, 2, 15);
        assert_eq!(place(&consumer), (Place::At(10), 10, Some(2)), "only what was fetched ahead is fetched again");

        let (consumer, ask) = reader(OffsetReset::Earliest);
        truncated(&consumer.shared, &partition(), &ask, -1, -1);
        assert_eq!(place(&consumer).0, Place::Reset, "where they part is not known");
    }

    #[tokio::test]
    async fn without_a_reset_policy_a_truncation_is_told() {
        let (consumer, ask) = reader(OffsetReset::None);
        truncated(&consumer.shared, &partition(), &ask, 1, 7);
        assert_eq!(place(&consumer).0, Place::At(10), "until somebody seeks");
        let mut state = consumer.shared.state.lock();
        let Some(What::Failed(error)) = state.take().map(|arrived| arrived.what) else { panic!("nothing is told") };
        assert_eq!(error.kind(), ErrorKind::Data);
        assert!(error.message().contains("offset 7") && error.message().contains("truncation"), "{error}");
    }
}
