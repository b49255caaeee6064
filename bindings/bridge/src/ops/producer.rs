//! A producer: records go in as frames, what became of them comes out by the batch, everything else is a call.

use super::{Answer, Base, Configs, Object, Offset, Timeout, Work, later, metrics, now, read, value};
use crate::error::Error;
use crate::frame::produced;
use crate::queue::{Event, Queue, Unfetched};
use crate::runtime::Runtime;
use crate::state::state;
use bytes::Bytes;
use ottla::client::{
    self, Client, ClientOptions, DeliveredRecords, DeliverySink, Env, GroupMetadata, ProducerOptions, Scope,
};
use parking_lot::Mutex;
use serde::Deserialize;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::Notify;

/// What [`crate::send`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// All records are in batches, or wait for their topic's metadata in order.
    Taken,
    /// `buffer.memory` is full: none were taken. [`Event::Room`] says when to try again.
    Full,
}

#[derive(Debug)]
pub(crate) struct Producer {
    pub(crate) base: Base,
    producer: client::Producer,
    client: Client,
    sink: Arc<Sink>,
    /// Frames that wait for metadata or memory; a frame that comes later waits behind them.
    backlog: Mutex<Backlog>,
    /// The backlog is empty.
    emptied: Notify,
    buffer_memory: usize,
}

#[derive(Debug, Default)]
struct Backlog {
    frames: VecDeque<(Bytes, u64)>,
    bytes: usize,
    /// A task works on it.
    pumped: bool,
    /// The host was told that it is full.
    full: bool,
    closed: bool,
}

#[derive(Debug)]
struct Sink {
    queue: Arc<Queue>,
    unfetched: Arc<Unfetched>,
}

impl DeliverySink for Sink {
    fn delivered(&self, records: DeliveredRecords) {
        let Some(&producer) = self.unfetched.producer.get() else { return };
        let outstanding = self.unfetched.more(records.records.len());
        self.queue.push(Event::Delivered { producer, records, outstanding });
    }
}

pub(super) fn open(queue: &Arc<Queue>, runtime: &Arc<Runtime>, arguments: Configs) -> Result<Answer, Error> {
    let configs = super::configs(Scope::Producer, arguments)?;
    let mut options = ProducerOptions::from_configs(&configs)?;
    let client = Client::new(Env::real(), ClientOptions::from_configs(&configs))?;
    let buffer_memory = options.buffer_memory;
    let sink = Arc::new(Sink { queue: queue.clone(), unfetched: Unfetched::new(queue) });
    options.delivery_sink = Some(sink.clone());
    let producer = client.producer(options)?;
    let handle = state()?.insert(|handle| {
        sink.unfetched.producer.get_or_init(|| handle);
        let base = Base::new(handle, queue, runtime);
        let (backlog, emptied) = (Mutex::default(), Notify::new());
        Object::Producer(Arc::new(Producer { base, producer, client, sink, backlog, emptied, buffer_memory }))
    })?;
    Ok(Answer::Handle(handle))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Topic {
    topic: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SendOffsets {
    offsets: Vec<Offset>,
    group: Group,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    group_id: String,
    generation_id: i32,
    member_id: String,
    #[serde(default)]
    group_instance_id: Option<String>,
}

pub(super) fn call(producer: &Arc<Producer>, method: &str, arguments: &[u8]) -> Result<Option<Work>, Error> {
    let this = producer.clone();
    Ok(match method {
        "flush" => later(async move {
            this.settled().await;
            this.producer.flush().await;
            Ok(Answer::Done)
        }),
        "partitions_for" => {
            let Topic { topic } = read(arguments)?;
            later(async move { value(&this.producer.partitions_for(&topic).await?) })
        }
        "init_transactions" => later(async move {
            this.producer.init_transactions().await?;
            Ok(Answer::Done)
        }),
        "begin_transaction" => {
            this.producer.begin_transaction()?;
            Some(now(Answer::Done))
        }
        "send_offsets_to_transaction" => {
            let SendOffsets { offsets, group } = read(arguments)?;
            let offsets = offsets.iter().map(Offset::entry).collect();
            let Group { group_id, generation_id, member_id, group_instance_id } = group;
            let group = GroupMetadata { group_id, generation_id, member_id, group_instance_id };
            later(async move {
                this.producer.send_offsets_to_transaction(&offsets, &group).await?;
                Ok(Answer::Done)
            })
        }
        "commit_transaction" => later(async move {
            // What was sent before belongs to it.
            this.settled().await;
            this.producer.commit_transaction().await?;
            Ok(Answer::Done)
        }),
        "abort_transaction" => later(async move {
            this.settled().await;
            this.producer.abort_transaction().await?;
            Ok(Answer::Done)
        }),
        "metrics" => Some(now(metrics(&this.producer.metrics())?)),
        "close" => {
            let timeout: Timeout = read(arguments)?;
            this.backlog.lock().closed = true;
            later(async move {
                let limit = tokio::time::Instant::now() + timeout.duration();
                let settled = tokio::time::timeout_at(limit, this.settled()).await;
                if settled.is_err() {
                    this.refuse_all();
                }
                let left = limit.saturating_duration_since(tokio::time::Instant::now());
                let closed = this.producer.close(left).await;
                this.client.shutdown().await;
                closed?;
                Ok(Answer::Done)
            })
        }
        _ => None,
    })
}

impl Producer {
    /// Appends what can be appended at once on the caller's thread; what has to wait waits in a task.
    pub(crate) fn send(self: &Arc<Self>, frame: &[u8], first: u64) -> Result<Sent, Error> {
        let parsed = produced(frame)?;
        let records = parsed.records();
        // Held to the end, so that records of two calls do not change places.
        let mut backlog = self.backlog.lock();
        if backlog.closed {
            return Err(Error::closed());
        }
        if self.sink.unfetched.too_many() {
            return Ok(Sent::Full);
        }
        let mut taken = 0;
        if backlog.frames.is_empty() && !backlog.pumped {
            let _on = self.base.runtime.handle().enter();
            taken = self.producer.try_send_tagged(&records, first);
            if taken == records.len() {
                return Ok(Sent::Taken);
            }
        } else if backlog.bytes > 0 && backlog.bytes + frame.len() > self.buffer_memory {
            backlog.full = true;
            return Ok(Sent::Full);
        }
        let rest = Bytes::copy_from_slice(&frame[parsed.end_of(taken)..]);
        backlog.bytes += rest.len();
        backlog.frames.push_back((rest, first + taken as u64));
        self.pump(&mut backlog);
        Ok(Sent::Taken)
    }

    fn pump(self: &Arc<Self>, backlog: &mut Backlog) {
        if !std::mem::replace(&mut backlog.pumped, true) {
            let this = self.clone();
            self.base.runtime.handle().spawn(async move { this.work_off().await });
        }
    }

    /// Sends the backlog in order, waiting where `send` of a producer waits.
    async fn work_off(&self) {
        loop {
            let next = {
                let mut backlog = self.backlog.lock();
                let next = backlog.frames.front().cloned();
                if next.is_none() {
                    backlog.pumped = false;
                    if std::mem::take(&mut backlog.full) {
                        self.base.queue.push(Event::Room { producer: self.base.handle });
                    }
                    self.emptied.notify_waiters();
                }
                next
            };
            let Some((frame, first)) = next else { return };
            // It was whole when it came.
            if let Ok(parsed) = produced(&frame) {
                let records = parsed.records();
                let sent = self.producer.send_tagged(&records, first).await;
                for (index, result) in sent.into_iter().enumerate() {
                    if let Err(error) = result {
                        self.refused(&records[index], first + index as u64, error);
                    }
                }
            }
            let mut backlog = self.backlog.lock();
            if backlog.frames.pop_front().is_some() {
                backlog.bytes = backlog.bytes.saturating_sub(frame.len());
            }
            if backlog.full && backlog.bytes <= self.buffer_memory / 2 {
                backlog.full = false;
                self.base.queue.push(Event::Room { producer: self.base.handle });
            }
        }
    }

    fn refused(&self, record: &client::ProducerRecord<'_>, tag: u64, error: client::Error) {
        self.sink.delivered(DeliveredRecords {
            topic: Arc::from(record.topic),
            partition: record.partition.unwrap_or(-1),
            result: Err(error),
            records: vec![(tag, record.timestamp.unwrap_or(-1))],
        });
    }

    /// Gives up what waits, but for the frame that is being sent.
    fn refuse_all(&self) {
        let waiting: Vec<_> = {
            let mut backlog = self.backlog.lock();
            let behind_first = backlog.frames.len().min(1);
            backlog.frames.drain(behind_first..).collect()
        };
        for (frame, first) in waiting {
            let Ok(parsed) = produced(&frame) else { continue };
            for (index, record) in parsed.records().iter().enumerate() {
                let error =
                    client::Error::new(client::ErrorKind::Closed, "the producer was closed before the record was sent");
                self.refused(record, first + index as u64, error);
            }
        }
    }

    /// Waits until all frames that came before are in batches, or refused.
    async fn settled(&self) {
        loop {
            let emptied = self.emptied.notified();
            {
                let backlog = self.backlog.lock();
                if backlog.frames.is_empty() {
                    return;
                }
            }
            emptied.await;
        }
    }

    /// Records that are left fail.
    pub(super) fn let_go(self: &Arc<Self>) {
        self.backlog.lock().closed = true;
        self.refuse_all();
        let this = self.clone();
        self.base.runtime.handle().spawn(async move {
            let _ = this.producer.close(std::time::Duration::ZERO).await;
            this.client.close();
        });
    }
}
