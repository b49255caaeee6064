//! Incremental fetch sessions (KIP-227): the broker remembers a consumer's partitions, so that a fetch names only what
//! changed and its answer only what is new.
//!
//! (id 0, epoch 0) asks for a new session; (0, -1) for none; (id, n) goes on with one. The cache is bounded by
//! `max.incremental.fetch.session.cache.slots`; when it is full and nobody has been idle long enough, a full fetch is
//! answered without a session (id 0), which every client understands.

use ottla_env::Env;
use ottla_model::{ErrorCode, Uuid};
use ottla_protocol::fetch_request::{FetchPartition, FetchRequest};
use ottla_protocol::fetch_response::PartitionData;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// A session that nobody used this long may be replaced (Kafka's min.incremental.fetch.session.eviction.ms).
const EVICTION: Duration = Duration::from_secs(120);
const FINAL_EPOCH: i32 = -1;
const INITIAL_EPOCH: i32 = 0;

/// Names a partition inside a session: by topic id from Fetch v13 on, by name before.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct SessionKey {
    pub(crate) topic: Arc<str>,
    pub(crate) topic_id: Uuid,
    pub(crate) partition: i32,
}

/// What a session knows of one partition.
#[derive(Debug, Clone)]
pub(crate) struct SessionPartition {
    pub(crate) key: SessionKey,
    pub(crate) fetch: FetchPartition,
    /// What the client was last told; -1 forces the next answer to name the partition.
    high_watermark: i64,
    log_start_offset: i64,
}

/// One consumer's partitions, in the order in which they are read: those that returned data go to the end.
#[derive(Debug)]
pub(crate) struct Session {
    id: i32,
    epoch: i32,
    uses_topic_ids: bool,
    by_order: BTreeMap<u64, SessionPartition>,
    order_of: HashMap<SessionKey, u64>,
    next_order: u64,
}

impl Session {
    fn new(id: i32, uses_topic_ids: bool) -> Session {
        let (by_order, order_of) = Default::default();
        Session { id, epoch: INITIAL_EPOCH + 1, uses_topic_ids, by_order, order_of, next_order: 0 }
    }

    fn upsert(&mut self, key: SessionKey, fetch: FetchPartition) {
        if let Some(known) = self.order_of.get(&key).and_then(|order| self.by_order.get_mut(order)) {
            known.fetch = fetch;
            return;
        }
        let order = self.next_order;
        self.next_order += 1;
        self.order_of.insert(key.clone(), order);
        let known = SessionPartition { key, fetch, high_watermark: -1, log_start_offset: -1 };
        self.by_order.insert(order, known);
    }

    fn forget(&mut self, key: &SessionKey) {
        if let Some(order) = self.order_of.remove(key) {
            self.by_order.remove(&order);
        }
    }

    /// The partitions in reading order.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = &SessionPartition> {
        self.by_order.values()
    }

    /// Whether an incremental answer has to name this partition; remembers what the client then knows.
    fn must_answer(&mut self, key: &SessionKey, data: &PartitionData) -> bool {
        let Some(order) = self.order_of.get(key).copied() else { return true };
        let Some(known) = self.by_order.get_mut(&order) else { return true };
        let has_records = data.records.as_ref().is_some_and(|records| !records.is_empty());
        let failed = data.error_code != ErrorCode::None.code();
        let changed = has_records
            || failed
            || known.high_watermark != data.high_watermark
            || known.log_start_offset != data.log_start_offset
            || data.preferred_read_replica >= 0
            || data.diverging_epoch.epoch >= 0;
        // After an error the next good answer has to be named even when it brings nothing new.
        known.high_watermark = if failed { -1 } else { data.high_watermark };
        known.log_start_offset = data.log_start_offset;
        if has_records && let Some(moved) = self.by_order.remove(&order) {
            self.by_order.insert(self.next_order, moved);
            self.order_of.insert(key.clone(), self.next_order);
            self.next_order += 1;
        }
        changed
    }
}

/// A fetch as one session sees it.
#[derive(Debug)]
pub(crate) enum FetchContext {
    /// No session: what the request names is all there is.
    Sessionless,
    /// The answer names every partition and hands out the session.
    Full(Arc<Mutex<Session>>),
    /// The answer names what changed.
    Incremental(Arc<Mutex<Session>>),
}

impl FetchContext {
    /// The session id to answer with.
    pub(crate) fn session_id(&self) -> i32 {
        match self {
            FetchContext::Sessionless => 0,
            FetchContext::Full(session) | FetchContext::Incremental(session) => session.lock().id,
        }
    }

    /// Drops from `answers` what the client already knows.
    pub(crate) fn filter(&self, answers: Vec<(SessionKey, PartitionData)>) -> Vec<(SessionKey, PartitionData)> {
        match self {
            FetchContext::Sessionless => answers,
            FetchContext::Full(session) => {
                let mut session = session.lock();
                for (key, data) in &answers {
                    session.must_answer(key, data);
                }
                answers
            }
            FetchContext::Incremental(session) => {
                let mut session = session.lock();
                answers.into_iter().filter(|(key, data)| session.must_answer(key, data)).collect()
            }
        }
    }
}

/// All sessions of a broker.
#[derive(Debug)]
pub(crate) struct FetchSessions {
    env: Env,
    slots: usize,
    /// Guards the table. A session's own lock is taken under it only to read its epoch.
    table: Mutex<BTreeMap<i32, Slot>>,
}

#[derive(Debug)]
struct Slot {
    session: Arc<Mutex<Session>>,
    last_used: Duration,
}

impl FetchSessions {
    pub(crate) fn new(env: Env, slots: usize) -> FetchSessions {
        FetchSessions { env, slots, table: Mutex::default() }
    }

    /// Sorts a request into its session. `resolve` turns a topic as the request names it into a key.
    ///
    /// # Errors
    /// FETCH_SESSION_ID_NOT_FOUND, INVALID_FETCH_SESSION_EPOCH, FETCH_SESSION_TOPIC_ID_ERROR (top level).
    pub(crate) fn open(
        &self,
        request: &FetchRequest,
        uses_topic_ids: bool,
        partitions: Vec<(SessionKey, FetchPartition)>,
        forgotten: &[SessionKey],
    ) -> Result<FetchContext, ErrorCode> {
        let (id, epoch) = (request.session_id, request.session_epoch);
        let now = self.env.monotonic();
        let mut table = self.table.lock();
        if epoch == FINAL_EPOCH || epoch == INITIAL_EPOCH {
            if id != 0 {
                table.remove(&id);
            }
            if epoch == FINAL_EPOCH || !self.make_room(&mut table, now) {
                return Ok(FetchContext::Sessionless);
            }
            let id = self.unused_id(&table);
            let mut session = Session::new(id, uses_topic_ids);
            for (key, fetch) in partitions {
                session.upsert(key, fetch);
            }
            let session = Arc::new(Mutex::new(session));
            table.insert(id, Slot { session: session.clone(), last_used: now });
            return Ok(FetchContext::Full(session));
        }
        let slot = table.get_mut(&id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        let handle = slot.session.clone();
        let mut session = handle.lock();
        if session.epoch != epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.uses_topic_ids != uses_topic_ids {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        slot.last_used = now;
        session.epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
        for (key, fetch) in partitions {
            session.upsert(key, fetch);
        }
        for key in forgotten {
            session.forget(key);
        }
        if session.by_order.is_empty() {
            drop(session);
            table.remove(&id);
            return Ok(FetchContext::Sessionless);
        }
        drop(session);
        Ok(FetchContext::Incremental(handle))
    }

    /// What the session of a request that goes on with one is about.
    pub(crate) fn partitions_of(&self, id: i32, epoch: i32) -> Vec<SessionKey> {
        if epoch <= INITIAL_EPOCH {
            return Vec::new();
        }
        let session = self.table.lock().get(&id).map(|slot| slot.session.clone());
        session.map_or_else(Vec::new, |session| session.lock().partitions().map(|known| known.key.clone()).collect())
    }

    fn make_room(&self, table: &mut BTreeMap<i32, Slot>, now: Duration) -> bool {
        if table.len() < self.slots {
            return true;
        }
        let oldest = table.iter().min_by_key(|(_, slot)| slot.last_used).map(|(id, slot)| (*id, slot.last_used));
        match oldest {
            Some((id, last_used)) if now.saturating_sub(last_used) > EVICTION => table.remove(&id).is_some(),
            _ => false,
        }
    }

    fn unused_id(&self, table: &BTreeMap<i32, Slot>) -> i32 {
        loop {
            let id = (self.env.random_u64() & 0x7fff_ffff) as i32;
            if id != 0 && !table.contains_key(&id) {
                return id;
            }
        }
    }
}
