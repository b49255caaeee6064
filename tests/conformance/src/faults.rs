//! Schedules of faults that a client must ride out with the same result: a seed decides what goes wrong and how often.
//!
//! Only what Kafka calls retriable, and only where trying again is safe: the answer to CreateTopics may not be lost, as
//! the second try would truly find the topic there, and that to JoinGroup may not, as the member it made would have to
//! time out first. These can still fail, be slow, or meet a closed connection before they are executed.

use ottla::faults::{ApiKey, ErrorCode, FaultError, Faults, LostAnswer};
use std::time::Duration;

/// A generator with a seed (splitmix64).
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// The APIs that faults strike, with the errors that a client has to ride out there.
const APIS: &[(ApiKey, &[ErrorCode])] = &[
    (
        ApiKey::Produce,
        &[
            ErrorCode::NotLeaderOrFollower,
            ErrorCode::NotEnoughReplicas,
            ErrorCode::RequestTimedOut,
            ErrorCode::UnknownTopicOrPartition,
            ErrorCode::NetworkException,
        ],
    ),
    (
        ApiKey::Fetch,
        &[ErrorCode::NotLeaderOrFollower, ErrorCode::UnknownTopicOrPartition, ErrorCode::KafkaStorageError],
    ),
    (
        ApiKey::ListOffsets,
        &[ErrorCode::NotLeaderOrFollower, ErrorCode::LeaderNotAvailable, ErrorCode::OffsetNotAvailable],
    ),
    (ApiKey::Metadata, &[ErrorCode::LeaderNotAvailable]),
    (ApiKey::FindCoordinator, &[ErrorCode::CoordinatorNotAvailable]),
    (ApiKey::JoinGroup, &[ErrorCode::NotCoordinator, ErrorCode::CoordinatorLoadInProgress]),
    (ApiKey::SyncGroup, &[ErrorCode::NotCoordinator]),
    (ApiKey::Heartbeat, &[ErrorCode::NotCoordinator, ErrorCode::CoordinatorNotAvailable]),
    (ApiKey::LeaveGroup, &[ErrorCode::NotCoordinator, ErrorCode::CoordinatorNotAvailable]),
    (ApiKey::OffsetCommit, &[ErrorCode::NotCoordinator, ErrorCode::CoordinatorLoadInProgress]),
    (ApiKey::OffsetFetch, &[ErrorCode::NotCoordinator, ErrorCode::CoordinatorLoadInProgress]),
    (ApiKey::InitProducerId, &[ErrorCode::CoordinatorLoadInProgress, ErrorCode::NotCoordinator]),
    (ApiKey::AddPartitionsToTxn, &[ErrorCode::ConcurrentTransactions, ErrorCode::NotCoordinator]),
    (ApiKey::AddOffsetsToTxn, &[ErrorCode::ConcurrentTransactions, ErrorCode::NotCoordinator]),
    (ApiKey::TxnOffsetCommit, &[ErrorCode::CoordinatorLoadInProgress, ErrorCode::NotCoordinator]),
    (ApiKey::EndTxn, &[ErrorCode::ConcurrentTransactions, ErrorCode::CoordinatorNotAvailable]),
    (ApiKey::CreateTopics, &[ErrorCode::NotController]),
    (ApiKey::DescribeConfigs, &[]),
];

/// Of these the answer may get lost: asking again gives the same.
const REPEATABLE: &[ApiKey] = &[
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::Metadata,
    ApiKey::FindCoordinator,
    ApiKey::SyncGroup,
    ApiKey::Heartbeat,
    ApiKey::LeaveGroup,
    ApiKey::OffsetCommit,
    ApiKey::OffsetFetch,
    ApiKey::InitProducerId,
    ApiKey::DescribeConfigs,
];

/// Sets the schedule of `seed` for the scenario `name`: each API has something go wrong with some of its requests, a few
/// times in all.
pub fn schedule(faults: &Faults, seed: u64, name: &str) -> Result<(), FaultError> {
    let mut dice = Dice(name.bytes().fold(seed, |hash, byte| hash.wrapping_mul(0x100_0000_01b3) ^ u64::from(byte)));
    for (api, errors) in APIS {
        for _ in 0..1 + dice.below(2) {
            let chance = (5 + dice.below(40)) as f64 / 100.0;
            let fault = faults.on(*api).probability(chance, dice.next()).times(1 + dice.below(4));
            match dice.below(4) {
                0 => fault.delay(Duration::from_millis(1 + dice.below(80))).map(drop)?,
                1 if REPEATABLE.contains(api) => fault.lose_answer(LostAnswer::Close).map(drop)?,
                2 if !errors.is_empty() => fault.error(dice.pick(errors)).map(drop)?,
                _ => fault.disconnect().map(drop)?,
            }
        }
    }
    // One connection falls silent: only the request's time limit ends that.
    if dice.below(2) == 0 {
        let api = dice.pick(REPEATABLE);
        faults.on(api).after(dice.below(5)).times(1).lose_answer(LostAnswer::Silence)?;
    }
    Ok(())
}

/// Configs of clients under faults: what they wait for is short.
pub const CONFIGS: [(&str, &str); 4] = [
    ("request.timeout.ms", "2000"),
    ("retry.backoff.ms", "20"),
    ("retry.backoff.max.ms", "200"),
    ("reconnect.backoff.max.ms", "200"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_seed_makes_a_schedule_that_can_strike() {
        let broker = ottla::Broker::builder().start().await.unwrap();
        for seed in 0..200 {
            schedule(&broker.faults(), seed, "produce/x").unwrap();
            broker.faults().clear();
        }
        broker.close().await.unwrap();
    }
}
