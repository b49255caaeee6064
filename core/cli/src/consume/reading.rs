//! The loop of `ottla consume`: poll, filter, print, commit, until something ends it.

use super::ends::Ends;
use super::{ConsumeArgs, Start};
use crate::error::CliError;
use crate::output;
use ottla::client::{Client, Consumer, ConsumerOptions, Env, OffsetAndMetadata, Offsets, Position, TopicPartition};
use std::time::Duration;

/// A poll waits at most so long, so that the ends are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// A group's offsets are committed at least so often.
const COMMIT: Duration = Duration::from_secs(1);
/// How long leaving may take.
const CLOSE: Duration = Duration::from_secs(5);

/// Why reading ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Done,
    Idle,
}

pub async fn run(client: &Client, options: ConsumerOptions, args: &ConsumeArgs) -> Result<(), CliError> {
    let admin = client.admin();
    // A consumer would wait for the topic to appear; here it is a slip of the pen.
    let described = admin.describe_topics(std::slice::from_ref(&args.topic)).await?.remove(0)?;
    let mut partitions: Vec<TopicPartition> = described
        .partitions
        .iter()
        .map(|partition| TopicPartition::new(args.topic.as_str(), partition.partition))
        .collect();
    if !args.partition.is_empty() {
        if let Some(missing) = args.partition.iter().find(|index| !partitions.iter().any(|p| p.partition == **index)) {
            let text = format!("topic {} has no partition {missing}, but {} others", args.topic, partitions.len());
            return Err(CliError::Failed(text));
        }
        partitions.retain(|partition| args.partition.contains(&partition.partition));
    }
    let consumer = client.consumer(options);
    let mut ends = Ends::default();
    if args.group.is_some() {
        consumer.subscribe([args.topic.as_str()])?;
    } else {
        let at = begin(&consumer, args, &partitions).await?;
        ends = Ends::find(&admin, &partitions, args.to_time, args.exit_at_end).await?;
        consumer.assign(&at).await?;
    }
    let env = Env::real();
    let committed_at = env.monotonic();
    let mut reading = Reading { args, env, printed: 0, offsets: Offsets::new(), committed_at };
    let ended = tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => Ok(Ended::Done),
        ended = reading.all(&consumer, &admin, &partitions, &mut ends) => ended,
    };
    // Also after an error: what was printed was printed.
    let committed = reading.commit(&consumer).await;
    let closed = consumer.close(CLOSE).await;
    let ended = ended?;
    committed?;
    closed?;
    match (ended, args.max_messages) {
        (Ended::Idle, Some(max)) => {
            let idle = args.idle_ms.unwrap_or(0);
            let text = format!("{} of {max} records came, and none for {idle} ms", reading.printed);
            Err(CliError::Incomplete(text))
        }
        _ => Ok(()),
    }
}

/// From where each partition is read.
async fn begin(
    consumer: &Consumer,
    args: &ConsumeArgs,
    partitions: &[TopicPartition],
) -> Result<Vec<(TopicPartition, Position)>, CliError> {
    let all = |position: Position| partitions.iter().map(|partition| (partition.clone(), position)).collect();
    Ok(match (args.from_time, args.offset) {
        (Some(ms), _) => all(Position::Timestamp(ms)),
        (None, Some(Start::Earliest)) => all(Position::Earliest),
        (None, Some(Start::At(offset))) => all(Position::Offset(offset)),
        (None, Some(Start::BeforeEnd(count))) => {
            let first = consumer.beginning_offsets(partitions).await?;
            let end = consumer.end_offsets(partitions).await?;
            let position = |partition: &TopicPartition| {
                let first = first.get(partition).copied().unwrap_or(0);
                Position::Offset((end.get(partition).copied().unwrap_or(0) - count).max(first))
            };
            partitions.iter().map(|partition| (partition.clone(), position(partition))).collect()
        }
        (None, Some(Start::Latest)) => all(Position::Latest),
        (None, None) if args.from_beginning => all(Position::Earliest),
        (None, None) => all(Position::Latest),
    })
}

struct Reading<'a> {
    args: &'a ConsumeArgs,
    /// One for all times: each counts from its own beginning.
    env: Env,
    printed: u64,
    /// What a group has printed and not yet committed.
    offsets: Offsets,
    committed_at: Duration,
}

impl Reading<'_> {
    async fn all(
        &mut self,
        consumer: &Consumer,
        admin: &ottla::client::Admin,
        partitions: &[TopicPartition],
        ends: &mut Ends,
    ) -> Result<Ended, CliError> {
        let env = self.env.clone();
        let printer = self.args.printer();
        let idle = self.args.idle_ms.map(Duration::from_millis);
        let mut last_came = env.monotonic();
        if self.args.max_messages == Some(0) {
            return Ok(Ended::Done);
        }
        loop {
            if ends.reached(consumer) {
                return Ok(Ended::Done);
            }
            let wait = idle.map_or(LOOK, |idle| idle.min(LOOK));
            let records = consumer.poll(wait).await?;
            let mut out = Vec::new();
            let mut full = false;
            if !records.is_empty() {
                last_came = env.monotonic();
            }
            for record in &records {
                if !ends.before(record) {
                    continue;
                }
                if self.args.wants(record) {
                    printer.write(record, &mut out)?;
                    self.printed += 1;
                }
                let next = OffsetAndMetadata::from(record.offset + 1);
                self.offsets.insert(record.topic_partition(), next);
                full = self.args.max_messages == Some(self.printed);
                if full {
                    break;
                }
            }
            output::write_all(&out)?;
            if full {
                return Ok(Ended::Done);
            }
            if env.monotonic() - self.committed_at > COMMIT {
                self.commit(consumer).await?;
            }
            if idle.is_some_and(|idle| env.monotonic() - last_came >= idle) {
                return Ok(Ended::Idle);
            }
            ends.pass(admin, partitions).await?;
        }
    }

    /// Commits what a group has printed.
    async fn commit(&mut self, consumer: &Consumer) -> Result<(), CliError> {
        self.committed_at = self.env.monotonic();
        let offsets = std::mem::take(&mut self.offsets);
        if self.args.group.is_none() || offsets.is_empty() {
            return Ok(());
        }
        // Partitions that went to others meanwhile are theirs to commit.
        let mine = consumer.assignment();
        let offsets: Offsets = offsets.into_iter().filter(|(partition, _)| mine.contains(partition)).collect();
        Ok(consumer.commit_sync_offsets(&offsets).await?)
    }
}
