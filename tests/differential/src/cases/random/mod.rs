//! A seeded random script over a few topics and groups. Both brokers are asked the same: every choice comes from the seed,
//! and what is remembered of the answers is the same on both sides as long as they agree.

mod transactional;

use crate::ask::{creatable, create, fetch, from, pause, produce, topic};
use crate::cases::group_offsets::fetching;
use crate::records::{EPOCH_MS, batch_at, sequenced};
use crate::side::Side;
use crate::transact::initialising;
use ottla_model::record_batch::BatchOptions;
use ottla_model::{Compression, Uuid};
use ottla_protocol::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use ottla_protocol::fetch_request::FetchPartition;
use ottla_protocol::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use ottla_protocol::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use ottla_protocol::*;
use transactional::Transactional;

/// SplitMix64: small, and the same on every machine.
pub struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }

    fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    fn version<R: Request>(&mut self) -> i16 {
        let (lowest, highest) = R::API_KEY.versions();
        lowest + self.below((highest - lowest + 1) as usize) as i16
    }
}

struct Producer {
    id: i64,
    epoch: i16,
    sequence: i32,
}

/// Plays `steps` steps.
pub async fn play(side: &mut Side, seed: u64, steps: usize) {
    let mut dice = Dice(seed);
    let configs: [&[(&str, &str)]; 4] = [
        &[("segment.bytes", "1048576")],
        &[("compression.type", "uncompressed")],
        &[("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "1")],
        &[("message.timestamp.type", "CreateTime"), ("max.message.bytes", "600")],
    ];
    let mut topics: Vec<(String, Uuid)> = Vec::new();
    for (at, configs) in configs.iter().enumerate() {
        topics.push(topic(side, &format!("t{at}"), 2, configs).await);
    }
    topics.push((side.name("unknown"), Uuid([3; 16])));
    let group = crate::cases::groups::found(side, "g").await;
    let mut producers: Vec<Producer> = Vec::new();
    let new = initialising(None, 1000, -1, -1);
    for _ in 0..3 {
        producers.push(Producer { id: side.quiet(4, &new).await.producer_id, epoch: 0, sequence: 0 });
    }
    let mut transactional = Vec::new();
    for name in ["x", "y", "z"] {
        transactional.push(Transactional::new(side, name).await);
    }
    let mut made = 0;
    for step in 0..steps {
        let topic = topics[dice.below(topics.len())].clone();
        let partition = *dice.of(&[0, 0, 0, 1, 1, 2]);
        match dice.below(24) {
            0..=2 => {
                let version = dice.version::<ProduceRequest>();
                let compression = *dice.of(&[
                    Compression::None,
                    Compression::Gzip,
                    Compression::Snappy,
                    Compression::Lz4,
                    Compression::Zstd,
                ]);
                let size = *dice.of(&[1, 10, 200, 900]);
                let text = "v".repeat(size);
                let values = vec![text.as_str(); 1 + dice.below(4)];
                let at = EPOCH_MS + dice.below(1000) as i64;
                let records = batch_at(BatchOptions { compression, ..Default::default() }, at, &values);
                side.ask(
                    &format!("{step} {compression:?} {} of {size}", values.len()),
                    version,
                    &produce(&topic, partition, Some(records)),
                )
                .await;
            }
            3..=4 => {
                let version = dice.version::<ProduceRequest>();
                let which = dice.below(producers.len());
                let values = vec!["s"; 1 + dice.below(3)];
                let slip = *dice.of(&[0, 0, 0, 0, 0, 1, -1, -2]);
                let producer = &mut producers[which];
                if dice.below(12) == 0 {
                    (producer.epoch, producer.sequence) = (producer.epoch + 1, 0);
                }
                let sequence = (producer.sequence + slip).max(0);
                let records = sequenced(producer.id, producer.epoch, sequence, &values);
                let label = format!("{step} producer {which} epoch {} sequence {sequence}", producer.epoch);
                let done = side.ask(&label, version, &produce(&topic, 0, Some(records))).await;
                let ok = done.responses.first().is_some_and(|topic| topic.partition_responses[0].error_code == 0);
                if ok && slip == 0 {
                    producers[which].sequence += values.len() as i32;
                }
            }
            5..=7 => {
                let version = dice.version::<FetchRequest>();
                let offset = dice.below(60) as i64 - 1;
                let bytes = *dice.of(&[1, 100, 500, 5_000, 1 << 20]);
                let partitions =
                    vec![FetchPartition { partition_max_bytes: bytes, ..from(partition, offset) }, from(1, offset / 2)];
                let partitions = if partition == 1 { partitions[..1].to_vec() } else { partitions };
                let max_bytes = *dice.of(&[1, 300, 3_000, 1 << 20]);
                let request =
                    FetchRequest { max_bytes, isolation_level: dice.below(2) as i8, ..fetch(&topic, partitions) };
                side.ask(
                    &format!("{step} {} {partition} at {offset} limits {bytes} {max_bytes}", topic.0),
                    version,
                    &request,
                )
                .await;
            }
            8 => {
                let version = dice.version::<ListOffsetsRequest>();
                let timestamp = *dice.of(&[-1, -2, -3, EPOCH_MS, EPOCH_MS + 300, EPOCH_MS + 700, EPOCH_MS + 5_000]);
                let wanted = ListOffsetsPartition { partition_index: partition, timestamp, ..Default::default() };
                let wanted =
                    ListOffsetsTopic { name: topic.0.as_str().into(), partitions: vec![wanted], ..Default::default() };
                let request = ListOffsetsRequest { replica_id: -1, topics: vec![wanted], ..Default::default() };
                side.ask(&format!("{step} at {timestamp}"), version, &request).await;
            }
            9 => {
                let version = dice.version::<DeleteRecordsRequest>();
                let offset = dice.below(20) as i64 - 2;
                let cut = DeleteRecordsPartition { partition_index: partition, offset, ..Default::default() };
                let cut =
                    DeleteRecordsTopic { name: topic.0.as_str().into(), partitions: vec![cut], ..Default::default() };
                let request = DeleteRecordsRequest { topics: vec![cut], timeout_ms: 1_000, ..Default::default() };
                side.ask(&format!("{step} {} to {offset}", topic.0), version, &request).await;
            }
            10 => {
                let version = dice.version::<OffsetCommitRequest>();
                let offset = dice.below(100) as i64;
                let partitions = vec![OffsetCommitRequestPartition {
                    partition_index: partition,
                    committed_offset: offset,
                    ..Default::default()
                }];
                let wanted = OffsetCommitRequestTopic {
                    name: topic.0.as_str().into(),
                    topic_id: topic.1,
                    partitions,
                    ..Default::default()
                };
                let request = OffsetCommitRequest {
                    group_id: group.as_str().into(),
                    generation_id_or_member_epoch: -1,
                    topics: vec![wanted],
                    ..Default::default()
                };
                side.ask(&format!("{step} {offset}"), version, &request).await;
                let version = dice.version::<OffsetFetchRequest>().max(2);
                side.ask(&format!("{step} all"), version, &fetching(version, &group, None)).await;
            }
            11 => {
                made += 1;
                let name = side.name(&format!("made{made}"));
                let partitions = dice.below(4) as i32 - 1;
                side.ask(&format!("{step} {partitions}"), 7, &create(vec![creatable(&name, partitions, 1)])).await;
                pause(side).await;
            }
            _ => {
                let which = dice.below(transactional.len());
                let of = &mut transactional[which];
                transactional::play(side, &mut dice, step, which, of, (&topic, partition), &group).await;
            }
        }
    }
}
