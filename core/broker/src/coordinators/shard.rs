//! One group shard with its partition: append, replay, answer, all under one short lock.

use super::load::each_batch;
use crate::node::Node;
use crate::partition::Partition;
use bytes::Bytes;
use ottla_coordinator::Ticket;
use ottla_coordinator::group::{CoordinatorRecord, Event, GroupConfig, GroupShard, Now, Reply, Step};
use ottla_log::AppendOrigin;
use ottla_model::ErrorCode;
use ottla_model::record_batch::control::EndTxnMarker;
use ottla_model::record_batch::{self, BatchBuilder, BatchOptions};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::oneshot;

#[derive(Debug)]
pub(crate) struct Shard {
    partition: Arc<Partition>,
    /// Guards the coordinator from the step to the replay of its records; never held across an await.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// `None` before and after the shard's life: not loaded, or failed.
    machine: Option<GroupShard>,
    is_started: bool,
    /// Somebody has to look for the coordinator before it is loaded again.
    is_away: bool,
    waiting: HashMap<Ticket, oneshot::Sender<Reply>>,
    next_ticket: u64,
}

impl Shard {
    /// Reads the whole partition. Blocks on the disk. A shard that cannot be read is not loaded.
    pub(crate) fn load(partition: Arc<Partition>, config: GroupConfig) -> Shard {
        let mut machine = GroupShard::new(config);
        let machine = match each_batch(&partition, |batch| replay_batch(&mut machine, batch)) {
            Ok(()) => Some(machine),
            Err(error) => {
                tracing::error!(partition = partition.id(), "groups cannot be loaded: {error}");
                None
            }
        };
        let state = State { machine, is_started: false, is_away: false, waiting: HashMap::new(), next_ticket: 0 };
        Shard { partition, state: Mutex::new(state) }
    }

    /// The members' sessions begin.
    pub(crate) fn start(&self, node: &Node) {
        let mut state = self.state.lock();
        if !std::mem::replace(&mut state.is_started, true)
            && let Some(machine) = &mut state.machine
        {
            let step = machine.loaded(node.groups.now());
            self.finish(node, &mut state, step);
        }
    }

    pub(crate) fn is_of(&self, partition: &Arc<Partition>) -> bool {
        Arc::ptr_eq(&self.partition, partition)
    }

    pub(crate) fn is_loaded(&self) -> bool {
        self.state.lock().machine.is_some()
    }

    /// Handles a request; the reply comes when it comes.
    pub(crate) fn submit(
        &self,
        node: &Node,
        event: impl FnOnce(Ticket) -> Event,
    ) -> Result<oneshot::Receiver<Reply>, ErrorCode> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let machine = state.machine.as_mut().ok_or(ErrorCode::NotCoordinator)?;
        state.next_ticket += 1;
        let ticket = Ticket(state.next_ticket);
        let (sender, receiver) = oneshot::channel();
        state.waiting.insert(ticket, sender);
        let step = machine.step(node.groups.now(), event(ticket));
        self.finish(node, state, step);
        Ok(receiver)
    }

    /// Handles an event that nobody waits for.
    pub(crate) fn notify(&self, node: &Node, event: Event) {
        let mut state = self.state.lock();
        if let Some(machine) = &mut state.machine {
            let step = machine.step(node.groups.now(), event);
            self.finish(node, &mut state, step);
        }
    }

    /// Serves what is due at `now`; returns the next deadline.
    pub(crate) fn tick(&self, node: &Node, now: Now) -> Option<i64> {
        let mut state = self.state.lock();
        let machine = state.machine.as_mut()?;
        if machine.next_deadline().is_some_and(|deadline_ms| deadline_ms <= now.steady_ms) {
            let step = machine.step(now, Event::Tick);
            self.finish(node, &mut state, step);
        }
        state.machine.as_ref()?.next_deadline()
    }

    pub(crate) fn read<T>(&self, look: impl FnOnce(&GroupShard) -> T) -> Result<T, ErrorCode> {
        self.state.lock().machine.as_ref().map(look).ok_or(ErrorCode::NotCoordinator)
    }

    /// Writes the marker of a transaction that has offsets here, which then count or are dropped.
    ///
    /// # Errors
    /// NOT_COORDINATOR, or why it is not written.
    pub(crate) fn end_transaction(
        &self,
        node: &Node,
        marker: EndTxnMarker,
        producer_id: i64,
        epoch: i16,
    ) -> Result<(), ErrorCode> {
        let mut state = self.state.lock();
        let machine = state.machine.as_mut().ok_or(ErrorCode::NotCoordinator)?;
        let batch = marker.to_batch(0, node.env.now_ms(), self.partition.leader_epoch(), producer_id, epoch);
        self.partition.append(node, batch, AppendOrigin::Coordinator).map_err(|error| error.code)?;
        machine.replay_marker(producer_id, marker.commit);
        Ok(())
    }

    /// Ends the shard as if its partition had gone to another broker; it is loaded again when somebody looks for it.
    pub(crate) fn move_away(&self) {
        self.state.lock().is_away = true;
        self.unload();
    }

    /// Somebody looks for the coordinator.
    pub(crate) fn come_back(&self) {
        self.state.lock().is_away = false;
    }

    /// Whether it has failed and is to be loaded again.
    pub(crate) fn has_failed(&self) -> bool {
        let state = self.state.lock();
        state.machine.is_none() && !state.is_away
    }

    pub(crate) fn unload(&self) {
        let mut state = self.state.lock();
        if let Some(machine) = state.machine.take() {
            state.answer(machine.unload());
        }
    }

    /// Appends and replays what a step wrote, then lets its replies go; or, when the append fails, ends the shard.
    fn finish(&self, node: &Node, state: &mut State, step: Step) {
        let Some(machine) = &mut state.machine else { return };
        match self.append(node, machine, &step) {
            Ok(needs_flush) => {
                node.groups.deadline(machine.next_deadline());
                match needs_flush {
                    false => state.answer(step.replies),
                    true => self.answer_after_flush(node, state, step.replies),
                }
            }
            Err(error) => {
                tracing::error!(partition = self.partition.id(), error = error.name(), "group records are not written");
                if let Some(machine) = state.machine.take() {
                    state.answer(machine.fail(step, error));
                }
                // The timer loads the shard again.
                node.groups.deadline(Some(i64::MIN));
            }
        }
    }

    fn append(&self, node: &Node, machine: &mut GroupShard, step: &Step) -> Result<bool, ErrorCode> {
        if step.records.is_empty() {
            return Ok(false);
        }
        let batch_bytes_max = self.partition.log().config().max_message_bytes as usize;
        let options = match step.producer {
            Some((producer_id, producer_epoch)) => {
                BatchOptions { producer_id, producer_epoch, transactional: true, ..BatchOptions::default() }
            }
            None => BatchOptions::default(),
        };
        let producer_id = options.producer_id;
        let batches = encode(&step.records, options, node.env.now_ms(), batch_bytes_max)?;
        let info = self.partition.append(node, batches, AppendOrigin::Coordinator).map_err(|error| {
            tracing::warn!(partition = self.partition.id(), "{error}");
            error.code
        })?;
        for (offset, record) in (info.first_offset..).zip(&step.records) {
            machine.replay(offset, producer_id, record);
        }
        Ok(info.needs_flush)
    }

    /// `flush.messages` is set for `__consumer_offsets`: the replies wait for the disk, in a task of their own, because
    /// the request that caused them may go away while others wait.
    fn answer_after_flush(&self, node: &Node, state: &mut State, replies: Vec<(Ticket, Reply)>) {
        let partition = self.partition.clone();
        let take = |(ticket, reply)| Some((state.waiting.remove(&ticket)?, reply));
        let replies: Vec<_> = replies.into_iter().filter_map(take).collect();
        let env = node.env.clone();
        let flush_then_answer = async move {
            let flushed = env.blocking(move || partition.log().flush()).await;
            if let Err(error) = &flushed {
                tracing::error!(%error, "flushing group records failed");
            }
            for (sender, reply) in replies {
                let reply = if flushed.is_ok() { reply } else { reply.into_error(ErrorCode::NotCoordinator) };
                // The client may be gone.
                let _ = sender.send(reply);
            }
        };
        // Detached: it ends by itself.
        drop(node.env.spawn("group-flush", flush_then_answer));
    }
}

impl State {
    fn answer(&mut self, replies: Vec<(Ticket, Reply)>) {
        for (ticket, reply) in replies {
            if let Some(sender) = self.waiting.remove(&ticket) {
                // The client may be gone.
                let _ = sender.send(reply);
            }
        }
    }
}

/// The records as batches of at most `batch_bytes_max`, in one piece. Only a single record can be larger than that.
fn encode(
    records: &[CoordinatorRecord],
    options: BatchOptions,
    now_ms: i64,
    batch_bytes_max: usize,
) -> Result<Bytes, ErrorCode> {
    let none: &[(&[u8], Option<&[u8]>)] = &[];
    let mut out = Vec::new();
    let mut batch = BatchBuilder::new(options);
    for record in records {
        let (key, value) = record.encode().map_err(|error| {
            tracing::error!(%error, "a group record cannot be encoded");
            ErrorCode::UnknownServerError
        })?;
        let size = BatchBuilder::record_size_max(Some(&key), value.as_deref(), none);
        if !batch.is_empty() && batch.uncompressed_size() + size > batch_bytes_max {
            batch.build_into(&mut out).map_err(|error| error.error_code())?;
            batch.clear();
        }
        batch.append(now_ms, Some(&key), value.as_deref(), none).map_err(|error| error.error_code())?;
    }
    batch.build_into(&mut out).map_err(|error| error.error_code())?;
    Ok(out.into())
}

fn replay_batch(machine: &mut GroupShard, batch: &record_batch::Batch) -> Result<(), String> {
    let header = &batch.header;
    for record in record_batch::records(&batch.bytes).map_err(|error| error.to_string())? {
        let record = record.map_err(|error| error.to_string())?;
        if header.is_control() {
            let (key, value) = (record.key.unwrap_or_default(), record.value.unwrap_or_default());
            if let Some(marker) = EndTxnMarker::parse(&key, &value).map_err(|error| error.to_string())? {
                machine.replay_marker(header.producer_id, marker.commit);
            }
            continue;
        }
        let producer_id = if header.is_transactional() { header.producer_id } else { -1 };
        match CoordinatorRecord::decode(record.key.as_ref(), record.value.as_ref()) {
            Ok(decoded) => machine.replay(record.offset, producer_id, &decoded),
            // One unreadable record must not take all groups of the partition with it.
            Err(error) => tracing::warn!(offset = record.offset, %error, "skipped a record of __consumer_offsets"),
        }
    }
    Ok(())
}
