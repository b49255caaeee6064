//! Writing a recording: a bounded queue between the broker and the file, and the task that empties it.
//!
//! The broker only ever puts references to frames into the queue, under a lock that is held for that alone. If the queue is full
//! the recording ends there, with a mark in the file; so it does when the file may not grow any more or the disk refuses. What
//! comes afterwards is counted and not kept. Looking into bodies for secrets, copying and checksums are the task's work.

use crate::bodies::{checked_answer, checked_request};
use crate::error::{Gap, TrafficError};
use crate::format::{
    Begin, Content, ENTRY_BYTES_MAX, Entry, MAGIC, Outcome, RecordedAnswer, RecordedRequest, VERSION, Withheld,
};
use bytes::Bytes;
use ottla_env::{Env, File, Fs, OpenMode, Task};
use ottla_model::Str;
use ottla_protocol::{ApiKey, Frame, Message, Reader, RequestHeader, ResponseHeader};
use parking_lot::Mutex;
use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{Notify, watch};

/// So many entries wait at most, however small they are.
const QUEUED_ENTRIES_MAX: usize = 65_536;
/// What an entry counts in the queue besides its frame.
const ENTRY_COST: usize = 128;
/// What the task writes at once.
const WRITE_BYTES: usize = 1 << 20;

/// Bounds of a recording.
#[derive(Debug, Clone)]
pub struct RecordOptions {
    /// How many bytes of requests and answers may wait for being written, 64 MiB by default; beyond that the recording ends
    /// with [`Gap::QueueFull`]. Record bytes that are in a segment file count too, though they take no memory until then.
    pub queue_bytes: usize,
    /// How large the file may become, 4 GiB by default; then the recording ends with [`Gap::SizeMax`].
    pub size_max: u64,
}

impl Default for RecordOptions {
    fn default() -> RecordOptions {
        RecordOptions { queue_bytes: 64 << 20, size_max: 4 << 30 }
    }
}

/// What a recording has become.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recorded {
    /// The file.
    pub path: PathBuf,
    /// How many requests, answers and ends of connections are in it.
    pub entries: u64,
    /// Its size.
    pub bytes: u64,
}

/// What waits for being written.
#[derive(Debug)]
pub(crate) enum Event {
    Request { connection: u64, in_process: bool, listener: Arc<str>, frame: Frame },
    Answer { connection: u64, api: Option<(ApiKey, i16)>, outcome: Outcome, frame: Frame },
    Closed { connection: u64 },
}

impl Event {
    fn cost(&self) -> usize {
        ENTRY_COST
            + match self {
                Event::Request { frame, .. } | Event::Answer { frame, .. } => frame.len(),
                Event::Closed { .. } => 0,
            }
    }
}

/// The broker's side of a recording.
#[derive(Debug)]
pub(crate) struct Recorder {
    env: Env,
    path: PathBuf,
    queue_bytes: usize,
    /// Guards what waits and how the recording ends; held for a push or a swap only.
    state: Mutex<State>,
    /// Something was pushed, or the recording is to end; a stored permit, as only the task waits.
    pushed: Notify,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<(i64, Event)>,
    bytes: usize,
    /// Nothing is taken any more.
    end: Option<Ending>,
    /// It was asked to end: nothing is counted any more either.
    is_stopped: bool,
    lost: u64,
}

#[derive(Debug, Clone)]
enum Ending {
    Asked,
    Gap(Gap),
}

impl Recorder {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it takes nothing more, for whatever reason.
    pub(crate) fn has_ended(&self) -> bool {
        self.state.lock().end.is_some()
    }

    /// Whether it was asked to end: there is nothing left to count.
    pub(crate) fn is_stopped(&self) -> bool {
        self.state.lock().is_stopped
    }

    /// Takes an event, or counts it as lost. Never waits.
    pub(crate) fn push(&self, event: Event) {
        let mut state = self.state.lock();
        if state.is_stopped {
            return;
        }
        if state.end.is_some() {
            state.lost += 1;
            return;
        }
        let cost = event.cost();
        if state.bytes + cost > self.queue_bytes || state.events.len() >= QUEUED_ENTRIES_MAX {
            state.end = Some(Ending::Gap(Gap::QueueFull));
            state.lost += 1;
        } else {
            state.bytes += cost;
            // Under the lock, so that the times in the file ascend with the clock.
            let now_ms = self.env.now_ms();
            state.events.push_back((now_ms, event));
        }
        drop(state);
        self.pushed.notify_one();
    }

    /// Nothing more is taken.
    pub(crate) fn stop(&self) {
        let mut state = self.state.lock();
        state.is_stopped = true;
        state.end.get_or_insert(Ending::Asked);
        drop(state);
        self.pushed.notify_one();
    }

    fn fail(&self, gap: Gap, unwritten: u64) {
        let mut state = self.state.lock();
        state.lost += unwritten + state.events.len() as u64;
        state.events.clear();
        if !matches!(state.end, Some(Ending::Gap(_))) {
            state.end = Some(Ending::Gap(gap));
        }
    }
}

/// How it ended, as the task tells it; the loss is counted on until the recording is finished.
type Done = watch::Receiver<Option<Written>>;

#[derive(Debug, Clone)]
struct Written {
    entries: u64,
    bytes: u64,
}

/// A recording that is under way. Dropping it ends the recording too, and nobody learns how that went.
#[derive(Debug)]
#[must_use = "dropping it ends the recording"]
pub struct Recording {
    recorder: Arc<Recorder>,
    done: Done,
    _task: Task,
}

impl Recording {
    /// Where it is written to.
    pub fn path(&self) -> &Path {
        &self.recorder.path
    }

    /// Ends the recording and waits until all of it is in the file; the file is not forced to the disk. Requests that are not
    /// answered yet stay without their answers. The broker goes on. May be called after the broker was closed.
    ///
    /// # Errors
    /// [`TrafficError::Incomplete`] if it had ended before, because the queue, the file or the disk was full; the file can
    /// still be read. [`TrafficError::Aborted`] if the runtime was shut down.
    pub async fn finish(mut self) -> Result<Recorded, TrafficError> {
        self.recorder.stop();
        let written = match self.done.wait_for(Option::is_some).await {
            Ok(written) => (*written).clone(),
            Err(_) => None,
        };
        let Some(Written { entries, bytes }) = written else { return Err(TrafficError::Aborted) };
        let state = self.recorder.state.lock();
        match &state.end {
            Some(Ending::Gap(gap)) => Err(TrafficError::Incomplete { gap: gap.clone(), entries, lost: state.lost }),
            _ => Ok(Recorded { path: self.recorder.path.clone(), entries, bytes }),
        }
    }

    /// Why it has ended already, if it has.
    pub fn gap(&self) -> Option<Gap> {
        match &self.recorder.state.lock().end {
            Some(Ending::Gap(gap)) => Some(gap.clone()),
            _ => None,
        }
    }

    pub(crate) fn recorder(&self) -> &Arc<Recorder> {
        &self.recorder
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.recorder.stop();
    }
}

/// Makes the file and starts the task that writes it. Blocks on the disk for a moment.
pub(crate) fn start(
    env: &Env,
    path: &Path,
    cluster_id: &str,
    options: &RecordOptions,
) -> Result<Recording, TrafficError> {
    let refused = |reason: String| TrafficError::File { path: path.to_owned(), reason };
    let file = Fs::real().open(path, OpenMode::CreateNew).map_err(|error| {
        refused(match error.kind() {
            std::io::ErrorKind::AlreadyExists => "there is such a file already; choose another name".to_owned(),
            _ => error.to_string(),
        })
    })?;
    start_on(env, file, path, cluster_id, options).map_err(|error| refused(error.to_string()))
}

fn start_on(
    env: &Env,
    file: File,
    path: &Path,
    cluster_id: &str,
    options: &RecordOptions,
) -> std::io::Result<Recording> {
    let begin = Begin {
        time_ms: env.now_ms(),
        cluster_id: cluster_id.into(),
        software: concat!("ottla ", env!("CARGO_PKG_VERSION")).into(),
    };
    let mut prefix = MAGIC.to_vec();
    prefix.extend(VERSION.to_be_bytes());
    prefix.extend(Content::Begin(begin).to_bytes());
    let written = prefix.len() as u64;
    file.write_at(0, &[Bytes::from(prefix)])?;
    let recorder = Arc::new(Recorder {
        env: env.clone(),
        path: path.to_owned(),
        queue_bytes: options.queue_bytes,
        state: Mutex::default(),
        pushed: Notify::new(),
    });
    let writer = Writer { file, written, size_max: options.size_max, entries: 0, secret: HashSet::new() };
    let (tell, done) = watch::channel(None);
    // Blocking jobs of an in-memory environment may run where they are called; the file is a real one.
    let disk = env.with_fs(Fs::real());
    let task = env.spawn("traffic recorder", run(recorder.clone(), disk, writer, tell));
    Ok(Recording { recorder, done, _task: task })
}

async fn run(recorder: Arc<Recorder>, disk: Env, mut writer: Writer, tell: watch::Sender<Option<Written>>) {
    loop {
        let (events, bytes, end) = {
            let mut state = recorder.state.lock();
            (std::mem::take(&mut state.events), state.bytes, state.end.clone())
        };
        let is_idle = events.is_empty();
        let now_ms = recorder.env.now_ms();
        let last = end.clone().filter(|_| is_idle);
        let failed;
        (writer, failed) = disk
            .blocking(move || {
                let failed = match last {
                    None => writer.write(events),
                    Some(ending) => writer.end(now_ms, ending).map(|()| 0).map_err(|error| (gap_of(&error), 0)),
                };
                (writer, failed.err())
            })
            .await;
        // Counted until it was written: that is how long it takes memory.
        recorder.state.lock().bytes -= bytes;
        if let Some((gap, unwritten)) = failed {
            tracing::warn!(path = %recorder.path.display(), "recording traffic has ended early: {gap}");
            recorder.fail(gap.clone(), unwritten);
            // A disk without room may still have that of a mark; the end of the file says as much.
            writer = disk
                .blocking(move || {
                    let _ = writer.end(now_ms, Ending::Gap(gap));
                    writer
                })
                .await;
            break;
        }
        match (is_idle, end) {
            (true, Some(_)) => break,
            (true, None) => recorder.pushed.notified().await,
            (false, _) => {}
        }
    }
    tell.send_replace(Some(Written { entries: writer.entries, bytes: writer.written }));
}

fn gap_of(error: &std::io::Error) -> Gap {
    Gap::Disk(error.to_string())
}

/// The file, its end and what is in it.
#[derive(Debug)]
struct Writer {
    file: File,
    written: u64,
    size_max: u64,
    entries: u64,
    /// Connections whose last request had secrets: its answer may speak of them.
    secret: HashSet<u64>,
}

impl Writer {
    /// Writes what was queued. On an error, how many of the events are not in the file.
    fn write(&mut self, events: VecDeque<(i64, Event)>) -> Result<u64, (Gap, u64)> {
        let mut left = events.len() as u64;
        let (mut buffers, mut bytes, mut count) = (Vec::new(), 0, 0);
        for (time_ms, event) in events {
            let mut entry = entry_of(time_ms, event).map_err(|error| (gap_of(&error), left))?;
            self.withhold(&mut entry);
            let entry = Content::Entry(entry).to_bytes();
            if self.written + bytes + entry.len() as u64 > self.size_max || entry.len() > ENTRY_BYTES_MAX {
                self.append(&buffers, bytes, count).map_err(|error| (gap_of(&error), left))?;
                return Err((Gap::SizeMax, left - count));
            }
            bytes += entry.len() as u64;
            buffers.push(entry);
            count += 1;
            if bytes >= WRITE_BYTES as u64 {
                self.append(&buffers, bytes, count).map_err(|error| (gap_of(&error), left))?;
                left -= count;
                (bytes, count) = (0, 0);
                buffers.clear();
            }
        }
        self.append(&buffers, bytes, count).map_err(|error| (gap_of(&error), left))?;
        Ok(0)
    }

    fn withhold(&mut self, entry: &mut Entry) {
        match entry {
            Entry::Request(RecordedRequest { connection, body: Err(Withheld::Secret), .. }) => {
                self.secret.insert(*connection);
            }
            Entry::Answer(answer) if self.secret.remove(&answer.connection) && answer.size > 0 => {
                answer.body = Err(Withheld::Secret);
            }
            Entry::Closed { connection, .. } => {
                self.secret.remove(connection);
            }
            _ => {}
        }
    }

    fn append(&mut self, buffers: &[Bytes], bytes: u64, entries: u64) -> std::io::Result<()> {
        if buffers.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.file.write_at(self.written, buffers) {
            // Half an entry would read as a crash.
            let _ = self.file.set_len(self.written);
            return Err(error);
        }
        self.written += bytes;
        self.entries += entries;
        Ok(())
    }

    fn end(&mut self, time_ms: i64, ending: Ending) -> std::io::Result<()> {
        let entry = match ending {
            Ending::Asked => Entry::End { time_ms, entries: self.entries },
            Ending::Gap(gap) => Entry::Gap { time_ms, gap },
        };
        let entry = Content::Entry(entry).to_bytes();
        let bytes = entry.len() as u64;
        self.append(&[entry], bytes, 0)
    }
}

/// What stands in the file for an event. Reads records that lie in segment files.
fn entry_of(time_ms: i64, event: Event) -> std::io::Result<Entry> {
    Ok(match event {
        Event::Closed { connection } => Entry::Closed { time_ms, connection },
        Event::Answer { connection, api, outcome, frame } => {
            let frame = frame.into_bytes()?;
            let (size, body) = match (api, outcome) {
                (Some((key, version)), Outcome::Answered) => {
                    let mut reader = Reader::new(frame);
                    match ResponseHeader::decode(&mut reader, key.response_header_version(version)) {
                        Ok(_) => (reader.remaining(), checked_answer(key, version, reader.rest())),
                        Err(_) => (reader.remaining(), Err(Withheld::Unreadable)),
                    }
                }
                (None, Outcome::Answered) => (frame.len(), Err(Withheld::Unreadable)),
                _ => (0, Ok(Bytes::new())),
            };
            Entry::Answer(RecordedAnswer { time_ms, connection, outcome, size: size as u32, body })
        }
        Event::Request { connection, in_process, listener, frame } => {
            let frame = frame.into_bytes()?;
            let start = frame.first_chunk::<4>().map(|start| {
                let [a, b, c, d] = *start;
                (i16::from_be_bytes([a, b]), i16::from_be_bytes([c, d]))
            });
            let (api_key, api_version) = start.unwrap_or((-1, -1));
            let len = frame.len();
            let (header, size, body) = match read_header(api_key, api_version, frame) {
                Some((header, body)) => (header, body.len(), checked_request(api_key, api_version, body)),
                // A SASL token without a header, or anything else: nothing of it is kept.
                None => (RequestHeader::default(), len, Err(Withheld::Unreadable)),
            };
            // What cannot be read may be anything, a password too, and so may what looks like its header. ApiVersions is asked
            // for in versions that are not known yet.
            let is_unknown = body == Err(Withheld::Unreadable) && api_key != ApiKey::ApiVersions.code();
            let (api_key, api_version) = if is_unknown { (-1, -1) } else { (api_key, api_version) };
            let header = if is_unknown { RequestHeader::default() } else { header };
            Entry::Request(RecordedRequest {
                time_ms,
                connection,
                in_process,
                api_key,
                api_version,
                correlation_id: header.correlation_id,
                client_id: header.client_id,
                listener: Str::from(&*listener),
                size: size as u32,
                body,
            })
        }
    })
}

fn read_header(api_key: i16, api_version: i16, frame: Bytes) -> Option<(RequestHeader, Bytes)> {
    let api = ApiKey::from_code(api_key)?;
    let version = api.request_header_version(api_version.min(api.versions().1));
    let mut reader = Reader::new(frame);
    let header = RequestHeader::decode(&mut reader, version).ok()?;
    Some((header, reader.rest()))
}

#[cfg(test)]
mod tests;
