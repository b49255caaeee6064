//! Sending a recording again, and comparing what comes back.
//!
//! A replay is one loop over the entries in their order: at a request it sends, at an answer it waits for the one to the request
//! that was sent. So a request leaves when all answers that the recording has before it have come, on whatever connection;
//! requests that overlapped in the recording overlap again. The broker takes them up in the order of the recording too: where
//! one is still unanswered when the next one is to leave, the loop waits until an embedded target has begun with it, or for
//! [`ReplayOptions::settle`] where nobody can know.

mod compare;
pub(crate) mod ids;
pub(crate) mod patch;
mod report;
mod target;

pub use report::{Difference, ReplayReport};
pub use target::Target;

use crate::bodies::{answer_tree, asks_for_nothing, patched, request_tree};
use crate::error::TrafficError;
use crate::file::{Entries, Traffic};
use crate::format::{Entry, Outcome, RecordedAnswer, RecordedRequest, Withheld};
use crate::rules::sort;
use crate::tap::Begun;
use crate::tree::Tree;
use bytes::Bytes;
use compare::{Differing, compare};
use ids::{Ids, Kind};
use ottla_env::{Env, Fs, Task};
use ottla_model::ErrorCode;
use ottla_protocol::{ApiKey, Message, Reader, ResponseHeader};
use ottla_wire::{ClientConnection, ClientError, RawPending, RawRequest};
use std::collections::BTreeMap;
use std::time::Duration;
use target::Served;
use tokio::sync::oneshot;

/// Entries that are read at once.
const READ_ENTRIES: usize = 64;
/// How long a target at an address may say that it is not ready.
const RETRY: Duration = Duration::from_secs(10);
/// How long it is left alone in between.
const RETRY_BACKOFF: Duration = Duration::from_millis(50);
/// Bytes after which no more is read at once.
const READ_BYTES: usize = 4 << 20;

/// How a recording is replayed.
#[derive(Debug, Clone)]
pub struct ReplayOptions {
    /// When requests leave.
    pub speed: Speed,
    /// How long an answer may take, beyond what it took when it was recorded; 30 s by default.
    pub request_timeout: Duration,
    /// How long a target at an address is given to take up a request that it does not answer yet, before the next one of another
    /// connection leaves; 20 ms by default. Not used for an embedded broker.
    pub settle: Duration,
    /// How long a request is sent again whose answer was another one in the recording, and is now that the broker is not ready for
    /// it: a coordinator that is still being looked for or loads, a transaction that is still being completed, a leader that
    /// is not there yet. `None`, the default, is 10 s for a target at an address, where a client would do the same, and not at
    /// all for an embedded broker, which is ready.
    pub retry: Option<Duration>,
    /// How many differing fields the report has at most, 1000 by default; all of them are counted.
    pub differences_max: usize,
}

impl Default for ReplayOptions {
    fn default() -> ReplayOptions {
        ReplayOptions {
            speed: Speed::Fast,
            request_timeout: Duration::from_secs(30),
            settle: Duration::from_millis(20),
            retry: None,
            differences_max: 1000,
        }
    }
}

/// When the requests of a replay leave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Speed {
    /// As soon as the answers before them have come.
    #[default]
    Fast,
    /// Besides, not before as much time has passed as in the recording, by the target's clock; a virtual one has to be moved.
    Recorded,
}

impl Traffic {
    /// Sends the recorded requests again, each on a connection that stands for its recorded one, as fast as the order of the
    /// recording allows; see [`Traffic::replay_with`].
    ///
    /// # Errors
    /// The target cannot be reached at all. A recording that is not whole is replayed to where it is, and the report says so.
    pub async fn replay(&self, target: impl Into<Target>) -> Result<ReplayReport, TrafficError> {
        self.replay_with(target, ReplayOptions::default()).await
    }

    /// As [`Traffic::replay`], with options. Ids that the target makes up take the place of the recorded ones in what is sent:
    /// member ids, generations, producer ids and epochs (in record batches too), fetch sessions, topic ids and node ids.
    /// Dropping the future ends the replay where it is.
    ///
    /// # Errors
    /// As [`Traffic::replay`].
    pub async fn replay_with(
        &self,
        target: impl Into<Target>,
        options: ReplayOptions,
    ) -> Result<ReplayReport, TrafficError> {
        let target = target.into();
        let (tell, told) = oneshot::channel();
        let env = target.env().clone();
        let replaying = Replay::new(target, options).run(self.cluster_id().to_owned(), self.entries());
        // A task of the environment: a virtual clock waits for it.
        let task = env.spawn("traffic replay", async move {
            let _ = tell.send(replaying.await);
        });
        let _abort = AbortOnDrop(task);
        told.await.unwrap_or(Err(TrafficError::Aborted))
    }
}

struct AbortOnDrop(Task);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A replay under way.
struct Replay {
    env: Env,
    target: Target,
    options: ReplayOptions,
    report: ReplayReport,
    ids: Ids,
    links: BTreeMap<u64, Link>,
    served: Served,
    /// What an embedded target has begun with, and the count once it has begun with all that was sent.
    begun: Option<(Begun, u64)>,
    /// How many requests wait for their recorded answer.
    waiting: usize,
    /// A request that the target may not have taken up yet.
    unsettled: Option<Unsettled>,
    /// The time of the first entry, and when that was here.
    started: Option<(i64, Duration)>,
}

/// What stands for a recorded connection.
#[derive(Default)]
struct Link {
    connection: Option<ClientConnection>,
    outstanding: Option<Outstanding>,
}

/// A request whose recorded answer has not come up yet.
struct Outstanding {
    number: u64,
    request: RecordedRequest,
    api: ApiKey,
    answer: Waiting,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unsettled {
    /// The one that is outstanding on this connection.
    Answered(u64),
    /// One without an answer, on this connection.
    Nothing(u64),
}

enum Waiting {
    Pending(RawPending),
    Came(Result<Bytes, ClientError>),
    /// None is asked for.
    Nothing,
}

impl Replay {
    fn new(target: Target, options: ReplayOptions) -> Replay {
        Replay {
            env: target.env().clone(),
            begun: target.begun().map(|begun| (begun, 0)),
            target,
            options,
            report: ReplayReport::default(),
            ids: Ids::default(),
            links: BTreeMap::new(),
            served: Served::new(),
            waiting: 0,
            unsettled: None,
            started: None,
        }
    }

    async fn run(mut self, recorded_cluster: String, mut entries: Entries) -> Result<ReplayReport, TrafficError> {
        // Files in memory would have this done on the caller's thread; the recording is a real one.
        let disk = self.env.with_fs(Fs::real());
        // A target that is not there shows before anything else.
        let (probe, served) = self.target.connect(self.options.request_timeout).await?;
        if let Some(id) = Target::cluster_id(&probe, &served, self.options.request_timeout).await? {
            self.ids.pair(Kind::Cluster, &format!("{recorded_cluster:?}"), &format!("{id:?}"));
        }
        drop(probe);
        self.served = served;
        'all: loop {
            let read;
            (entries, read) = disk.blocking(move || read_some(entries)).await;
            if read.is_empty() {
                break;
            }
            for entry in read {
                let goes_on = match entry {
                    Ok(entry) => self.step(entry).await,
                    Err(error) => Err(error.to_string()),
                };
                if let Err(reason) = goes_on {
                    self.report.incomplete = Some(reason);
                    break 'all;
                }
            }
        }
        // Whatever still waits was waiting when the recording ended.
        self.report.not_compared += self.waiting as u64;
        Ok(self.report)
    }

    async fn step(&mut self, entry: Entry) -> Result<(), String> {
        if self.started.is_none() {
            self.started = Some((entry.time_ms(), self.env.monotonic()));
        }
        match entry {
            Entry::Request(request) => self.request(request).await,
            Entry::Answer(answer) => {
                if let Some(outstanding) = self.links.get_mut(&answer.connection).and_then(|it| it.outstanding.take()) {
                    self.waiting -= 1;
                    if self.unsettled == Some(Unsettled::Answered(answer.connection)) {
                        self.unsettled = None;
                    }
                    self.answer(answer, outstanding).await;
                }
                Ok(())
            }
            Entry::Closed { connection, .. } => {
                if let Some(Link { outstanding: Some(_), .. }) = self.links.remove(&connection) {
                    self.waiting -= 1;
                    self.report.not_compared += 1;
                }
                Ok(())
            }
            Entry::Gap { gap, .. } => Err(gap.to_string()),
            Entry::End { .. } => Ok(()),
        }
    }

    async fn request(&mut self, request: RecordedRequest) -> Result<(), String> {
        self.report.requests += 1;
        let number = self.report.requests;
        self.settle(request.connection).await;
        if self.options.speed == Speed::Recorded
            && let Some((first_ms, started)) = self.started
        {
            let after = Duration::from_millis(u64::try_from(request.time_ms.saturating_sub(first_ms)).unwrap_or(0));
            self.env.sleep((started + after).saturating_sub(self.env.monotonic())).await;
        }
        let (api, raw) = match self.prepare(&request) {
            Ok(prepared) => prepared,
            Err(reason) => {
                self.report.skip(reason);
                return Ok(());
            }
        };
        let connection = match self.connection(request.connection).await {
            Ok(connection) => connection,
            Err(error) => return Err(format!("at request {number} {error}")),
        };
        if let Some((begun, count)) = &mut self.begun
            && self.waiting == 0
            && self.unsettled.is_none()
        {
            // All that was sent is answered. What broke on the way, and what other clients do, is out of the count again.
            *count = begun.count();
        }
        self.report.sent += 1;
        let is_silent = asks_for_nothing(api, raw.version, &raw.body);
        let sending = match is_silent {
            true => connection.send_raw(&raw).await.map(|()| Waiting::Nothing),
            false => connection.start_raw(&raw).await.map(Waiting::Pending),
        };
        let recorded = request.connection;
        let answer = match sending {
            Ok(waiting) => {
                if let Some((_, count)) = &mut self.begun {
                    *count += 1;
                }
                self.unsettled =
                    Some(if is_silent { Unsettled::Nothing(recorded) } else { Unsettled::Answered(recorded) });
                waiting
            }
            Err(error) => Waiting::Came(Err(error)),
        };
        let outstanding = Outstanding { number, api, answer, request };
        match self.links.entry(recorded).or_default().outstanding.replace(outstanding) {
            None => self.waiting += 1,
            // A recording that lacks an answer: the next request of a connection comes after it.
            Some(_) => self.report.not_compared += 1,
        }
        Ok(())
    }

    /// What is sent for a request, or why nothing is.
    fn prepare(&self, request: &RecordedRequest) -> Result<(ApiKey, RawRequest), String> {
        let body = match &request.body {
            Ok(body) => body,
            Err(Withheld::Secret) => return Err("it has secrets, which are not recorded".to_owned()),
            Err(Withheld::Unreadable) => return Err("it could not be read when it was recorded".to_owned()),
        };
        let api = request.api().ok_or("it is of an unknown API")?;
        let version = request.api_version;
        match self.served.get(&api) {
            Some((lowest, highest)) if (*lowest..=*highest).contains(&version) => {}
            Some((lowest, highest)) => {
                let name = api.name();
                return Err(format!("the target serves {name} {lowest} to {highest} and it is of version {version}"));
            }
            None => return Err(format!("the target does not serve {}", api.name())),
        }
        if api == ApiKey::SaslHandshake {
            return Err("connections authenticate by themselves".to_owned());
        }
        let body = patched(api, version, body, &self.ids)?;
        Ok((api, RawRequest { api, version, client_id: request.client_id.clone(), body }))
    }

    async fn connection(&mut self, recorded: u64) -> Result<ClientConnection, TrafficError> {
        let known = self.links.get(&recorded).and_then(|link| link.connection.clone());
        if let Some(connection) = known.filter(|connection| !connection.is_closed()) {
            return Ok(connection);
        }
        let (connection, _) = self.target.connect(self.options.request_timeout).await?;
        if let Some((_, count)) = &mut self.begun {
            *count += 1;
        }
        self.report.connections += 1;
        self.links.entry(recorded).or_default().connection = Some(connection.clone());
        Ok(connection)
    }

    /// Waits until the target has taken up what was sent last, before something is sent on the connection `next`.
    async fn settle(&mut self, next: u64) {
        let recorded = match self.unsettled.take() {
            None => return,
            Some(Unsettled::Answered(recorded)) => recorded,
            Some(Unsettled::Nothing(recorded)) => {
                match &mut self.begun {
                    Some((begun, count)) => {
                        let _ = self.env.timeout(self.options.request_timeout, begun.reaches(*count)).await;
                    }
                    // On one connection they keep their order by themselves.
                    None if recorded == next => self.unsettled = Some(Unsettled::Nothing(recorded)),
                    None => self.env.sleep(self.options.settle).await,
                }
                return;
            }
        };
        let Some(outstanding) = self.links.get_mut(&recorded).and_then(|link| link.outstanding.as_mut()) else {
            return;
        };
        let Waiting::Pending(pending) = &mut outstanding.answer else { return };
        let came = match &mut self.begun {
            Some((begun, count)) => {
                tokio::select! {
                    biased;
                    () = begun.reaches(*count) => return,
                    came = pending.frame(self.options.request_timeout) => came,
                }
            }
            None => pending.frame(self.options.settle).await,
        };
        // It may be asked again.
        if !matches!(came, Err(ClientError::Timeout { .. })) {
            outstanding.answer = Waiting::Came(came.and_then(bytes_of));
        }
    }

    async fn answer(&mut self, answer: RecordedAnswer, outstanding: Outstanding) {
        let Outstanding { number, request, api, answer: waiting } = outstanding;
        if answer.outcome == Outcome::Silence {
            self.report.not_compared += 1;
            return;
        }
        let took = Duration::from_millis(u64::try_from(answer.time_ms.saturating_sub(request.time_ms)).unwrap_or(0));
        let came = match waiting {
            Waiting::Pending(mut pending) => {
                pending.frame(self.options.request_timeout.saturating_add(took)).await.and_then(bytes_of)
            }
            Waiting::Came(came) => came,
            Waiting::Nothing => {
                match answer.outcome {
                    Outcome::Nothing => self.report.same += 1,
                    // An acks=0 producer learns of an error by the end of its connection; whether it ends here too shows
                    // at its next request.
                    _ => self.report.not_compared += 1,
                }
                return;
            }
        };
        let recorded = match (&answer.outcome, &answer.body) {
            (Outcome::Answered, Err(_)) => {
                self.report.not_compared += 1;
                return;
            }
            (Outcome::Answered, Ok(body)) => Ok(body),
            (Outcome::Closed, _) => Err("the connection was closed"),
            _ => Err("no answer"),
        };
        let answered = "an answer".to_owned();
        let of_whole = |recorded: &str, replayed: String| vec![(String::new(), recorded.to_owned(), replayed)];
        let came = match (recorded, came) {
            (Ok(recorded), Ok(replayed)) => self.retried(&request, api, recorded, replayed).await,
            (_, came) => came,
        };
        let differing = match (recorded, came) {
            (Ok(recorded), Ok(replayed)) => self.bodies(number, &request, api, recorded, replayed),
            (Err("the connection was closed"), Err(ClientError::Disconnected(_))) => Vec::new(),
            (Err(recorded), Ok(_)) => of_whole(recorded, answered),
            (Ok(_), Err(error)) => of_whole(&answered, error.to_string()),
            (Err(recorded), Err(error)) => of_whole(recorded, error.to_string()),
        };
        self.note(number, &request, api, differing);
    }

    /// The answer, or the one to the same request sent again once the target is ready for it.
    async fn retried(
        &mut self,
        request: &RecordedRequest,
        api: ApiKey,
        recorded: &Bytes,
        replayed: Bytes,
    ) -> Result<Bytes, ClientError> {
        let retry = self.options.retry.unwrap_or(if self.begun.is_some() { Duration::ZERO } else { RETRY });
        let deadline = self.env.monotonic() + retry;
        let mut replayed = replayed;
        let version = request.api_version;
        let is_ready = |body: Bytes| answer_tree(api, version, body).is_ok_and(|answer| !is_not_ready(api, &answer));
        while self.env.monotonic() < deadline {
            let header_bytes = bytes_before_body(api, version, &replayed);
            if is_ready(replayed.slice(header_bytes..)) || !is_ready(recorded.clone()) {
                break;
            }
            self.env.sleep(RETRY_BACKOFF).await;
            let Ok((_, raw)) = self.prepare(request) else { break };
            let connection = self.connection(request.connection).await;
            let connection = connection.map_err(|error| ClientError::Disconnected(error.to_string()))?;
            let mut pending = connection.start_raw(&raw).await?;
            if let Some((_, count)) = &mut self.begun {
                *count += 1;
            }
            self.report.retries += 1;
            replayed = bytes_of(pending.frame(self.options.request_timeout).await?)?;
        }
        Ok(replayed)
    }

    fn bodies(
        &mut self,
        number: u64,
        request: &RecordedRequest,
        api: ApiKey,
        recorded: &Bytes,
        replayed: Bytes,
    ) -> Vec<Differing> {
        let mut reader = Reader::new(replayed);
        let header = ResponseHeader::decode(&mut reader, api.response_header_version(request.api_version));
        let replayed = match header {
            Ok(_) => reader.rest(),
            Err(error) => return vec![(String::new(), "an answer".to_owned(), format!("its header: {error}"))],
        };
        if *recorded == replayed {
            return Vec::new();
        }
        let version = request.api_version;
        let unread = |error: String| format!("an answer that cannot be read: {error}");
        match (answer_tree(api, version, recorded.clone()), answer_tree(api, version, replayed)) {
            (Ok(recorded), Ok(replayed)) => {
                let asked = request.body.clone().ok().and_then(|body| request_tree(api, version, body).ok());
                let group = asked.as_ref().and_then(|asked| asked.leaf("group_id"));
                // Others came while this one was being answered.
                let overlapping = self.report.requests > number;
                let found = compare(&sort(recorded), &sort(replayed), group, overlapping, &mut self.ids);
                self.report.by_timing += u64::from(found.by_timing && found.differing.is_empty());
                found.differing
            }
            (Ok(_), Err(error)) => vec![(String::new(), "an answer".to_owned(), unread(error))],
            (Err(error), _) => vec![(String::new(), unread(error), "an answer".to_owned())],
        }
    }

    fn note(&mut self, number: u64, request: &RecordedRequest, api: ApiKey, differing: Vec<Differing>) {
        if differing.is_empty() {
            self.report.same += 1;
            return;
        }
        self.report.different += 1;
        for (path, recorded, replayed) in differing {
            if self.report.differences.len() >= self.options.differences_max {
                self.report.more_differences += 1;
                continue;
            }
            self.report.differences.push(Difference {
                request: number,
                connection: request.connection,
                client_id: request.client_id.as_deref().unwrap_or("").to_owned(),
                api,
                version: request.api_version,
                path,
                recorded,
                replayed,
            });
        }
    }
}

/// Where the body of an answer begins.
fn bytes_before_body(api: ApiKey, version: i16, answer: &Bytes) -> usize {
    let mut reader = Reader::new(answer.clone());
    match ResponseHeader::decode(&mut reader, api.response_header_version(version)) {
        Ok(_) => reader.position(),
        Err(_) => answer.len(),
    }
}

/// Whether the answer says that the broker could not do it yet, and has done nothing.
fn is_not_ready(api: ApiKey, answer: &Tree) -> bool {
    let mut codes = Vec::new();
    error_codes(answer, &mut codes);
    let not_ready = |code: &i16| NOT_READY.contains(&ErrorCode::from_code(*code));
    match api {
        // Sent again, what has been written would be written twice.
        ApiKey::Produce => !codes.is_empty() && codes.iter().all(not_ready),
        _ => codes.iter().any(not_ready),
    }
}

/// What a broker answers before it, or what is asked about, is ready.
const NOT_READY: &[ErrorCode] = &[
    ErrorCode::UnknownTopicOrPartition,
    ErrorCode::UnknownTopicId,
    ErrorCode::LeaderNotAvailable,
    ErrorCode::NotLeaderOrFollower,
    ErrorCode::CoordinatorLoadInProgress,
    ErrorCode::CoordinatorNotAvailable,
    ErrorCode::NotCoordinator,
    // Of a partition whose transaction's coordinator is one of these.
    ErrorCode::NotEnoughReplicas,
    ErrorCode::ConcurrentTransactions,
];

fn error_codes(tree: &Tree, codes: &mut Vec<i16>) {
    match tree {
        Tree::Struct(_, fields) => fields.iter().for_each(|(name, value)| match value {
            Tree::Leaf(code) if name == "error_code" => codes.extend(code.parse::<i16>().ok()),
            value => error_codes(value, codes),
        }),
        Tree::List(items) => items.iter().for_each(|item| error_codes(item, codes)),
        Tree::Leaf(_) => {}
    }
}

fn bytes_of(frame: ottla_protocol::Frame) -> Result<Bytes, ClientError> {
    frame.into_bytes().map_err(|error| ClientError::Disconnected(error.to_string()))
}

fn read_some(mut entries: Entries) -> (Entries, Vec<Result<Entry, TrafficError>>) {
    let mut read = Vec::new();
    let mut bytes = 0;
    while read.len() < READ_ENTRIES && bytes < READ_BYTES {
        let Some(entry) = entries.next() else { break };
        bytes += match &entry {
            Ok(Entry::Request(RecordedRequest { body: Ok(body), .. })) => body.len(),
            Ok(Entry::Answer(RecordedAnswer { body: Ok(body), .. })) => body.len(),
            _ => 0,
        };
        read.push(entry);
    }
    (entries, read)
}
