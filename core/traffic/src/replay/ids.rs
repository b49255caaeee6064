//! Which id of the target stands for which one of the recording. Answers teach it, requests are changed by it.

use ottla_model::{Str, Uuid};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// What an id is of; ids of different kinds have nothing to do with each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Topic,
    Member,
    Producer,
    /// Of a producer's id, as in the recording.
    ProducerEpoch(String),
    FetchSession,
    Node,
    Cluster,
    /// Of a group: the generation of the classic protocol, the epoch of KIP-848's.
    Generation(String),
}

/// Pairs of ids, as their `Debug` texts.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    known: HashMap<Kind, HashMap<String, String>>,
    count: usize,
}

/// So many ids of one recording are kept apart; later ones are taken as they are. Bounds what a hostile file can do.
const IDS_MAX: usize = 1_000_000;

/// What is no id of anything.
fn is_none(kind: &Kind, text: &str) -> bool {
    match kind {
        Kind::Topic => text == "AAAAAAAAAAAAAAAAAAAAAA",
        Kind::Member | Kind::Cluster => matches!(text, "\"\"" | "None"),
        Kind::FetchSession => text == "0",
        Kind::Producer | Kind::ProducerEpoch(_) | Kind::Node => text == "-1",
        // KIP-848: 0 joins, -1 leaves, -2 leaves for a while.
        Kind::Generation(_) => matches!(text, "0" | "-1" | "-2"),
    }
}

impl Ids {
    /// Compares two ids: equal if the one stands for the other, or may from now on.
    pub(crate) fn pair(&mut self, kind: Kind, recorded: &str, replayed: &str) -> bool {
        if is_none(&kind, recorded) || is_none(&kind, replayed) {
            return recorded == replayed;
        }
        match self.known.entry(kind).or_default().entry(recorded.to_owned()) {
            Entry::Occupied(known) => known.get() == replayed,
            Entry::Vacant(vacant) => {
                if self.count < IDS_MAX {
                    vacant.insert(replayed.to_owned());
                    self.count += 1;
                }
                true
            }
        }
    }

    pub(crate) fn find(&self, kind: &Kind, recorded: &str) -> Option<&str> {
        self.known.get(kind)?.get(recorded).map(String::as_str)
    }

    fn number<T: std::fmt::Debug + std::str::FromStr>(&self, kind: &Kind, id: &mut T) {
        if let Some(known) = self.find(kind, &format!("{id:?}")).and_then(|known| known.parse().ok()) {
            *id = known;
        }
    }

    pub(crate) fn topic(&self, id: &mut Uuid) {
        self.number(&Kind::Topic, id);
    }

    pub(crate) fn member(&self, id: &mut Str) {
        if let Some(known) = self.find(&Kind::Member, &format!("{id:?}")) {
            *id = unquote(known).as_str().into();
        }
    }

    pub(crate) fn member_if_any(&self, id: &mut Option<Str>) {
        if let Some(id) = id {
            self.member(id);
        }
    }

    pub(crate) fn cluster(&self, id: &mut Option<Str>) {
        if let Some(known) = id.as_ref().and_then(|id| self.find(&Kind::Cluster, &format!("{id:?}"))) {
            *id = Some(unquote(known).as_str().into());
        }
    }

    pub(crate) fn generation(&self, group: &str, generation: &mut i32) {
        self.number(&Kind::Generation(format!("{group:?}")), generation);
    }

    /// The epoch first: it is one of the recorded id.
    pub(crate) fn producer(&self, id: &mut i64, epoch: &mut i16) {
        self.number(&Kind::ProducerEpoch(id.to_string()), epoch);
        self.number(&Kind::Producer, id);
    }

    pub(crate) fn producer_id(&self, id: &mut i64) {
        self.number(&Kind::Producer, id);
    }

    pub(crate) fn fetch_session(&self, id: &mut i32) {
        self.number(&Kind::FetchSession, id);
    }

    pub(crate) fn node(&self, id: &mut i32) {
        self.number(&Kind::Node, id);
    }
}

/// A string out of its `Debug` text.
pub(crate) fn unquote(text: &str) -> String {
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let mut chars = inner.chars();
    let mut out = String::new();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('0') => out.push('\0'),
            Some('u') => {
                let code: String = chars.by_ref().skip(1).take_while(|c| *c != '}').collect();
                out.extend(u32::from_str_radix(&code, 16).ok().and_then(char::from_u32));
            }
            other => out.extend(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_back_out_of_its_debug() {
        for text in ["", "plain-0b1c", "a\"b\\c\n\r\t\0'", "\u{7}\u{301}x", "日本"] {
            assert_eq!(unquote(&format!("{text:?}")), text);
        }
    }

    #[test]
    fn an_id_stands_for_one_other() {
        let mut ids = Ids::default();
        assert!(ids.pair(Kind::Producer, "0", "4000") && ids.pair(Kind::Producer, "0", "4000"));
        assert!(!ids.pair(Kind::Producer, "0", "4001"));
        assert!(ids.pair(Kind::ProducerEpoch("0".to_owned()), "1", "7"));
        let (mut id, mut epoch) = (0, 1);
        ids.producer(&mut id, &mut epoch);
        assert_eq!((id, epoch), (4000, 7));
        let (mut other, mut epoch) = (1, 1);
        ids.producer(&mut other, &mut epoch);
        assert_eq!((other, epoch), (1, 1), "an id that is not known stays");
        assert!(!ids.pair(Kind::Producer, "-1", "3") && ids.pair(Kind::Producer, "-1", "-1"));
    }
}
