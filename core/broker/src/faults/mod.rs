//! Faults on purpose: what a test asks this broker to do wrong, per API, topic, partition, group and client.
//!
//! [`Faults`] is the public door, `rule` one fault, `inject` what happens to a request on its way to the handler (called by
//! dispatch), `part` and the files below it how each API says no. Without a rule all of it costs one look at a counter per
//! request and per append. Rules live as long as their broker; a restarted one has none.

mod groups;
mod inject;
mod part;
mod partitions;
mod rule;
mod topics;
mod transactions;

pub(crate) use inject::{Injected, InjectedError, inject};
pub(crate) use part::Refuse;
pub(crate) use rule::Filters;
pub use rule::{AppendFault, Fault, FaultError, LostAnswer, RequestFault};

use crate::dispatch::filters_of;
use crate::node::Node;
use ottla_coordinator::group::Event;
use ottla_log::WriteFault;
pub use ottla_model::ErrorCode;
pub use ottla_protocol::ApiKey;
use parking_lot::RwLock;
use rule::{Action, Rule};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// The faults of one broker; clones are the same.
#[derive(Debug, Clone)]
pub struct Faults {
    table: Arc<Table>,
    node: Weak<Node>,
}

/// A broker's rules.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// How many rules there are, and one more after a crash: what a request looks at.
    armed: AtomicUsize,
    /// Guards the rules, in the order in which they were set; replaced as a whole.
    rules: RwLock<Arc<Vec<Arc<Rule>>>>,
    crashed: AtomicBool,
    closed: AtomicBool,
    /// Ends all connections.
    stop: OnceLock<Stop>,
}

struct Stop(Box<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stop")
    }
}

impl Table {
    /// Whether anything is to be looked at.
    pub(crate) fn is_armed(&self) -> bool {
        self.armed.load(Ordering::Relaxed) != 0
    }

    /// Whether the broker plays dead.
    pub(crate) fn has_crashed(&self) -> bool {
        self.crashed.load(Ordering::Acquire)
    }

    /// The broker is closed: there is nothing left to do wrong.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// What ends all connections when the broker is to die.
    pub(crate) fn on_crash(&self, stop: impl Fn() + Send + Sync + 'static) {
        // A broker starts once.
        let _ = self.stop.set(Stop(Box::new(stop)));
    }

    /// From now on nothing is answered and nothing is written to the logs of topics.
    pub(crate) fn crash(&self, node: &Node) {
        if !self.crashed.swap(true, Ordering::AcqRel) {
            self.armed.fetch_add(1, Ordering::AcqRel);
        }
        node.logs.abandon();
        if let Some(stop) = self.stop.get() {
            (stop.0)();
        }
    }

    fn rules(&self) -> Arc<Vec<Arc<Rule>>> {
        self.rules.read().clone()
    }

    /// What is to go wrong with an append to this partition.
    pub(crate) fn on_append(&self, topic: &str, partition: i32) -> Option<WriteFault> {
        if self.has_crashed() {
            return Some(WriteFault::Refused);
        }
        for rule in self.rules().iter().filter(|rule| rule.is_about_appends()) {
            if rule.scope.matches(Some(topic), Some(partition), None) && self.strikes(rule) {
                return Some(match rule.action {
                    Action::TornWrite => WriteFault::Torn,
                    _ => WriteFault::DiskFull,
                });
            }
        }
        None
    }

    /// Whether the disk has no room for the metadata log.
    pub(crate) fn refuses_metadata(&self) -> bool {
        if !self.is_armed() {
            return false;
        }
        let is_full = |rule: &&Arc<Rule>| {
            rule.action == Action::DiskFull && rule.scope.matches(Some("__cluster_metadata"), Some(0), None)
        };
        self.has_crashed() || self.rules().iter().filter(is_full).any(|rule| self.strikes(rule))
    }

    /// As [`Rule::strikes`]; a rule that struck its last time goes.
    fn strikes(&self, rule: &Arc<Rule>) -> bool {
        let strikes = rule.strikes();
        if strikes && rule.is_spent() {
            self.remove(rule);
        }
        strikes
    }

    fn remove(&self, rule: &Arc<Rule>) {
        let mut rules = self.rules.write();
        let mut list = rules.to_vec();
        list.retain(|known| !Arc::ptr_eq(known, rule));
        self.replace(&mut rules, list);
    }

    fn replace(&self, rules: &mut Arc<Vec<Arc<Rule>>>, list: Vec<Arc<Rule>>) {
        *rules = Arc::new(list);
        self.armed.store(rules.len() + usize::from(self.has_crashed()), Ordering::Release);
    }
}

impl Faults {
    pub(crate) fn new(node: &Arc<Node>) -> Faults {
        Faults { table: node.faults.clone(), node: Arc::downgrade(node) }
    }

    /// A fault of this API's requests; see [`RequestFault`] for what can be narrowed and what can go wrong. Several that
    /// match one request strike in the order in which they were set.
    pub fn on(&self, api: ApiKey) -> RequestFault {
        RequestFault::new(self.clone(), Some(api))
    }

    /// A fault of the requests of all APIs.
    pub fn on_any(&self) -> RequestFault {
        RequestFault::new(self.clone(), None)
    }

    /// A fault of the disk, where batches are appended to logs.
    pub fn on_append(&self) -> AppendFault {
        AppendFault::new(self.clone())
    }

    /// Removes all faults.
    pub fn clear(&self) {
        self.table.replace(&mut self.table.rules.write(), Vec::new());
    }

    /// Whether a torn write has ended the broker.
    pub fn has_crashed(&self) -> bool {
        self.table.has_crashed()
    }

    /// Makes the group rebalance now, as if its membership had changed: its members are told REBALANCE_IN_PROGRESS by their
    /// next heartbeat or commit and have the rebalance timeout to join again.
    ///
    /// # Errors
    /// There is no such group with members here, or the broker is closed.
    pub fn rebalance(&self, group: &str) -> Result<(), FaultError> {
        let node = self.node()?;
        let has_members = node
            .groups
            .read(group, |shard| shard.has_members(group))
            .map_err(|error| FaultError(format!("group {group}: {}", error.name())))?;
        if !has_members {
            return Err(FaultError(format!("group {group} has no members that could rebalance")));
        }
        node.groups
            .tell(&node, group, Event::Rebalance(group.into()))
            .map_err(|error| FaultError(error.name().to_owned()))
    }

    /// Moves the group's coordinator away: those who wait are answered NOT_COORDINATOR, and so is everybody until a client
    /// looks for the coordinator again (FindCoordinator); then the groups are read from the log anew, as after a move to
    /// another broker. As in Kafka this is a partition of `__consumer_offsets`: all groups that lie in it move, and an
    /// embedded broker has only one.
    ///
    /// # Errors
    /// No coordinator has been asked for yet, or the broker is closed.
    pub fn move_coordinator(&self, group: &str) -> Result<(), FaultError> {
        let node = self.node()?;
        let moved = node.groups.move_away(group);
        moved.map_err(|_| FaultError(format!("the coordinator of group {group} has not been asked for yet")))
    }

    fn node(&self) -> Result<Arc<Node>, FaultError> {
        let node = self.node.upgrade().filter(|_| !self.table.closed.load(Ordering::Acquire));
        node.ok_or_else(|| FaultError("the broker is closed".to_owned()))
    }

    fn set(&self, rule: Rule) -> Fault {
        let rule = Arc::new(rule);
        let mut rules = self.table.rules.write();
        let mut list = rules.to_vec();
        list.push(rule.clone());
        self.table.replace(&mut rules, list);
        drop(rules);
        Fault::new(rule, self.clone())
    }

    fn remove(&self, rule: &Arc<Rule>) {
        self.table.remove(rule);
    }
}
