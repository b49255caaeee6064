//! Settings of a consumer. Names, defaults and checks are rows of ottla-config; this is their typed form.

use super::assignor::{self, Assignor};
use super::listener::ConsumerInterceptor;
use crate::error::{Error, Result};
use ottla_config::{Configs, Scope};
use std::sync::Arc;
use std::time::Duration;

/// Where to go when a position does not exist (`auto.offset.reset`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetReset {
    /// To the first record.
    Earliest,
    /// Behind the last record.
    Latest,
    /// `poll` returns the error.
    None,
    /// To the first record that is at most this old; behind the last record if there is none (KIP-1106).
    ByDuration(Duration),
}

/// Which records are visible (`isolation.level`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IsolationLevel {
    /// All, those of open and aborted transactions too.
    ReadUncommitted,
    /// Those outside of transactions and of committed ones.
    ReadCommitted,
}

impl IsolationLevel {
    /// As requests have it.
    pub(super) fn code(self) -> i8 {
        match self {
            IsolationLevel::ReadUncommitted => 0,
            IsolationLevel::ReadCommitted => 1,
        }
    }
}

/// How members of a group agree on who reads what (`group.protocol`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupProtocol {
    /// A member computes the assignment; every broker knows it.
    Classic,
    /// The broker computes it (KIP-848).
    Consumer,
}

/// Settings of a consumer, under Kafka's names.
#[derive(Debug, Clone)]
pub struct ConsumerOptions {
    /// `group.id`, none: the group for [`subscribe`](super::Consumer::subscribe) and for committed offsets.
    pub group_id: Option<String>,
    /// `group.instance.id`, none: a name that survives restarts, so that a restart does not rebalance (KIP-345).
    pub group_instance_id: Option<String>,
    /// `group.protocol`, classic.
    pub group_protocol: GroupProtocol,
    /// `group.remote.assignor`, the broker's choice: under the consumer protocol.
    pub group_remote_assignor: Option<String>,
    /// `partition.assignment.strategy`, range and cooperative-sticky: in order of preference.
    pub assignors: Vec<Arc<dyn Assignor>>,
    /// `session.timeout.ms`, 45 s: a member silent for so long is removed from its group.
    pub session_timeout: Duration,
    /// `heartbeat.interval.ms`, 3 s.
    pub heartbeat_interval: Duration,
    /// `max.poll.interval.ms`, 5 min: without a poll for so long the member leaves its group until the next one.
    pub max_poll_interval: Duration,
    /// `max.poll.records`, 500: of one [`poll`](super::Consumer::poll).
    pub max_poll_records: usize,
    /// `enable.auto.commit`, true: commit what polls returned, every interval, before a rebalance and at close.
    pub enable_auto_commit: bool,
    /// `auto.commit.interval.ms`, 5 s.
    pub auto_commit_interval: Duration,
    /// `auto.offset.reset`, latest.
    pub offset_reset: OffsetReset,
    /// `isolation.level`, read_uncommitted.
    pub isolation_level: IsolationLevel,
    /// `client.rack`, empty: to read from a replica in the same rack (KIP-392) and for assignors that know racks.
    pub client_rack: String,
    /// `fetch.min.bytes`, 1: a broker answers once it has so much.
    pub fetch_min_bytes: usize,
    /// `fetch.max.wait.ms`, 500 ms: or when so much time has passed.
    pub fetch_max_wait: Duration,
    /// `fetch.max.bytes`, 50 MiB: of one answer.
    pub fetch_max_bytes: usize,
    /// `max.partition.fetch.bytes`, 1 MiB: of one partition in an answer.
    pub max_partition_fetch_bytes: usize,
    /// `check.crcs`, true: verify each batch's checksum before reading its records.
    pub check_crcs: bool,
    /// `exclude.internal.topics`, true: patterns do not match `__consumer_offsets` and the like.
    pub exclude_internal_topics: bool,
    /// `allow.auto.create.topics`, true: a broker may create a subscribed topic that is missing.
    pub allow_auto_create_topics: bool,
    /// Bytes that may wait for `poll` before fetching pauses, 64 MiB. One answer per broker may come on top, and what
    /// waits of paused partitions, which is a few times `max.partition.fetch.bytes` of each. Ottla's own.
    pub buffered_bytes_max: usize,
    /// See each batch of records before the application does, and each commit (`interceptor.classes` in Java).
    pub interceptors: Vec<Arc<dyn ConsumerInterceptor>>,
}

impl Default for ConsumerOptions {
    fn default() -> ConsumerOptions {
        ConsumerOptions::from_configs(&Configs::defaults(Scope::Consumer)).expect("the defaults fit together")
    }
}

impl ConsumerOptions {
    /// The consumer's part of `configs`.
    ///
    /// # Errors
    /// Values that do not fit together, such as `heartbeat.interval.ms` above `session.timeout.ms`, or an unknown assignor.
    pub fn from_configs(configs: &Configs) -> Result<ConsumerOptions> {
        ConsumerOptions::with_assignors(configs, &[])
    }

    /// As [`ConsumerOptions::from_configs`]; `partition.assignment.strategy` may also name any of `assignors`.
    ///
    /// # Errors
    /// As [`ConsumerOptions::from_configs`].
    pub fn with_assignors(configs: &Configs, assignors: &[Arc<dyn Assignor>]) -> Result<ConsumerOptions> {
        let ms = |name: &str| configs.ms(name).unwrap_or_default();
        let size = |name: &str| configs.size(name).unwrap_or_default();
        let text = |name: &str| configs.text(name).filter(|text| !text.is_empty());
        let group_id = text("group.id");
        let consumer_protocol = configs.text("group.protocol").is_some_and(|p| p.eq_ignore_ascii_case("consumer"));
        if consumer_protocol {
            let unusable = ["heartbeat.interval.ms", "session.timeout.ms", "partition.assignment.strategy"];
            if let Some(name) = unusable.iter().find(|name| configs.is_set(name)) {
                return Err(Error::invalid(format!(
                    "{name} cannot be set with group.protocol=consumer, where the broker decides it"
                )));
            }
        } else if configs.is_set("group.remote.assignor") {
            return Err(Error::invalid("group.remote.assignor cannot be set with group.protocol=classic"));
        }
        // Without a group there is nothing to commit to; Java's consumer sets the default off as well.
        let enable_auto_commit = configs.flag("enable.auto.commit") && group_id.is_some();
        if group_id.is_none() && configs.is_set("enable.auto.commit") && configs.flag("enable.auto.commit") {
            return Err(Error::invalid("enable.auto.commit=true needs a group.id"));
        }
        let options = ConsumerOptions {
            group_id,
            group_instance_id: text("group.instance.id"),
            group_protocol: if consumer_protocol { GroupProtocol::Consumer } else { GroupProtocol::Classic },
            group_remote_assignor: text("group.remote.assignor"),
            assignors: assignor::from_config(&configs.list("partition.assignment.strategy"), assignors)?,
            session_timeout: ms("session.timeout.ms"),
            heartbeat_interval: ms("heartbeat.interval.ms"),
            max_poll_interval: ms("max.poll.interval.ms"),
            max_poll_records: size("max.poll.records").max(1),
            enable_auto_commit,
            auto_commit_interval: ms("auto.commit.interval.ms"),
            offset_reset: offset_reset(&configs.text("auto.offset.reset").unwrap_or_default())?,
            isolation_level: match configs.text("isolation.level").as_deref() {
                Some("read_committed") => IsolationLevel::ReadCommitted,
                _ => IsolationLevel::ReadUncommitted,
            },
            client_rack: configs.text("client.rack").unwrap_or_default(),
            fetch_min_bytes: size("fetch.min.bytes"),
            fetch_max_wait: ms("fetch.max.wait.ms"),
            fetch_max_bytes: size("fetch.max.bytes"),
            max_partition_fetch_bytes: size("max.partition.fetch.bytes"),
            check_crcs: configs.flag("check.crcs"),
            exclude_internal_topics: configs.flag("exclude.internal.topics"),
            allow_auto_create_topics: configs.flag("allow.auto.create.topics"),
            buffered_bytes_max: 64 * 1024 * 1024,
            interceptors: Vec::new(),
        };
        options.check()?;
        Ok(options)
    }

    /// What fits together only as a whole.
    pub(super) fn check(&self) -> Result<()> {
        if self.group_protocol == GroupProtocol::Classic && self.heartbeat_interval >= self.session_timeout {
            return Err(Error::invalid(format!(
                "heartbeat.interval.ms ({}) must be below session.timeout.ms ({})",
                self.heartbeat_interval.as_millis(),
                self.session_timeout.as_millis()
            )));
        }
        if self.group_id.is_none() && self.group_instance_id.is_some() {
            return Err(Error::invalid("group.instance.id needs a group.id"));
        }
        if self.max_poll_records == 0 {
            return Err(Error::invalid("max.poll.records must be at least 1"));
        }
        assignor::rebalance_protocol(&self.assignors).map(|_| ())
    }
}

/// Reads an `auto.offset.reset`.
fn offset_reset(text: &str) -> Result<OffsetReset> {
    match text {
        "earliest" => return Ok(OffsetReset::Earliest),
        "latest" => return Ok(OffsetReset::Latest),
        "none" => return Ok(OffsetReset::None),
        _ => {}
    }
    let duration = text.strip_prefix("by_duration:").and_then(iso_duration);
    duration.map(OffsetReset::ByDuration).ok_or_else(|| {
        Error::invalid(format!(
            "auto.offset.reset is {text:?}, expected earliest, latest, none or by_duration:PnDTnHnMn.nS"
        ))
    })
}

/// An ISO 8601 duration of days, hours, minutes and seconds, as Java's `Duration.parse` takes it; negative ones are not.
fn iso_duration(text: &str) -> Option<Duration> {
    let text = text.strip_prefix(['P', 'p'])?;
    let (days, time) = match text.split_once(['T', 't']) {
        Some((days, time)) if !time.is_empty() => (days, time),
        Some(_) => return None,
        None => (text, ""),
    };
    let mut millis: u64 = 0;
    let mut any = false;
    let mut add = |number: &str, unit: u64| -> Option<()> {
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || (number.contains('.') && (unit != 1000 || !digits(fraction))) {
            return None;
        }
        millis = millis.checked_add(whole.parse::<u64>().ok()?.checked_mul(unit)?)?;
        let thousandths: String = fraction.chars().chain("000".chars()).take(3).collect();
        millis = millis.checked_add(thousandths.parse().ok()?)?;
        any = true;
        Some(())
    };
    if !days.is_empty() {
        add(days.strip_suffix(['D', 'd'])?, 86_400_000)?;
    }
    let mut rest = time;
    for (unit, factor) in [('H', 3_600_000), ('M', 60_000), ('S', 1000)] {
        if let Some((number, after)) = rest.split_once([unit, unit.to_ascii_lowercase()]) {
            add(number, factor)?;
            rest = after;
        }
    }
    (any && rest.is_empty()).then_some(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Result<ConsumerOptions> {
        let (configs, _) = Configs::parse(Scope::Consumer, pairs.iter().copied()).map_err(Error::from)?;
        ConsumerOptions::from_configs(&configs)
    }

    #[test]
    fn durations() {
        assert_eq!(iso_duration("P1DT2H3M4.5S"), Some(Duration::from_millis(93_784_500)));
        assert_eq!(iso_duration("PT0S"), Some(Duration::ZERO));
        assert_eq!(iso_duration("P3D"), Some(Duration::from_secs(3 * 86_400)));
        for bad in ["", "P", "PT", "1D", "P1H", "PT1D", "PT1.5H", "PT-1S", "PT1S2H", "PTS"] {
            assert_eq!(iso_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn defaults_are_kafkas() {
        let options = ConsumerOptions::default();
        assert_eq!(options.offset_reset, OffsetReset::Latest);
        assert_eq!(options.max_poll_records, 500);
        assert!(!options.enable_auto_commit, "there is no group");
        let names: Vec<&str> = options.assignors.iter().map(|assignor| assignor.name()).collect();
        assert_eq!(names, ["range", "cooperative-sticky"]);
    }

    #[test]
    fn what_does_not_fit_together_is_said() {
        let cases: [(&[(&str, &str)], &str); 5] = [
            (&[("heartbeat.interval.ms", "50000")], "session.timeout.ms"),
            (&[("group.instance.id", "a")], "group.id"),
            (&[("enable.auto.commit", "true")], "group.id"),
            (&[("group.protocol", "consumer"), ("session.timeout.ms", "9000")], "group.protocol=consumer"),
            (&[("partition.assignment.strategy", "best")], "best"),
        ];
        for (pairs, expected) in cases {
            let error = options(pairs).expect_err("refused");
            assert!(error.message().contains(expected), "{error}");
        }
        let by_duration = options(&[("auto.offset.reset", "by_duration:PT1H")]).expect("valid");
        assert_eq!(by_duration.offset_reset, OffsetReset::ByDuration(Duration::from_secs(3600)));
        assert!(options(&[("group.id", "g")]).expect("valid").enable_auto_commit);
    }
}
