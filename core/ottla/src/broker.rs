//! The embedded broker: what it takes to start one from a program.

use ottla_broker::{Endpoint, StartError};
use ottla_config::{BrokerConfig, ConfigError, Profile, Warning};
use ottla_env::{Env, Fs, VirtualClock};
use ottla_log::LogError;
use ottla_traffic::{RecordOptions, Recording, TrafficError};
use std::fmt;
use std::path::PathBuf;

/// Why a broker did not start or close.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A config value cannot be used; the message says what was expected.
    Config(ConfigError),
    /// A directory, port or log stands in the way.
    Start(StartError),
    /// Closing could not write what a clean shutdown writes; the next start recovers.
    Close(LogError),
    /// Traffic cannot be recorded, or not all of it was.
    Traffic(TrafficError),
    /// `start` was called outside a tokio runtime.
    NoRuntime,
    /// A broker in a simulation was given a listener: there is no network in it.
    NoNetwork,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Config(error) => write!(f, "{error}"),
            Error::Start(error) => write!(f, "{error}"),
            Error::Close(error) => write!(f, "{error}"),
            Error::Traffic(error) => write!(f, "{error}"),
            Error::NoRuntime => f.write_str("a broker starts on a tokio runtime: call start() inside one"),
            Error::NoNetwork => f.write_str(
                "a simulated broker opens no port, its clients are in the simulation; take the listener out of its configs",
            ),
        }
    }
}

impl std::error::Error for Error {}

/// Describes a broker to start. See [`Broker::builder`].
#[derive(Debug, Clone)]
#[must_use = "nothing starts before start()"]
pub struct BrokerBuilder {
    profile: Profile,
    configs: Vec<(String, String)>,
    directory: Option<PathBuf>,
    in_memory: bool,
    pub(crate) surroundings: Surroundings,
    pub(crate) record: Option<(PathBuf, RecordOptions)>,
}

/// What a broker runs in, files apart.
#[derive(Debug, Clone, Default)]
pub(crate) enum Surroundings {
    #[default]
    Real,
    Virtual(VirtualClock),
    /// With its files.
    Given(Env),
}

impl BrokerBuilder {
    /// Keeps everything in memory; it is gone when the broker closes. The default.
    pub fn in_memory(mut self) -> BrokerBuilder {
        self.in_memory = true;
        self
    }

    /// Keeps the data in `path` (`log.dirs`), created when missing, in Apache Kafka's format.
    pub fn directory(mut self, path: impl Into<PathBuf>) -> BrokerBuilder {
        self.directory = Some(path.into());
        self.in_memory = false;
        self
    }

    /// Opens a TCP listener, for example `PLAINTEXT://127.0.0.1:0`; port 0 takes a free one. Without any, only clients in
    /// this process reach the broker.
    pub fn listener(mut self, listener: impl Into<String>) -> BrokerBuilder {
        let listener = listener.into();
        match self.configs.iter_mut().find(|(name, _)| name == "listeners") {
            Some((_, listeners)) => *listeners = format!("{listeners},{listener}"),
            None => self.configs.push(("listeners".to_owned(), listener)),
        }
        self
    }

    /// Sets a broker config under Kafka's name, as in `server.properties`. The last value of a name counts.
    pub fn config(mut self, name: impl Into<String>, value: impl Into<String>) -> BrokerBuilder {
        self.configs.push((name.into(), value.into()));
        self
    }

    /// Sets many configs at once.
    pub fn configs<K: Into<String>, V: Into<String>>(
        mut self,
        configs: impl IntoIterator<Item = (K, V)>,
    ) -> BrokerBuilder {
        self.configs.extend(configs.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// Starts from the defaults of [`Profile::Server`] instead of [`Profile::Embedded`], and on disk (`log.dirs`).
    pub fn server(mut self) -> BrokerBuilder {
        self.profile = Profile::Server;
        self.in_memory = false;
        self
    }

    /// Starts the broker on the runtime of the caller; it accepts connections when this returns.
    ///
    /// # Errors
    /// A config value that cannot be used, a directory that another broker holds, a port in use.
    pub async fn start(self) -> Result<Broker, Error> {
        let env = match &self.surroundings {
            Surroundings::Real if self.in_memory => Env::memory(),
            Surroundings::Real => Env::real(),
            Surroundings::Virtual(clock) if self.in_memory => clock.env(),
            Surroundings::Virtual(clock) => clock.env().with_fs(Fs::real()),
            Surroundings::Given(env) => env.clone(),
        };
        if env.seed().is_none() && tokio::runtime::Handle::try_current().is_err() {
            return Err(Error::NoRuntime);
        }
        let mut configs = self.configs;
        if let Some(directory) = self.directory {
            configs.push(("log.dirs".to_owned(), directory.to_string_lossy().into_owned()));
        }
        let (config, mut warnings) = BrokerConfig::parse(self.profile, configs).map_err(Error::Config)?;
        // Before the start: should it fail, one of these may be why.
        warnings.iter().for_each(log_warning);
        if env.seed().is_some() && !config.listeners.is_empty() {
            return Err(Error::NoNetwork);
        }
        let inner = ottla_broker::Broker::start(env, config).await.map_err(Error::Start)?;
        inner.warnings().iter().for_each(log_warning);
        warnings.extend_from_slice(inner.warnings());
        let mut broker = Broker { inner, warnings, recording: None };
        if let Some((path, options)) = self.record {
            match broker.record_traffic_with(path, options) {
                Ok(recording) => broker.recording = Some(recording),
                Err(error) => {
                    // What is wrong with the file is what the caller has to know.
                    let _ = broker.close().await;
                    return Err(Error::Traffic(error));
                }
            }
        }
        Ok(broker)
    }
}

fn log_warning(warning: &Warning) {
    tracing::warn!(config = warning.key, "{}", warning.message);
}

/// A running broker.
///
/// Dropping it without [`close`](Broker::close) ends it as a crash would: a directory is recovered at the next start.
#[derive(Debug)]
pub struct Broker {
    pub(crate) inner: ottla_broker::Broker,
    pub(crate) warnings: Vec<Warning>,
    /// What the builder was asked to record.
    pub(crate) recording: Option<Recording>,
}

impl Broker {
    /// A broker in memory, with the embedded profile (replication factor 1, one partition for group offsets, no rebalance
    /// delay), without a TCP listener, until the builder is told otherwise.
    pub fn builder() -> BrokerBuilder {
        BrokerBuilder {
            profile: Profile::Embedded,
            configs: Vec::new(),
            directory: None,
            in_memory: true,
            surroundings: Surroundings::default(),
            record: None,
        }
    }

    /// What clients take as `bootstrap.servers`: the TCP listeners, or the in-process address when there are none.
    pub fn bootstrap_servers(&self) -> String {
        let endpoints = self.inner.endpoints();
        if endpoints.is_empty() {
            return self.inner.inproc_address().to_owned();
        }
        let addresses: Vec<String> = endpoints.iter().map(|it| format!("{}:{}", it.host, it.port)).collect();
        addresses.join(",")
    }

    /// The TCP listeners with what is advertised for them.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.inner.endpoints()
    }

    /// The address for clients in this process, `ottla-inproc:<id>`; open beside any TCP listener.
    pub fn inproc_address(&self) -> &str {
        self.inner.inproc_address()
    }

    /// The cluster's id.
    pub fn cluster_id(&self) -> &str {
        self.inner.cluster_id()
    }

    /// What was odd about the configs at start: unknown names, and names without effect, also of stored topics. Also logged.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Closes at once and cleanly: connections end, logs are flushed, what the builder was asked to record is in its file.
    ///
    /// # Errors
    /// The disk refused; the next start recovers as after a crash. [`Error::Traffic`] if the recording is not whole; the broker
    /// is closed cleanly then.
    pub async fn close(self) -> Result<(), Error> {
        let Broker { inner, recording, .. } = self;
        inner.close().await.map_err(Error::Close)?;
        match recording {
            Some(recording) => recording.finish().await.map(drop).map_err(Error::Traffic),
            None => Ok(()),
        }
    }
}
