//! One of the two brokers as a case sees it: it asks, and every answer is written down for the comparison.

use crate::records;
use crate::rules::{Symbols, only_of};
use crate::tree::Tree;
use ottla_env::Env;
use ottla_protocol::{ApiKey, FetchResponse, Message, Request};
use ottla_wire::{ClientConnection, ClientError, ConnectOptions, Pending};
use std::any::Any;
use std::time::Duration;

/// How long an answer may take, parked ones included.
const LIMIT: Duration = Duration::from_secs(5);

/// A question and its answer, ready to be compared.
#[derive(Debug)]
pub struct Step {
    /// What was asked, for people.
    pub label: String,
    /// The answer, without what may differ.
    pub answer: Tree,
}

/// A question that waits for its answer.
#[derive(Debug)]
pub struct Parked<R: Request> {
    pending: Pending<R>,
    _client: ClientConnection,
}

/// One broker, in one case.
#[derive(Debug)]
pub struct Side {
    /// The door to clock and tasks.
    pub env: Env,
    address: String,
    client: ClientConnection,
    run: String,
    case: String,
    symbols: Symbols,
    steps: Vec<Step>,
}

async fn connect(env: &Env, address: &str) -> Result<ClientConnection, ClientError> {
    let options = ConnectOptions {
        client_id: "differential".into(),
        connect_timeout: LIMIT,
        in_flight_max: 10,
        ..Default::default()
    };
    ClientConnection::connect(env, address, &options).await
}

impl Side {
    /// Connects to the broker at `address`. `run` begins the names of everything that this run makes.
    pub async fn connect(env: &Env, address: &str, run: &str, case: &str) -> Result<Side, ClientError> {
        Ok(Side {
            env: env.clone(),
            address: address.to_owned(),
            client: connect(env, address).await?,
            run: run.to_owned(),
            case: case.to_owned(),
            symbols: Symbols::default(),
            steps: Vec::new(),
        })
    }

    /// What was asked and answered so far.
    pub fn into_steps(self) -> Vec<Step> {
        self.steps
    }

    /// A name that belongs to this case of this run.
    pub fn name(&self, name: &str) -> String {
        format!("{}-{}-{name}", self.run, self.case)
    }

    /// Asks, and writes the answer down. Without an answer the default is returned, and why is written down.
    pub async fn ask<R: Request>(&mut self, label: &str, version: i16, request: &R) -> R::Response
    where
        R::Response: Any,
    {
        let answer = self.client.request(request, version, LIMIT).await;
        self.write(label, R::API_KEY, version, answer, false).await
    }

    /// As [`Side::ask`], about everything that the broker has: what other cases and runs left is not compared.
    pub async fn ask_all<R: Request>(&mut self, label: &str, version: i16, request: &R) -> R::Response
    where
        R::Response: Any,
    {
        let answer = self.client.request(request, version, LIMIT).await;
        self.write(label, R::API_KEY, version, answer, true).await
    }

    /// Asks and writes nothing down: for preparations and for values that differ by their nature.
    pub async fn quiet<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.client.request(request, version, LIMIT).await.unwrap_or_default()
    }

    /// Writes down an answer that the case has already looked at or edited.
    pub fn note<T: Message>(&mut self, label: &str, answer: &T) {
        let answer = self.symbols.normalise(Tree::parse(&format!("{answer:?}")));
        self.steps.push(Step { label: format!("{}: {label}", T::NAME), answer });
    }

    /// Asks something whose answer is parked until another request comes. It has a connection of its own: what comes
    /// after it on the same one would wait for its answer.
    pub async fn start<R: Request>(&mut self, version: i16, request: &R) -> Option<Parked<R>> {
        let client = connect(&self.env, &self.address).await.ok()?;
        let pending = client.start(request, version).await.ok()?;
        Some(Parked { pending, _client: client })
    }

    /// The answer to what was started.
    pub async fn finish<R: Request>(&mut self, label: &str, version: i16, parked: Option<Parked<R>>) -> R::Response
    where
        R::Response: Any,
    {
        let answer = match parked {
            Some(parked) => parked.pending.wait(LIMIT).await,
            None => Err(ClientError::Disconnected("not sent".to_owned())),
        };
        self.write(label, R::API_KEY, version, answer, false).await
    }

    async fn write<T: Message + Any>(
        &mut self,
        label: &str,
        api: ApiKey,
        version: i16,
        answer: Result<T, ClientError>,
        all: bool,
    ) -> T {
        let tree = match &answer {
            Ok(answer) => {
                let tree = Tree::parse(&format!("{answer:?}"));
                let tree = if all { only_of(tree, &self.name("")) } else { tree };
                let fetched = (answer as &dyn Any).downcast_ref::<FetchResponse>();
                self.symbols.normalise(fetched.map_or(tree.clone(), |fetched| records::put_into(tree, fetched)))
            }
            Err(ClientError::Disconnected(_)) => Tree::Leaf("closed the connection".to_owned()),
            Err(ClientError::Timeout { .. }) => Tree::Leaf("no answer".to_owned()),
            Err(error) => Tree::Leaf(error.to_string()),
        };
        if matches!(answer, Err(ClientError::Timeout { .. })) {
            eprintln!("{}: {} v{version}: {label} got no answer", self.address, api.name());
        }
        self.steps.push(Step { label: format!("{} v{version}: {label}", api.name()), answer: tree });
        // Kafka answers nothing more on a connection after a request that it failed to answer.
        let silent = matches!(answer, Err(ClientError::Timeout { .. }));
        if (self.client.is_closed() || silent)
            && let Ok(client) = connect(&self.env, &self.address).await
        {
            self.client = client;
        }
        answer.unwrap_or_default()
    }
}

/// The lowest, the middle and the highest stable version of a request.
pub fn versions<R: Request>() -> Vec<i16> {
    let (lowest, highest) = R::API_KEY.versions();
    let mut versions = vec![lowest, (lowest + highest) / 2, highest];
    versions.dedup();
    versions
}

/// All versions of a request.
pub fn all_versions<R: Request>() -> impl Iterator<Item = i16> {
    let (lowest, highest) = R::API_KEY.versions();
    lowest..=highest
}
