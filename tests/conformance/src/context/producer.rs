//! A producer of a scenario.

use super::{Context, Outcome, Wrong, unexpected};
use crate::protocol::producer::{Outgoing, Written};
use crate::protocol::{Each, Failure, PartitionOffset, ProducerCommand, Reply};

/// A producer that a driver holds.
#[derive(Debug)]
pub struct Producer {
    context: Context,
    name: String,
}

impl Producer {
    pub(super) fn new(context: Context, name: String) -> Producer {
        Producer { context, name }
    }

    /// Any command.
    pub async fn ask(&self, command: ProducerCommand) -> Result<Reply, Failure> {
        self.context.to_producer(&self.name, command).await
    }

    /// Sends all, then waits for all: one result per record.
    pub async fn send(&self, records: Vec<Outgoing>) -> Outcome<Vec<Each<Written>>> {
        let count = records.len();
        sent(self.ask(ProducerCommand::Send { records }).await?, Some(count))
    }

    /// Sends all and expects all to be written.
    pub async fn write(&self, records: Vec<Outgoing>) -> Outcome<Vec<Written>> {
        self.send(records).await?.into_iter().map(written).collect()
    }

    /// Sends one and expects it to be refused.
    pub async fn refused(&self, record: Outgoing) -> Outcome<Failure> {
        match self.ask(ProducerCommand::Send { records: vec![record] }).await {
            Err(failure) => Ok(failure),
            Ok(reply) => match sent(reply, Some(1))?.pop() {
                Some(Each::Error(failure)) => Ok(failure),
                other => Err(Wrong(format!("expected a refusal, found {other:?}"))),
            },
        }
    }

    /// Sends and returns once the client has taken the records.
    pub async fn enqueue(&self, records: Vec<Outgoing>) -> Outcome {
        self.ask(ProducerCommand::Enqueue { records }).await?;
        Ok(())
    }

    /// Waits for what was enqueued.
    pub async fn flush(&self) -> Outcome<Vec<Each<Written>>> {
        sent(self.ask(ProducerCommand::Flush).await?, None)
    }

    /// A topic's number of partitions.
    pub async fn partitions_for(&self, topic: &str) -> Outcome<usize> {
        match self.ask(ProducerCommand::PartitionsFor { topic: topic.to_owned() }).await? {
            Reply::Count(count) => Ok(count),
            other => Err(unexpected(&other).into()),
        }
    }

    /// Puts `consumer`'s offsets into the transaction.
    pub async fn send_offsets(
        &self,
        offsets: Vec<PartitionOffset>,
        consumer: &super::Consumer,
    ) -> Result<Reply, Failure> {
        self.ask(ProducerCommand::SendOffsets { offsets, consumer: consumer.name().to_owned() }).await
    }

    /// Closes it and waits for what is outstanding.
    pub async fn close(&self) -> Outcome {
        self.ask(ProducerCommand::Close { timeout_ms: 20_000 }).await?;
        Ok(())
    }
}

/// The result of a record that was to be written.
pub(crate) fn written(each: Each<Written>) -> Outcome<Written> {
    match each {
        Each::Ok(written) => Ok(written),
        Each::Error(failure) => Err(Wrong(format!("a record was not written: {failure}"))),
    }
}

fn sent(reply: Reply, count: Option<usize>) -> Outcome<Vec<Each<Written>>> {
    match reply {
        Reply::Sent(sent) if count.is_none_or(|count| sent.len() == count) => Ok(sent),
        Reply::Sent(sent) => Err(Wrong(format!("{} results for {count:?} records", sent.len()))),
        other => Err(unexpected(&other).into()),
    }
}
