//! A producer's settings: the rows of `core/config/src/producer.rs` as one typed struct, and what they must be together.

use super::interceptor::ProducerInterceptor;
use super::partitioner::{Partitioner, RoundRobinPartitioner};
use super::sink::DeliverySink;
use crate::error::{Error, Result};
use ottla_config::{Configs, Scope};
use ottla_model::Compression;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Which replicas have to have a record before it counts as written (`acks`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// 0: sending is enough; offsets are not known.
    None,
    /// 1: the leader.
    Leader,
    /// all: every in-sync replica.
    All,
}

/// Settings of a producer, under Kafka's names. [`Default`] is what the config tables say.
///
/// ```
/// use ottla_client::{Acks, ProducerOptions};
/// use std::time::Duration;
///
/// let options = ProducerOptions { linger: Duration::from_millis(20), ..ProducerOptions::default() };
/// assert_eq!((options.acks, options.batch_size), (Acks::All, 16384));
/// ```
#[derive(Debug, Clone)]
pub struct ProducerOptions {
    /// `acks`, all.
    pub acks: Acks,
    /// `enable.idempotence`; `None` is Kafka's default: true, unless `acks` or `retries` rule it out.
    pub enable_idempotence: Option<bool>,
    /// `batch.size`, 16 KiB: bytes before compression; a larger record gets a batch of its own, and with 0 each does.
    pub batch_size: usize,
    /// `linger.ms`, 5 ms: how long a batch waits for more records. A batch whose delivery is awaited does not wait
    /// while its leader has nothing else in flight, so that awaited single sends cost a round trip each, not a linger.
    pub linger: Duration,
    /// `compression.type`, none.
    pub compression: Compression,
    /// `compression.<type>.level` of that type; `None` is the codec's own default.
    pub compression_level: Option<i32>,
    /// `max.in.flight.requests.per.connection`, 5; at most 5 with idempotence.
    pub max_in_flight: usize,
    /// `max.request.size`, 1 MiB: the largest record, and how much one request takes.
    pub max_request_size: usize,
    /// `buffer.memory`, 32 MiB: batches that are not acknowledged; a further record waits.
    pub buffer_memory: usize,
    /// `max.block.ms`, 60 s: how long `send` may wait for metadata and for memory, and a call of the transaction API
    /// for the cluster.
    pub max_block: Duration,
    /// `delivery.timeout.ms`, 120 s: from `send` to acknowledged or given up. At least `linger` and `request.timeout.ms`
    /// together; where it is left at its default and they are more, it is that.
    pub delivery_timeout: Duration,
    /// `retries`, 2147483647: how often a batch is sent again. Time is limited by `delivery_timeout`.
    pub retries: u32,
    /// `partitioner.class`: picks the partition of records that name none; `None` is the built-in rule, by the key's
    /// hash or, without a key, sticky (KIP-794).
    pub partitioner: Option<Arc<dyn Partitioner>>,
    /// `partitioner.ignore.keys`, false: the built-in rule treats all records as if they had no key.
    pub partitioner_ignore_keys: bool,
    /// `partitioner.adaptive.partitioning.enable`, true: records without a key go more often where fewer batches wait.
    pub partitioner_adaptive: bool,
    /// `partitioner.availability.timeout.ms`, 0 (off): no records without a key to a partition whose broker takes none
    /// for this long.
    pub partitioner_availability_timeout: Duration,
    /// See and replace records on their way, in this order (`interceptor.classes`).
    pub interceptors: Vec<Arc<dyn ProducerInterceptor>>,
    /// Hears of the records of [`Producer::send_tagged`](super::Producer::send_tagged) by the batch.
    pub delivery_sink: Option<Arc<dyn DeliverySink>>,
    /// `metadata.max.idle.ms`, 5 min: a topic that nothing is sent to for this long is forgotten.
    pub metadata_max_idle: Duration,
    /// `transactional.id`: the name that makes this producer transactional; the same after a restart.
    pub transactional_id: Option<String>,
    /// `transaction.timeout.ms`, 60 s: how long a transaction may stay open before the broker aborts it.
    pub transaction_timeout: Duration,
    /// `transaction.two.phase.commit.enable`, false: transactions do not time out (KIP-939). Needs a broker that serves
    /// InitProducerId 6.
    pub transaction_two_phase_commit: bool,
    /// Whether a topic that does not exist may be created by the broker (`auto.create.topics.enable` there); true.
    pub allow_auto_create_topics: bool,
}

/// `delivery.timeout.ms` that nobody set, which gives way to longer parts.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(120);
/// As many batches of a producer as a broker remembers per partition.
const IN_FLIGHT_IDEMPOTENT_MAX: usize = 5;

impl Default for ProducerOptions {
    fn default() -> ProducerOptions {
        ProducerOptions::from_configs(&Configs::defaults(Scope::Producer)).expect("the tables' defaults fit together")
    }
}

impl ProducerOptions {
    /// The producer's part of its configs.
    ///
    /// # Errors
    /// `Invalid`: `partitioner.class` is not one that is built in, or settings that exclude each other, in Kafka's words.
    pub fn from_configs(configs: &Configs) -> Result<ProducerOptions> {
        let ms = |name: &str| configs.ms(name).unwrap_or_default();
        let size = |name: &str| configs.size(name).unwrap_or_default();
        let compression: Compression =
            configs.text("compression.type").and_then(|name| name.parse().ok()).unwrap_or(Compression::None);
        let level = format!("compression.{compression}.level");
        let transactional_id = configs.text("transactional.id");
        let two_phase = configs.flag("transaction.two.phase.commit.enable");
        if two_phase && configs.is_set("transaction.timeout.ms") {
            return Err(Error::invalid(
                "Cannot set transaction.timeout.ms when transaction.two.phase.commit.enable is set to true. \
                 Transactions will not expire with two-phase commit enabled.",
            ));
        }
        let options = ProducerOptions {
            acks: match configs.text("acks").as_deref() {
                Some("0") => Acks::None,
                Some("1") => Acks::Leader,
                _ => Acks::All,
            },
            enable_idempotence: configs.is_set("enable.idempotence").then(|| configs.flag("enable.idempotence")),
            batch_size: size("batch.size"),
            linger: ms("linger.ms"),
            compression,
            // Unset it stays the codec's own; -1 means that for gzip.
            compression_level: configs
                .is_set(&level)
                .then(|| configs.number(&level).and_then(|level| i32::try_from(level).ok()))
                .flatten()
                .filter(|level| compression != Compression::Gzip || *level != -1),
            max_in_flight: size("max.in.flight.requests.per.connection"),
            max_request_size: size("max.request.size"),
            buffer_memory: size("buffer.memory"),
            max_block: ms("max.block.ms"),
            delivery_timeout: ms("delivery.timeout.ms"),
            retries: configs.number("retries").and_then(|retries| u32::try_from(retries).ok()).unwrap_or_default(),
            partitioner: configs.text("partitioner.class").map(|class| built_in(&class)).transpose()?,
            partitioner_ignore_keys: configs.flag("partitioner.ignore.keys"),
            partitioner_adaptive: configs.flag("partitioner.adaptive.partitioning.enable"),
            partitioner_availability_timeout: ms("partitioner.availability.timeout.ms"),
            interceptors: Vec::new(),
            delivery_sink: None,
            metadata_max_idle: ms("metadata.max.idle.ms"),
            transactional_id,
            transaction_timeout: ms("transaction.timeout.ms"),
            transaction_two_phase_commit: two_phase,
            allow_auto_create_topics: true,
        };
        if configs.is_set("delivery.timeout.ms") {
            options.check_delivery_timeout(ms("request.timeout.ms"))?;
        }
        options.check()?;
        Ok(options)
    }

    pub(super) fn idempotent(&self) -> bool {
        self.enable_idempotence.unwrap_or(self.acks == Acks::All && self.retries > 0)
    }

    /// What excludes each other, in Kafka's words.
    pub(super) fn check(&self) -> Result<()> {
        let wrong = |text: &str| Err(Error::invalid(text));
        if self.enable_idempotence == Some(true) && self.retries == 0 {
            return wrong("Must set retries to non-zero when using the idempotent producer.");
        }
        if self.enable_idempotence == Some(true) && self.acks != Acks::All {
            return wrong(
                "Must set acks to all in order to use the idempotent producer. Otherwise we cannot guarantee idempotence.",
            );
        }
        if self.idempotent() && self.max_in_flight > IN_FLIGHT_IDEMPOTENT_MAX {
            return Err(Error::invalid(format!(
                "To use the idempotent producer, max.in.flight.requests.per.connection must be set to at most 5. \
                 Current value is {}.",
                self.max_in_flight
            )));
        }
        if !self.idempotent() && self.transactional_id.is_some() {
            return wrong("Cannot set a transactional.id without also enabling idempotence.");
        }
        if self.transactional_id.as_deref() == Some("") {
            return wrong("transactional.id must not be empty");
        }
        if self.max_in_flight == 0 {
            return wrong("max.in.flight.requests.per.connection must be at least 1");
        }
        if self.buffer_memory > Semaphore::MAX_PERMITS {
            return wrong("buffer.memory is more than this machine can address");
        }
        if self.buffer_memory < self.batch_size {
            return Err(Error::invalid(format!(
                "buffer.memory ({}) must be at least batch.size ({}), or no batch can be opened",
                self.buffer_memory, self.batch_size
            )));
        }
        Ok(())
    }

    fn check_delivery_timeout(&self, request_timeout: Duration) -> Result<()> {
        if self.delivery_timeout < self.linger.saturating_add(request_timeout) {
            return Err(Error::invalid(
                "delivery.timeout.ms should be equal to or larger than linger.ms + request.timeout.ms",
            ));
        }
        Ok(())
    }

    /// Checks all, and lets a default `delivery_timeout` give way to a longer `linger` and `request.timeout.ms`.
    pub(super) fn resolve(mut self, request_timeout: Duration) -> Result<ProducerOptions> {
        self.check()?;
        if self.delivery_timeout == DELIVERY_TIMEOUT {
            self.delivery_timeout = DELIVERY_TIMEOUT.max(self.linger.saturating_add(request_timeout));
        }
        self.check_delivery_timeout(request_timeout)?;
        Ok(self)
    }

    /// `batch.size`, of which 0 means a batch per record.
    pub(super) fn batch_size(&self) -> usize {
        self.batch_size.max(1)
    }
}

/// A partitioner of Kafka's by its class name, with or without the package.
fn built_in(class: &str) -> Result<Arc<dyn Partitioner>> {
    match class.strip_prefix("org.apache.kafka.clients.producer.").unwrap_or(class) {
        "RoundRobinPartitioner" => Ok(Arc::new(RoundRobinPartitioner::default())),
        _ => Err(Error::invalid(format!(
            "partitioner.class {class} is not known here: leave it unset for the built-in rule, set \
             org.apache.kafka.clients.producer.RoundRobinPartitioner, or give an object as ProducerOptions::partitioner"
        ))),
    }
}
