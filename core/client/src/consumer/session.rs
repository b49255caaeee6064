//! A fetch session (KIP-227): after a first full request only partitions whose position changed are sent, and the broker
//! answers only with those that have news. Pure: it makes requests and reads answers, it does not send.

use ottla_model::{ErrorCode, Str, Uuid};
use ottla_protocol::fetch_request::{FetchPartition, FetchRequest, FetchTopic, ForgottenTopic};
use ottla_protocol::fetch_response::FetchResponse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The first version that names topics by id only (KIP-516).
pub(super) const TOPIC_IDS_FROM: i16 = 13;
/// The first version with sessions.
const SESSIONS_FROM: i16 = 7;

/// Asks for a session.
const EPOCH_INITIAL: i32 = 0;
/// Says that none is wanted, or ends one.
const EPOCH_NONE: i32 = -1;

/// A partition of a topic; the id is part of it, as a topic made anew under the same name is another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) topic: Arc<str>,
    pub(super) id: Uuid,
    pub(super) partition: i32,
}

/// What to fetch of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Want {
    pub(super) offset: i64,
    pub(super) leader_epoch: i32,
    pub(super) max_bytes: i32,
}

/// The session with one broker.
#[derive(Debug, Default)]
pub(super) struct Session {
    id: i32,
    epoch: i32,
    /// What the broker knows.
    known: BTreeMap<Key, Want>,
}

impl Session {
    /// Fills in session and topics of the next request for `wanted`.
    pub(super) fn fill(&mut self, request: &mut FetchRequest, wanted: &BTreeMap<Key, Want>, version: i16) {
        let full = self.epoch == EPOCH_INITIAL || version < SESSIONS_FROM;
        if full {
            self.known.clear();
        }
        request.session_id = if version < SESSIONS_FROM { 0 } else { self.id };
        request.session_epoch = if version < SESSIONS_FROM { EPOCH_NONE } else { self.epoch };
        let changed = wanted.iter().filter(|(key, want)| self.known.get(key) != Some(want));
        request.topics = by_topic(changed, version);
        let gone: Vec<&Key> = self.known.keys().filter(|key| !wanted.contains_key(key)).collect();
        request.forgotten_topics_data = forgotten(&gone, version);
        self.known = wanted.clone();
    }

    /// Takes over what the answer says about the session. False: the session is void, the answer holds nothing.
    pub(super) fn answered(&mut self, response: &FetchResponse) -> bool {
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::None if response.session_id == 0 => {
                // Refused or ended: full requests from now on, each asking again.
                self.reset();
                true
            }
            ErrorCode::None => {
                self.id = response.session_id;
                self.epoch = if self.epoch == i32::MAX { 1 } else { self.epoch + 1 };
                true
            }
            ErrorCode::FetchSessionIdNotFound => {
                self.reset();
                false
            }
            _ => {
                // The broker has the session still: a full request under its id replaces it.
                self.epoch = EPOCH_INITIAL;
                false
            }
        }
    }

    /// Starts over; after the connection broke the broker's state is not known.
    pub(super) fn reset(&mut self) {
        *self = Session::default();
    }

    /// The partition that an answer speaks of.
    pub(super) fn find(&self, topic: &str, id: Uuid, partition: i32) -> Option<&Key> {
        self.known.keys().find(|key| {
            key.partition == partition && if topic.is_empty() { key.id == id } else { &*key.topic == topic }
        })
    }
}

fn by_topic<'a>(wanted: impl Iterator<Item = (&'a Key, &'a Want)>, version: i16) -> Vec<FetchTopic> {
    let mut topics: Vec<FetchTopic> = Vec::new();
    let mut last: Option<&Key> = None;
    for (key, want) in wanted {
        if last.is_none_or(|last| (&last.topic, last.id) != (&key.topic, key.id)) {
            let mut topic = FetchTopic::default();
            if version >= TOPIC_IDS_FROM {
                topic.topic_id = key.id;
            } else {
                topic.topic = Str::from(&*key.topic);
            }
            topics.push(topic);
        }
        last = Some(key);
        if let Some(topic) = topics.last_mut() {
            topic.partitions.push(FetchPartition {
                partition: key.partition,
                current_leader_epoch: want.leader_epoch,
                fetch_offset: want.offset,
                partition_max_bytes: want.max_bytes,
                ..Default::default()
            });
        }
    }
    topics
}

fn forgotten(gone: &[&Key], version: i16) -> Vec<ForgottenTopic> {
    let topics: BTreeSet<(&Arc<str>, Uuid)> = gone.iter().map(|key| (&key.topic, key.id)).collect();
    let partitions = |topic: &Arc<str>, id: Uuid| {
        gone.iter().filter(|key| key.topic == *topic && key.id == id).map(|key| key.partition).collect()
    };
    let forget = |(topic, id): (&Arc<str>, Uuid)| {
        let by_id = version >= TOPIC_IDS_FROM;
        ForgottenTopic {
            topic: if by_id { Str::default() } else { Str::from(&**topic) },
            topic_id: if by_id { id } else { Uuid::ZERO },
            partitions: partitions(topic, id),
            ..Default::default()
        }
    };
    topics.into_iter().map(forget).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(offsets: &[(i32, i64)]) -> BTreeMap<Key, Want> {
        let key = |partition| Key { topic: Arc::from("t"), id: Uuid([1; 16]), partition };
        let want = |offset| Want { offset, leader_epoch: 0, max_bytes: 10 };
        offsets.iter().map(|&(partition, offset)| (key(partition), want(offset))).collect()
    }

    /// (session id, epoch, partitions sent, partitions forgotten)
    fn fill(session: &mut Session, offsets: &[(i32, i64)]) -> (i32, i32, Vec<i32>, Vec<i32>) {
        let mut request = FetchRequest::default();
        session.fill(&mut request, &wanted(offsets), 17);
        let sent = request.topics.iter().flat_map(|t| t.partitions.iter().map(|p| p.partition)).collect();
        let gone = request.forgotten_topics_data.iter().flat_map(|t| t.partitions.clone()).collect();
        (request.session_id, request.session_epoch, sent, gone)
    }

    fn answer(session_id: i32, code: ErrorCode) -> FetchResponse {
        FetchResponse { session_id, error_code: code.code(), ..Default::default() }
    }

    #[test]
    fn only_changes_are_sent() {
        let mut session = Session::default();
        assert_eq!(fill(&mut session, &[(0, 5), (1, 5)]), (0, 0, vec![0, 1], vec![]));
        assert!(session.answered(&answer(7, ErrorCode::None)));
        assert_eq!(fill(&mut session, &[(0, 9), (1, 5)]), (7, 1, vec![0], vec![]));
        assert!(session.answered(&answer(7, ErrorCode::None)));
        assert_eq!(fill(&mut session, &[(1, 5), (2, 0)]), (7, 2, vec![2], vec![0]));
    }

    #[test]
    fn a_lost_session_is_made_anew() {
        let mut session = Session::default();
        fill(&mut session, &[(0, 5)]);
        session.answered(&answer(7, ErrorCode::None));
        fill(&mut session, &[(0, 5)]);
        assert!(!session.answered(&answer(0, ErrorCode::FetchSessionIdNotFound)));
        assert_eq!(fill(&mut session, &[(0, 5)]), (0, 0, vec![0], vec![]));
        session.answered(&answer(8, ErrorCode::None));
        fill(&mut session, &[(0, 6)]);
        assert!(!session.answered(&answer(0, ErrorCode::InvalidFetchSessionEpoch)));
        assert_eq!(fill(&mut session, &[(0, 6)]), (8, 0, vec![0], vec![]));
    }

    #[test]
    fn a_broker_without_sessions_gets_full_requests() {
        let mut session = Session::default();
        fill(&mut session, &[(0, 5)]);
        assert!(session.answered(&answer(0, ErrorCode::None)));
        assert_eq!(fill(&mut session, &[(0, 5)]), (0, 0, vec![0], vec![]));
    }
}
