//! What can be called, object by object: methods take and give MessagePack maps by name.

mod admin;
mod broker;
mod consumer;
mod producer;

pub use producer::Sent;

use crate::error::{Error, Kind};
use crate::guard::guarded;
use crate::queue::{Answer, Queue};
use crate::runtime::Runtime;
use crate::state::{Handle, find, state};
use bytes::Bytes;
use ottla::client::{Metric, MetricValue, OffsetAndMetadata, Scope, TopicPartition};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// What a handle names.
#[derive(Debug, Clone)]
pub(crate) enum Object {
    Queue(Arc<Queue>),
    Broker(Arc<broker::Broker>),
    Producer(Arc<producer::Producer>),
    Consumer(Arc<consumer::Consumer>),
    Admin(Arc<admin::Admin>),
    /// What failed to be made.
    None,
}

/// What every object but the queue has.
#[derive(Debug)]
pub(crate) struct Base {
    pub(crate) handle: Handle,
    /// True once it was let go.
    pub(crate) ended: watch::Sender<bool>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) runtime: Arc<Runtime>,
}

impl Base {
    fn new(handle: Handle, queue: &Arc<Queue>, runtime: &Arc<Runtime>) -> Base {
        Base { handle, ended: watch::channel(false).0, queue: queue.clone(), runtime: runtime.clone() }
    }
}

impl Object {
    pub(crate) fn queue(&self) -> Option<&Arc<Queue>> {
        self.base().map(|base| &base.queue)
    }

    fn base(&self) -> Option<&Base> {
        match self {
            Object::Queue(_) | Object::None => None,
            Object::Broker(broker) => Some(&broker.base),
            Object::Producer(producer) => Some(&producer.base),
            Object::Consumer(consumer) => Some(&consumer.base),
            Object::Admin(admin) => Some(&admin.base),
        }
    }

    fn what(&self) -> &'static str {
        match self {
            Object::Queue(_) => "a queue",
            Object::Broker(_) => "a broker",
            Object::Producer(_) => "a producer",
            Object::Consumer(_) => "a consumer",
            Object::Admin(_) => "an admin client",
            Object::None => "nothing",
        }
    }

    pub(crate) fn is_not(&self, wanted: &str) -> Error {
        Error::invalid(format!("the handle is of {}, not of {wanted}", self.what()))
    }
}

/// A call on its way: the future, and the runtime that it needs.
type Work = std::pin::Pin<Box<dyn Future<Output = Result<Answer, Error>> + Send>>;

/// The object, and what it works with.
fn find_all(handle: Handle) -> Result<(Object, Arc<Queue>, Arc<Runtime>), Error> {
    let object = find(handle)?;
    let (queue, runtime) = match (&object, object.base()) {
        (_, Some(base)) => (base.queue.clone(), base.runtime.clone()),
        (Object::Queue(queue), None) => (queue.clone(), state()?.runtime()?),
        _ => return Err(Error::closed()),
    };
    Ok((object, queue, runtime))
}

pub(crate) fn call(handle: Handle, ticket: u64, method: &str, arguments: &[u8]) -> Result<(), Error> {
    let (object, queue, runtime) = find_all(handle)?;
    let ticket = queue.ticket(ticket, handle)?;
    // From here on whatever goes wrong comes out of the queue.
    match begin(&object, &runtime, method, arguments) {
        Err(error) => ticket.complete(Err(error)),
        Ok(work) => {
            let number = ticket.number;
            // A call keeps the runtime it runs on.
            let kept = runtime.clone();
            let task = runtime.handle().spawn(async move {
                let result = guarded(work).await;
                ticket.complete(result);
                drop(kept);
            });
            queue.runs_in(number, task.abort_handle());
        }
    }
    Ok(())
}

fn begin(object: &Object, runtime: &Arc<Runtime>, method: &str, arguments: &[u8]) -> Result<Work, Error> {
    crate::guard(|| {
        // Clients and brokers that are made here find it.
        let _on = runtime.handle().enter();
        work(object, runtime, method, arguments)
    })
}

/// How far a [`Waiting`] has come.
#[derive(Debug)]
pub enum Waited {
    /// It has ended.
    Ended(Result<Answer, Error>),
    /// The queue has a question; fetch and answer it, then wait on.
    Asked,
    /// The time is over; wait on, or drop it to take the call back.
    NotYet,
}

/// A call that runs on the threads that wait for it: for hosts that block, one hand-over between threads less each way.
pub struct Waiting {
    work: Option<Work>,
    queue: Arc<Queue>,
    runtime: Arc<Runtime>,
    ended: Option<watch::Receiver<bool>>,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("queue", &self.queue).finish_non_exhaustive()
    }
}

impl Waiting {
    pub(crate) fn new(handle: Handle, method: &str, arguments: &[u8]) -> Result<Waiting, Error> {
        let (object, queue, runtime) = find_all(handle)?;
        let work = begin(&object, &runtime, method, arguments)?;
        let ended = object.base().map(|base| base.ended.subscribe());
        Ok(Waiting { work: Some(work), queue, runtime, ended })
    }

    /// Goes on with the call for up to `slice`; the thread blocks. A host looks for signals in between.
    pub fn wait(&mut self, slice: Duration) -> Waited {
        let Waiting { work, queue, runtime, ended } = self;
        let Some(running) = work else {
            return Waited::Ended(Err(Error::invalid("the call has ended; its answer was given before")));
        };
        let waited = runtime.handle().block_on(async {
            let let_go = async {
                match ended {
                    Some(ended) => drop(ended.wait_for(|ended| *ended).await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                result = guarded(running.as_mut()) => Waited::Ended(result),
                () = let_go => Waited::Ended(Err(Error::new(Kind::Closed, "it was closed during the call"))),
                () = queue.asked() => Waited::Asked,
                () = tokio::time::sleep(slice) => Waited::NotYet,
            }
        });
        if matches!(waited, Waited::Ended(_)) {
            *work = None;
        }
        waited
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // What a call holds may want the runtime when it goes.
        let _on = self.runtime.handle().enter();
        self.work = None;
    }
}

fn work(object: &Object, runtime: &Arc<Runtime>, method: &str, arguments: &[u8]) -> Result<Work, Error> {
    let unknown = || Error::invalid(format!("{} has no method {method:?}", object.what()));
    if method == "panic" {
        // For the tests of each language: what a bug in the engine does to a host.
        return Ok(Box::pin(async { panic!("as the test asked") }));
    }
    match object {
        Object::Queue(queue) => on_queue(queue, runtime, method, arguments)?.ok_or_else(unknown),
        Object::Broker(broker) => broker::call(broker, method, arguments)?.ok_or_else(unknown),
        Object::Producer(producer) => producer::call(producer, method, arguments)?.ok_or_else(unknown),
        Object::Consumer(consumer) => consumer::call(consumer, method, arguments)?.ok_or_else(unknown),
        Object::Admin(admin) => admin::call(admin, method, arguments)?.ok_or_else(unknown),
        Object::None => Err(Error::closed()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogArguments {
    level: u8,
}

/// Opens what there is, and sets what is of the queue itself.
fn on_queue(queue: &Arc<Queue>, runtime: &Arc<Runtime>, method: &str, arguments: &[u8]) -> Result<Option<Work>, Error> {
    Ok(Some(match method {
        "broker.start" => broker::start(queue.clone(), runtime.clone(), read(arguments)?),
        "producer.open" => now(producer::open(queue, runtime, read(arguments)?)?),
        "consumer.open" => now(consumer::open(queue, runtime, read(arguments)?)?),
        "admin.open" => now(admin::open(queue, runtime, read(arguments)?)?),
        "log" => {
            let LogArguments { level } = read(arguments)?;
            crate::log::listen(queue, level)?;
            now(Answer::Done)
        }
        _ => return Ok(None),
    }))
}

/// Ends what an object still does.
pub(crate) fn let_go(object: Object) {
    match &object {
        Object::Queue(queue) => queue.close(),
        other => {
            if let Some(base) = other.base() {
                base.ended.send_replace(true);
                base.queue.end_all_of(base.handle, &Error::new(Kind::Closed, "it was closed during the call"));
            }
        }
    }
    match object {
        Object::Broker(broker) => broker.let_go(),
        Object::Producer(producer) => producer.let_go(),
        Object::Consumer(consumer) => consumer.let_go(),
        Object::Admin(admin) => admin.let_go(),
        Object::Queue(_) | Object::None => {}
    }
}

/// Arguments by name.
fn read<T: DeserializeOwned>(arguments: &[u8]) -> Result<T, Error> {
    /// An empty map; null is one too.
    const NOTHING: &[u8] = &[0x80];
    let arguments = if matches!(arguments, [] | [0xc0]) { NOTHING } else { arguments };
    rmp_serde::from_slice(arguments).map_err(|error| Error::invalid(format!("the arguments: {error}")))
}

fn packed(value: &impl Serialize) -> Result<Bytes, Error> {
    let packed = rmp_serde::to_vec_named(value);
    packed.map(Bytes::from).map_err(|error| Error::new(Kind::Internal, format!("an answer: {error}")))
}

fn value(value: &impl Serialize) -> Result<Answer, Error> {
    packed(value).map(Answer::Value)
}

/// A call that has its answer already.
fn now(answer: Answer) -> Work {
    Box::pin(std::future::ready(Ok(answer)))
}

/// A future as a call's work.
fn later(future: impl Future<Output = Result<Answer, Error>> + Send + 'static) -> Option<Work> {
    Some(Box::pin(future))
}

/// Configs by name, as an application gives them.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Configs {
    configs: BTreeMap<String, String>,
}

fn configs(scope: Scope, given: Configs) -> Result<ottla::client::Configs, Error> {
    let (configs, warnings) =
        ottla::client::Configs::parse(scope, given.configs).map_err(ottla::client::Error::from)?;
    for warning in warnings {
        tracing::warn!(config = warning.key, "{}", warning.message);
    }
    Ok(configs)
}

#[derive(Deserialize, Serialize, Debug, Clone)]
struct Partition {
    topic: String,
    partition: i32,
}

impl From<&Partition> for TopicPartition {
    fn from(of: &Partition) -> TopicPartition {
        TopicPartition::new(of.topic.as_str(), of.partition)
    }
}

impl From<&TopicPartition> for Partition {
    fn from(of: &TopicPartition) -> Partition {
        Partition { topic: of.topic.to_string(), partition: of.partition }
    }
}

/// A partition with an offset, and what is kept beside it.
#[derive(Deserialize, Serialize, Debug, Clone)]
struct Offset {
    topic: String,
    partition: i32,
    /// -1 for none.
    offset: i64,
    #[serde(default)]
    leader_epoch: Option<i32>,
    #[serde(default)]
    metadata: String,
}

impl Offset {
    fn none(of: &TopicPartition) -> Offset {
        Offset::of(of, -1)
    }

    fn of(of: &TopicPartition, offset: i64) -> Offset {
        let (topic, partition) = (of.topic.to_string(), of.partition);
        Offset { topic, partition, offset, leader_epoch: None, metadata: String::new() }
    }

    fn with(of: &TopicPartition, committed: &OffsetAndMetadata) -> Offset {
        let (leader_epoch, metadata) = (committed.leader_epoch, committed.metadata.clone());
        Offset { leader_epoch, metadata, ..Offset::of(of, committed.offset) }
    }

    fn entry(&self) -> (TopicPartition, OffsetAndMetadata) {
        let (leader_epoch, metadata) = (self.leader_epoch, self.metadata.clone());
        let key = TopicPartition::new(self.topic.as_str(), self.partition);
        (key, OffsetAndMetadata { offset: self.offset, leader_epoch, metadata })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Partitions {
    partitions: Vec<Partition>,
}

impl Partitions {
    fn keys(&self) -> Vec<TopicPartition> {
        self.partitions.iter().map(TopicPartition::from).collect()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Timeout {
    #[serde(default = "half_a_minute")]
    timeout_ms: u64,
}

impl Timeout {
    fn duration(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

fn half_a_minute() -> u64 {
    30_000
}

/// Metrics as every client gives them: those that are numbers have `value`, the others `text`.
fn metrics(all: &[Metric]) -> Result<Answer, Error> {
    #[derive(Serialize)]
    struct One<'a> {
        name: &'a str,
        group: &'a str,
        tags: BTreeMap<&'a str, &'a str>,
        value: Option<f64>,
        text: Option<&'a str>,
    }
    fn one(metric: &Metric) -> One<'_> {
        One {
            name: &metric.name.name,
            group: &metric.name.group,
            tags: metric.name.tags.iter().map(|(name, value)| (&**name, value.as_str())).collect(),
            value: metric.value.as_f64(),
            text: match &metric.value {
                MetricValue::Text(text) => Some(text),
                MetricValue::Double(_) => None,
            },
        }
    }
    value(&all.iter().map(one).collect::<Vec<_>>())
}
