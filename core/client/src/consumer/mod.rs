//! The consumer by assignment: given partitions and positions it fetches ahead in the background, and `poll` hands out
//! what has arrived, batch by batch as the log has it. Consumer groups are not here yet.

pub mod assignor;
mod fetcher;
mod offsets;
mod session;

pub use offsets::Position;
pub use ottla_model::record_batch::{Batch, Record};

use crate::client::Client;
use crate::error::{Error, ErrorKind, Result};
use bytes::Bytes;
use ottla_model::TopicPartition;
use ottla_model::record_batch::{BatchError, BatchIter, RecordIter, records, verify_crc};
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

pub(crate) use offsets::resolve;

/// Where to go when a position does not exist (`auto.offset.reset`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetReset {
    /// To the first record.
    Earliest,
    /// Behind the last record.
    Latest,
    /// `poll` returns the error.
    None,
}

/// Settings of a consumer, under Kafka's names.
#[derive(Debug, Clone)]
pub struct ConsumerOptions {
    /// `fetch.min.bytes`, 1: a broker answers once it has so much.
    pub fetch_min_bytes: usize,
    /// `fetch.max.wait.ms`, 500 ms: or when so much time has passed.
    pub fetch_max_wait: Duration,
    /// `fetch.max.bytes`, 50 MiB: of one answer.
    pub fetch_max_bytes: usize,
    /// `max.partition.fetch.bytes`, 1 MiB: of one partition in an answer.
    pub max_partition_fetch_bytes: usize,
    /// `auto.offset.reset`, latest.
    pub offset_reset: OffsetReset,
    /// `check.crcs`, true: verify each batch's checksum before reading its records.
    pub check_crcs: bool,
    /// Bytes that may wait for `poll` before fetching pauses, 64 MiB. One answer per broker may come on top.
    pub buffered_bytes_max: usize,
}

impl Default for ConsumerOptions {
    fn default() -> ConsumerOptions {
        ConsumerOptions {
            fetch_min_bytes: 1,
            fetch_max_wait: Duration::from_millis(500),
            fetch_max_bytes: 50 * 1024 * 1024,
            max_partition_fetch_bytes: 1024 * 1024,
            offset_reset: OffsetReset::Latest,
            check_crcs: true,
            buffered_bytes_max: 64 * 1024 * 1024,
        }
    }
}

/// What one fetch brought of one partition.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset that was asked for; the first batch may begin before it.
    pub fetch_offset: i64,
    /// The offset behind the last whole batch.
    pub next_offset: i64,
    /// The end of what consumers may read.
    pub high_watermark: i64,
    /// The first offset of the partition.
    pub log_start_offset: i64,
    /// Record batches as the log has them; a batch cut off at the end is left out.
    pub bytes: Bytes,
    check_crcs: bool,
    generation: u64,
}

impl Fetched {
    /// The batches, control batches too.
    pub fn batches(&self) -> BatchIter {
        BatchIter::new(self.bytes.clone())
    }

    /// The records from `fetch_offset` on, decompressed; control batches are left out.
    pub fn records(&self) -> Records {
        Records {
            batches: self.batches(),
            current: None,
            from: self.fetch_offset,
            check_crcs: self.check_crcs,
            topic: self.topic.clone(),
            partition: self.partition,
        }
    }
}

/// Iterates over the records of a [`Fetched`]; after an error it goes on with the next batch.
#[derive(Debug)]
pub struct Records {
    batches: BatchIter,
    current: Option<RecordIter>,
    from: i64,
    check_crcs: bool,
    topic: Arc<str>,
    partition: i32,
}

impl Records {
    fn bad(&self, error: BatchError) -> Error {
        Error::new(ErrorKind::Data, format!("partition {}-{}: {error}", self.topic, self.partition))
    }
}

impl Iterator for Records {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Result<Record>> {
        loop {
            if let Some(current) = &mut self.current {
                match current.next() {
                    Some(Ok(record)) if record.offset < self.from => continue,
                    Some(Ok(record)) => return Some(Ok(record)),
                    Some(Err(error)) => {
                        self.current = None;
                        return Some(Err(self.bad(error)));
                    }
                    None => self.current = None,
                }
            }
            let batch = match self.batches.next()? {
                Ok(batch) if batch.header.is_control() => continue,
                Ok(batch) => batch,
                Err(error) => return Some(Err(self.bad(error))),
            };
            if self.check_crcs
                && let Err(error) = verify_crc(&batch.bytes)
            {
                return Some(Err(self.bad(error)));
            }
            match records(&batch.bytes) {
                Ok(iter) => self.current = Some(iter),
                Err(error) => return Some(Err(self.bad(error))),
            }
        }
    }
}

/// Reads the partitions it was assigned.
#[derive(Debug)]
pub struct Consumer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    options: ConsumerOptions,
    /// Assignment and what has arrived. The consumer's only lock, never held across an await.
    state: Mutex<State>,
    /// Bytes that wait in `state.arrived`.
    buffered: AtomicUsize,
    /// `poll` took something, or the assignment changed: a fetcher that paused looks again.
    room: Notify,
    /// Something arrived.
    arrived: Notify,
}

#[derive(Debug, Default)]
struct State {
    partitions: HashMap<TopicPartition, Assigned>,
    arrived: VecDeque<Result<Fetched>>,
    /// Nodes with a fetching task.
    fetching: BTreeSet<i32>,
    /// A task looks for leaders.
    routing: bool,
    /// Counts assignments and seeks; what was fetched before one is dropped.
    generation: u64,
    closed: bool,
}

#[derive(Debug)]
struct Assigned {
    generation: u64,
    /// What `poll` has handed out.
    position: i64,
    /// What fetching has reached.
    fetch_offset: i64,
    /// The node that leads it; `None` while that has to be found out.
    leader: Option<i32>,
    /// Backoff after an error.
    not_before: Duration,
}

impl Consumer {
    pub(crate) fn new(client: Client, options: ConsumerOptions) -> Consumer {
        let shared = Shared {
            client,
            options,
            state: Mutex::default(),
            buffered: AtomicUsize::new(0),
            room: Notify::new(),
            arrived: Notify::new(),
        };
        Consumer { shared: Arc::new(shared) }
    }

    /// Reads these partitions from these positions, and no others from now on.
    ///
    /// # Errors
    /// A topic or partition does not exist, or a position could not be found within `default.api.timeout.ms`.
    pub async fn assign(&self, partitions: &[(TopicPartition, Position)]) -> Result<()> {
        let client = &self.shared.client;
        let deadline = client.deadline();
        let offsets = resolve(client, partitions, &deadline).await?;
        // Offsets that needed no asking leave the topics unknown so far.
        for (partition, _) in partitions {
            client.topic(&partition.topic, false, &deadline).await?;
        }
        {
            let mut state = self.shared.state.lock();
            state.generation += 1;
            let generation = state.generation;
            let assigned = |offset| Assigned {
                generation,
                position: offset,
                fetch_offset: offset,
                leader: None,
                not_before: Duration::ZERO,
            };
            let new = partitions.iter().zip(offsets);
            state.partitions = new.map(|((partition, _), offset)| (partition.clone(), assigned(offset))).collect();
            self.shared.drop_arrived(&mut state);
        }
        fetcher::route(&self.shared);
        Ok(())
    }

    /// Goes on reading `partition` from `position`.
    pub async fn seek(&self, partition: &TopicPartition, position: Position) -> Result<()> {
        let client = &self.shared.client;
        let wanted = [(partition.clone(), position)];
        let offsets = resolve(client, &wanted, &client.deadline()).await?;
        {
            let mut state = self.shared.state.lock();
            state.generation += 1;
            let generation = state.generation;
            let not_assigned =
                || Error::invalid(format!("partition {}-{} is not assigned", partition.topic, partition.partition));
            let assigned = state.partitions.get_mut(partition).ok_or_else(not_assigned)?;
            let offset = offsets.first().copied().unwrap_or(assigned.position);
            assigned.generation = generation;
            assigned.position = offset;
            assigned.fetch_offset = offset;
            assigned.not_before = Duration::ZERO;
        }
        fetcher::route(&self.shared);
        Ok(())
    }

    /// What has arrived, waiting up to `timeout` for something; empty when nothing did.
    ///
    /// # Errors
    /// What a broker says about a partition and retrying does not mend. The other partitions go on: poll again.
    pub async fn poll(&self, timeout: Duration) -> Result<Vec<Fetched>> {
        let shared = &self.shared;
        let wait = async {
            loop {
                // Made before the look, so that an arrival between the two is not missed.
                let arrived = shared.arrived.notified();
                let taken = shared.take()?;
                if !taken.is_empty() {
                    return Ok(taken);
                }
                arrived.await;
            }
        };
        shared.client.env().timeout(timeout, wait).await.unwrap_or_else(|_| Ok(Vec::new()))
    }

    /// The offset of the next record that `poll` will hand out of `partition`.
    pub fn position(&self, partition: &TopicPartition) -> Option<i64> {
        self.shared.state.lock().partitions.get(partition).map(|assigned| assigned.position)
    }

    /// Offsets of partitions, assigned or not, in the order asked: [`Position::Latest`] gives their ends.
    pub async fn offsets(&self, wanted: &[(TopicPartition, Position)]) -> Result<Vec<i64>> {
        resolve(&self.shared.client, wanted, &self.shared.client.deadline()).await
    }

    /// All partitions of `topic`.
    pub async fn partitions_for(&self, topic: &str) -> Result<Vec<TopicPartition>> {
        let client = &self.shared.client;
        let metadata = client.topic(topic, false, &client.deadline()).await?;
        let topic: Arc<str> = Arc::from(topic);
        Ok((0..metadata.partitions.len() as i32).map(|index| TopicPartition::new(topic.clone(), index)).collect())
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.shared.state.lock().closed = true;
        self.shared.room.notify_waiters();
    }
}

impl Shared {
    fn take(&self) -> Result<Vec<Fetched>> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        {
            let mut state = self.state.lock();
            // An error stays in front until it can be returned alone.
            while let Some(Ok(_)) = state.arrived.front() {
                let Some(Ok(fetched)) = state.arrived.pop_front() else { break };
                bytes += fetched.bytes.len();
                let partition = TopicPartition::new(fetched.topic.clone(), fetched.partition);
                if let Some(assigned) = state.partitions.get_mut(&partition)
                    && assigned.generation == fetched.generation
                {
                    assigned.position = fetched.next_offset;
                    taken.push(fetched);
                }
            }
            if taken.is_empty()
                && let Some(Err(error)) = state.arrived.pop_front()
            {
                return Err(error);
            }
        }
        if bytes > 0 {
            self.buffered.fetch_sub(bytes, Ordering::AcqRel);
            self.room.notify_waiters();
        }
        Ok(taken)
    }

    fn drop_arrived(&self, state: &mut State) {
        let bytes: usize =
            state.arrived.drain(..).map(|arrived| arrived.map_or(0, |fetched| fetched.bytes.len())).sum();
        self.buffered.fetch_sub(bytes, Ordering::AcqRel);
        self.room.notify_waiters();
    }
}
