//! A consumer of a scenario.

use super::{Context, Outcome, Wrong, unexpected};
use crate::protocol::consumer::{Event, GroupMetadata, Incoming, Polled};
use crate::protocol::{ConsumerCommand, Failure, Partition, PartitionOffset, Reply};
use std::time::Duration;

/// How long a poll of these helpers waits, and how long they go on altogether.
const POLL_MS: u64 = 200;
const PATIENCE: Duration = Duration::from_secs(20);

/// A consumer that a driver holds.
#[derive(Debug)]
pub struct Consumer {
    context: Context,
    name: String,
}

impl Consumer {
    pub(super) fn new(context: Context, name: String) -> Consumer {
        Consumer { context, name }
    }

    /// Its name at the driver.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Any command.
    pub async fn ask(&self, command: ConsumerCommand) -> Result<Reply, Failure> {
        self.context.to_consumer(&self.name, command).await
    }

    /// Reads these partitions of `topic`.
    pub async fn assign(&self, topic: &str, partitions: &[i32]) -> Outcome {
        let partitions = partitions.iter().map(|partition| Partition::new(topic, *partition)).collect();
        self.ask(ConsumerCommand::Assign { partitions }).await?;
        Ok(())
    }

    /// Reads `topic` as a member of its group.
    pub async fn subscribe(&self, topic: &str) -> Outcome {
        let topics = vec![topic.to_owned()];
        self.ask(ConsumerCommand::Subscribe { topics, commit_on_revoke: false }).await?;
        Ok(())
    }

    /// What arrives within `timeout_ms`.
    pub async fn poll(&self, timeout_ms: u64) -> Outcome<Polled> {
        polled(self.ask(ConsumerCommand::Poll { timeout_ms }).await?)
    }

    /// Polls until `done` is content with all that came.
    pub async fn poll_until(&self, what: &str, mut done: impl FnMut(&Polled) -> bool) -> Outcome<Polled> {
        let end = self.context.env().monotonic() + PATIENCE;
        let mut all = Polled::default();
        while !done(&all) {
            if self.context.env().monotonic() > end {
                let events = &all.events;
                let text = format!("{what} did not come about; {} records and {events:?} arrived", all.records.len());
                return Err(Wrong(text));
            }
            let more = self.poll(POLL_MS).await?;
            all.records.extend(more.records);
            all.events.extend(more.events);
        }
        Ok(all)
    }

    /// Polls until `count` records have come, and fails if there were more.
    pub async fn read(&self, count: usize) -> Outcome<Vec<Incoming>> {
        let records = self.poll_until(&format!("{count} records"), |all| all.records.len() >= count).await?.records;
        if records.len() > count {
            return Err(Wrong(format!("expected {count} records, found {}: {:?}", records.len(), &records[count..])));
        }
        Ok(records)
    }

    /// As [`Consumer::read`], the values as text.
    pub async fn read_texts(&self, count: usize) -> Outcome<Vec<String>> {
        Ok(self.read(count).await?.iter().map(Incoming::text).collect())
    }

    /// Polls for a while and expects no record.
    pub async fn nothing_comes(&self, within_ms: u64) -> Outcome {
        let end = self.context.env().monotonic() + Duration::from_millis(within_ms);
        while self.context.env().monotonic() < end {
            let polled = self.poll(POLL_MS).await?;
            if let Some(record) = polled.records.first() {
                return Err(Wrong(format!("expected no record, found {record:?}")));
            }
        }
        Ok(())
    }

    /// Goes to `offset`.
    pub async fn seek(&self, topic: &str, partition: i32, offset: i64) -> Outcome {
        self.ask(ConsumerCommand::Seek { at: PartitionOffset::new(topic, partition, offset) }).await?;
        Ok(())
    }

    /// The position of a partition.
    pub async fn position(&self, topic: &str, partition: i32) -> Outcome<Option<i64>> {
        self.one(ConsumerCommand::Position { partitions: vec![Partition::new(topic, partition)] }).await
    }

    /// What the group has committed of a partition.
    pub async fn committed(&self, topic: &str, partition: i32) -> Outcome<Option<i64>> {
        self.one(ConsumerCommand::Committed { partitions: vec![Partition::new(topic, partition)] }).await
    }

    /// Commits the positions and waits.
    pub async fn commit(&self) -> Outcome {
        self.ask(ConsumerCommand::CommitSync { offsets: None }).await?;
        Ok(())
    }

    /// The offset of the first record.
    pub async fn beginning(&self, topic: &str, partition: i32) -> Outcome<Option<i64>> {
        self.one(ConsumerCommand::BeginningOffsets { partitions: vec![Partition::new(topic, partition)] }).await
    }

    /// The offset behind the last record.
    pub async fn end(&self, topic: &str, partition: i32) -> Outcome<Option<i64>> {
        self.one(ConsumerCommand::EndOffsets { partitions: vec![Partition::new(topic, partition)] }).await
    }

    /// The offset that a command about one partition tells.
    pub async fn one(&self, command: ConsumerCommand) -> Outcome<Option<i64>> {
        match self.ask(command).await? {
            Reply::Offsets(offsets) if offsets.len() == 1 => Ok(offsets[0].offset),
            other => Err(unexpected(&other).into()),
        }
    }

    /// The offsets that a command tells, in the order asked.
    pub async fn offsets(&self, command: ConsumerCommand) -> Outcome<Vec<Option<i64>>> {
        match self.ask(command).await? {
            Reply::Offsets(offsets) => Ok(offsets.into_iter().map(|offset| offset.offset).collect()),
            other => Err(unexpected(&other).into()),
        }
    }

    /// What is assigned, sorted.
    pub async fn assignment(&self) -> Outcome<Vec<Partition>> {
        self.partitions(ConsumerCommand::Assignment).await
    }

    /// The partitions that a command tells.
    pub async fn partitions(&self, command: ConsumerCommand) -> Outcome<Vec<Partition>> {
        match self.ask(command).await? {
            Reply::Partitions(partitions) => Ok(partitions),
            other => Err(unexpected(&other).into()),
        }
    }

    /// Who it is in its group.
    pub async fn group(&self) -> Outcome<GroupMetadata> {
        match self.ask(ConsumerCommand::GroupMetadata).await? {
            Reply::Group(group) => Ok(group),
            other => Err(unexpected(&other).into()),
        }
    }

    /// Closes it; the events that came meanwhile.
    pub async fn close(&self) -> Outcome<Vec<Event>> {
        Ok(polled(self.ask(ConsumerCommand::Close { timeout_ms: 20_000, leave: None }).await?)?.events)
    }
}

fn polled(reply: Reply) -> Outcome<Polled> {
    match reply {
        Reply::Polled(polled) => Ok(polled),
        other => Err(unexpected(&other).into()),
    }
}
