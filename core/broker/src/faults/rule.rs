//! One fault: what it matches, how often it strikes, what it does, and how often it did.

use super::{Faults, filters_of};
use ottla_model::ErrorCode;
use ottla_protocol::ApiKey;
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Why a fault cannot be defined: it could never strike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultError(pub(super) String);

impl fmt::Display for FaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FaultError {}

/// What can be told apart in the requests of an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Filters {
    pub(crate) topic: bool,
    pub(crate) partition: bool,
    pub(crate) group: bool,
}

impl Filters {
    pub(crate) const NONE: Filters = Filters { topic: false, partition: false, group: false };
    pub(crate) const TOPIC: Filters = Filters { topic: true, ..Filters::NONE };
    pub(crate) const PARTITION: Filters = Filters { partition: true, ..Filters::TOPIC };
    pub(crate) const GROUP: Filters = Filters { group: true, ..Filters::NONE };
    pub(crate) const GROUP_PARTITION: Filters = Filters { group: true, ..Filters::PARTITION };
}

/// Which requests or appends a rule is about; what is `None` is not looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) topic: Option<String>,
    pub(crate) partition: Option<i32>,
    pub(crate) group: Option<String>,
    pub(crate) client_id: Option<String>,
}

impl Scope {
    /// Whether it is about requests as a whole.
    pub(crate) fn is_whole(&self) -> bool {
        self.topic.is_none() && self.partition.is_none()
    }

    pub(crate) fn matches(&self, topic: Option<&str>, partition: Option<i32>, group: Option<&str>) -> bool {
        self.topic.as_deref().is_none_or(|wanted| topic == Some(wanted))
            && self.partition.is_none_or(|wanted| partition == Some(wanted))
            && self.group.as_deref().is_none_or(|wanted| group == Some(wanted))
    }
}

/// How the answer to a request that was served is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostAnswer {
    /// The connection is closed instead: the client learns at once that it does not know what happened.
    Close,
    /// The connection stays open and silent: nothing more is read from it or written to it, so the client waits for its
    /// request timeout.
    Silence,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Delay(Duration),
    Error(ErrorCode),
    Lose(LostAnswer),
    Disconnect,
    DiskFull,
    TornWrite,
}

/// Of the matches, which strike.
#[derive(Debug, Clone, Default, PartialEq)]
struct Frequency {
    skip: u64,
    times: Option<u64>,
    /// Of 2^64, and the state of its generator.
    chance: Option<(u64, u64)>,
}

impl Frequency {
    fn set_chance(&mut self, probability: f64, seed: u64) -> Result<(), FaultError> {
        if !(probability > 0.0 && probability <= 1.0) {
            return Err(FaultError(format!("a probability is above 0 and at most 1, not {probability}")));
        }
        // The cast saturates: 1.0 is always.
        self.chance = Some(((probability * u64::MAX as f64) as u64, seed));
        Ok(())
    }

    fn draw(&mut self) -> bool {
        let Some((threshold, state)) = &mut self.chance else { return true };
        // splitmix64: the same seed strikes the same matches on every machine.
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = *state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) <= *threshold
    }
}

#[derive(Debug)]
struct Progress {
    matched: u64,
    fired: u64,
    frequency: Frequency,
}

/// A rule as the broker keeps it.
#[derive(Debug)]
pub(crate) struct Rule {
    /// `None`: every API. Not looked at by rules about appends.
    pub(crate) api: Option<ApiKey>,
    pub(crate) scope: Scope,
    pub(crate) action: Action,
    /// Guards the counts with the draw, so that concurrent requests count one after the other.
    progress: Mutex<Progress>,
    changed: Notify,
}

impl Rule {
    fn new(api: Option<ApiKey>, scope: Scope, action: Action, frequency: Frequency) -> Rule {
        let progress = Mutex::new(Progress { matched: 0, fired: 0, frequency });
        Rule { api, scope, action, progress, changed: Notify::new() }
    }

    pub(crate) fn is_about_appends(&self) -> bool {
        matches!(self.action, Action::DiskFull | Action::TornWrite)
    }

    /// Notes a match; says whether it strikes this time.
    pub(crate) fn strikes(&self) -> bool {
        let mut progress = self.progress.lock();
        progress.matched += 1;
        let due = progress.matched > progress.frequency.skip
            && progress.frequency.times.is_none_or(|times| progress.fired < times)
            && progress.frequency.draw();
        if due {
            progress.fired += 1;
        }
        drop(progress);
        self.changed.notify_waiters();
        due
    }

    /// Whether it will never strike again.
    pub(crate) fn is_spent(&self) -> bool {
        let progress = self.progress.lock();
        progress.frequency.times.is_some_and(|times| progress.fired >= times)
    }
}

/// A fault that was set: how often it struck, and its end. Dropping it changes nothing.
#[derive(Debug, Clone)]
pub struct Fault {
    rule: Arc<Rule>,
    faults: Faults,
}

impl Fault {
    /// How many requests (or appends) it has struck.
    pub fn fired(&self) -> u64 {
        self.rule.progress.lock().fired
    }

    /// How many it has matched, those that [`after`](RequestFault::after), [`times`](RequestFault::times) and
    /// [`probability`](RequestFault::probability) let pass among them. A rule that has struck its last time counts no more.
    pub fn matched(&self) -> u64 {
        self.rule.progress.lock().matched
    }

    /// Waits until it has struck `times` times, so that a test needs no sleep. Cancel safe; has no limit of its own.
    pub async fn wait_fired(&self, times: u64) {
        loop {
            let mut changed = std::pin::pin!(self.rule.changed.notified());
            // Registered before the look: a strike between the two must not be missed.
            changed.as_mut().enable();
            if self.fired() >= times {
                return;
            }
            changed.await;
        }
    }

    /// Ends it. A request that is being delayed by it goes on waiting.
    pub fn remove(&self) {
        self.faults.remove(&self.rule);
    }
}

/// A fault of requests, being described; nothing happens before one of its actions is named (the methods that return a
/// [`Fault`]). Without [`times`](Self::times), [`after`](Self::after) or [`probability`](Self::probability) it strikes always.
#[derive(Debug)]
#[must_use = "a fault needs an action: delay, error, lose_answer or disconnect"]
pub struct RequestFault {
    faults: Faults,
    api: Option<ApiKey>,
    scope: Scope,
    frequency: Frequency,
    /// The first thing that was wrong; told by the action.
    wrong: Option<FaultError>,
}

impl RequestFault {
    pub(super) fn new(faults: Faults, api: Option<ApiKey>) -> RequestFault {
        RequestFault { faults, api, scope: Scope::default(), frequency: Frequency::default(), wrong: None }
    }

    /// Only what concerns this topic, also where the request names it by its id.
    pub fn topic(mut self, topic: impl Into<String>) -> RequestFault {
        self.scope.topic = Some(topic.into());
        self
    }

    /// Only this partition.
    pub fn partition(mut self, partition: i32) -> RequestFault {
        self.scope.partition = Some(partition);
        self
    }

    /// Only what concerns this group.
    pub fn group(mut self, group: impl Into<String>) -> RequestFault {
        self.scope.group = Some(group.into());
        self
    }

    /// Only requests with this `client.id`.
    pub fn client_id(mut self, client_id: impl Into<String>) -> RequestFault {
        self.scope.client_id = Some(client_id.into());
        self
    }

    /// Strikes at most `times` requests.
    pub fn times(mut self, times: u64) -> RequestFault {
        if times == 0 {
            self.complain("times(0) never strikes".to_owned());
        }
        self.frequency.times = Some(times);
        self
    }

    /// Strikes every match, which is the default.
    pub fn always(mut self) -> RequestFault {
        self.frequency.times = None;
        self
    }

    /// Lets the first `requests` matches pass.
    pub fn after(mut self, requests: u64) -> RequestFault {
        self.frequency.skip = requests;
        self
    }

    /// Strikes a match with this probability, drawn from a generator with this seed: the same for the same sequence of
    /// matches.
    pub fn probability(mut self, probability: f64, seed: u64) -> RequestFault {
        if let Err(error) = self.frequency.set_chance(probability, seed) {
            self.complain(error.0);
        }
        self
    }

    /// Executes the request `delay` later, by the broker's clock. What the request waits for by itself comes on top.
    ///
    /// # Errors
    /// The fault could never strike.
    pub fn delay(self, delay: Duration) -> Result<Fault, FaultError> {
        self.set(Action::Delay(delay))
    }

    /// Answers with this error, in the place where the API has it: for the matching partitions, topics or groups where it
    /// answers for each, which then are not executed while the others are served; else for the whole request. Produce with
    /// acks=0 has no answer: its connection is closed, as Kafka does. Where a request names nothing and the version has no
    /// place for an error, it is served and does not count.
    ///
    /// # Errors
    /// The fault could never strike; [`ErrorCode::None`] is no error.
    pub fn error(mut self, code: ErrorCode) -> Result<Fault, FaultError> {
        if code == ErrorCode::None {
            self.complain("NONE is not an error".to_owned());
        }
        self.set(Action::Error(code))
    }

    /// Executes the request and loses its answer.
    ///
    /// # Errors
    /// The fault could never strike.
    pub fn lose_answer(self, how: LostAnswer) -> Result<Fault, FaultError> {
        self.set(Action::Lose(how))
    }

    /// Closes the connection instead of executing the request.
    ///
    /// # Errors
    /// The fault could never strike.
    pub fn disconnect(self) -> Result<Fault, FaultError> {
        self.set(Action::Disconnect)
    }

    fn complain(&mut self, reason: String) {
        self.wrong.get_or_insert(FaultError(reason));
    }

    fn set(mut self, action: Action) -> Result<Fault, FaultError> {
        if let Some(reason) = self.unmatchable() {
            self.complain(reason);
        }
        match self.wrong {
            Some(wrong) => Err(wrong),
            None => Ok(self.faults.set(Rule::new(self.api, self.scope, action, self.frequency))),
        }
    }

    /// Why no request will ever match.
    fn unmatchable(&self) -> Option<String> {
        let scope = &self.scope;
        if scope.partition.is_some() && scope.topic.is_none() {
            return Some("a partition needs its topic: add .topic(..)".to_owned());
        }
        let api = self.api?;
        let Some(filters) = filters_of(api) else {
            return Some(format!("{} is not served by this broker", api.name()));
        };
        let asked = [
            ("topic", scope.topic.is_some(), filters.topic),
            ("partition", scope.partition.is_some(), filters.partition),
            ("group", scope.group.is_some(), filters.group),
        ];
        let (what, ..) = asked.into_iter().find(|(_, asked, can)| *asked && !can)?;
        Some(format!("no {} request says for which {what} it is: leave .{what}(..) out", api.name()))
    }
}

impl Fault {
    pub(super) fn new(rule: Arc<Rule>, faults: Faults) -> Fault {
        Fault { rule, faults }
    }
}

/// A fault of the disk, being described: it strikes where batches are appended to logs, whoever appends them.
#[derive(Debug)]
#[must_use = "a fault needs an action: disk_full or torn_write"]
pub struct AppendFault {
    faults: Faults,
    scope: Scope,
    frequency: Frequency,
    wrong: Option<FaultError>,
}

impl AppendFault {
    pub(super) fn new(faults: Faults) -> AppendFault {
        AppendFault { faults, scope: Scope::default(), frequency: Frequency::default(), wrong: None }
    }

    /// Only the partitions of this topic. Without, the whole of the log directories is meant: group offsets
    /// (`__consumer_offsets`) and the cluster's metadata (`__cluster_metadata`, so also creating topics) among them.
    pub fn topic(mut self, topic: impl Into<String>) -> AppendFault {
        self.scope.topic = Some(topic.into());
        self
    }

    /// Only this partition.
    pub fn partition(mut self, partition: i32) -> AppendFault {
        self.scope.partition = Some(partition);
        self
    }

    /// Strikes at most `times` appends.
    pub fn times(mut self, times: u64) -> AppendFault {
        if times == 0 {
            self.wrong.get_or_insert(FaultError("times(0) never strikes".to_owned()));
        }
        self.frequency.times = Some(times);
        self
    }

    /// Strikes every match, which is the default.
    pub fn always(mut self) -> AppendFault {
        self.frequency.times = None;
        self
    }

    /// Lets the first `appends` matches pass.
    pub fn after(mut self, appends: u64) -> AppendFault {
        self.frequency.skip = appends;
        self
    }

    /// Strikes a match with this probability; see [`RequestFault::probability`].
    pub fn probability(mut self, probability: f64, seed: u64) -> AppendFault {
        if let Err(error) = self.frequency.set_chance(probability, seed) {
            self.wrong.get_or_insert(error);
        }
        self
    }

    /// The disk is full: half of the batch is written, then the write fails as it does with ENOSPC, and the log takes the
    /// half back. Clients are answered KAFKA_STORAGE_ERROR.
    ///
    /// # Errors
    /// The fault could never strike.
    pub fn disk_full(self) -> Result<Fault, FaultError> {
        self.set(Action::DiskFull)
    }

    /// The broker dies in the middle of the write: half of the batch stays in the file, every connection ends unanswered,
    /// and nothing is written any more. The broker's `crash` and then `restart` bring it up again, which recovers the log.
    /// Strikes logs of topics, not the metadata log.
    ///
    /// # Errors
    /// The fault could never strike.
    pub fn torn_write(self) -> Result<Fault, FaultError> {
        self.set(Action::TornWrite)
    }

    fn set(self, action: Action) -> Result<Fault, FaultError> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        if self.scope.partition.is_some() && self.scope.topic.is_none() {
            return Err(FaultError("a partition needs its topic: add .topic(..)".to_owned()));
        }
        Ok(self.faults.set(Rule::new(None, self.scope, action, self.frequency)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strikes(frequency: Frequency, matches: usize) -> Vec<bool> {
        let rule = Rule::new(None, Scope::default(), Action::Disconnect, frequency);
        (0..matches).map(|_| rule.strikes()).collect()
    }

    #[test]
    fn a_rule_skips_then_strikes_as_often_as_it_may() {
        let frequency = Frequency { skip: 2, times: Some(2), chance: None };
        assert_eq!(strikes(frequency, 6), [false, false, true, true, false, false]);
    }

    #[test]
    fn the_same_seed_strikes_the_same_matches() {
        let of = |probability, seed| {
            let mut frequency = Frequency::default();
            frequency.set_chance(probability, seed).unwrap();
            strikes(frequency, 10_000)
        };
        assert_eq!(of(0.3, 7), of(0.3, 7));
        assert_ne!(of(0.3, 7), of(0.3, 8));
        let count = of(0.3, 7).into_iter().filter(|struck| *struck).count();
        assert!((2_700..3_300).contains(&count), "{count}");
        assert!(of(1.0, 1).into_iter().all(|struck| struck));
        for wrong in [0.0, -1.0, 1.1, f64::NAN] {
            assert!(Frequency::default().set_chance(wrong, 1).is_err(), "{wrong}");
        }
    }
}
