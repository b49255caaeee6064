//! Where a broker lets its traffic be seen: one look at a number per request as long as nobody does.

use crate::error::TrafficError;
use crate::format::Outcome;
use crate::recorder::{self, Event, RecordOptions, Recorder, Recording};
use ottla_env::Env;
use ottla_protocol::{ApiKey, Frame};
use ottla_wire::{Answer, Peer};
use parking_lot::Mutex;
use std::future::poll_fn;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use tokio::sync::watch;

/// A broker's tap.
#[derive(Debug)]
pub struct Tap {
    /// How many look: recordings and replays.
    armed: AtomicUsize,
    /// Guards which recording is under way.
    recorder: Mutex<Option<Arc<Recorder>>>,
    /// How many requests the broker has begun with since somebody looked: each has been worked on until it first waited.
    begun: watch::Sender<u64>,
}

impl Default for Tap {
    fn default() -> Tap {
        Tap { armed: AtomicUsize::new(0), recorder: Mutex::default(), begun: watch::channel(0).0 }
    }
}

/// A connection that was recorded; its drop is its end.
#[derive(Debug)]
pub struct SeenConnection {
    recorder: Arc<Recorder>,
    connection: u64,
}

impl Drop for SeenConnection {
    fn drop(&mut self) {
        self.recorder.push(Event::Closed { connection: self.connection });
    }
}

impl Tap {
    /// Whether anybody looks.
    pub fn is_on(&self) -> bool {
        self.armed.load(Ordering::Relaxed) != 0
    }

    /// Starts to record into the new file at `path`, on the real file system. Blocks on the disk for a moment. Requests that
    /// came before are not in it, nor are their answers.
    ///
    /// # Errors
    /// The file cannot be made, or exists; a recording is under way.
    pub fn record(
        self: &Arc<Tap>,
        env: &Env,
        cluster_id: &str,
        path: &Path,
        options: &RecordOptions,
    ) -> Result<Recording, TrafficError> {
        let mut current = self.recorder.lock();
        if let Some(recorder) = current.as_ref().filter(|recorder| !recorder.has_ended()) {
            return Err(TrafficError::Busy { path: recorder.path().to_owned() });
        }
        let recording = recorder::start(env, path, cluster_id, options)?;
        if current.replace(recording.recorder().clone()).is_none() {
            self.armed.fetch_add(1, Ordering::AcqRel);
        }
        Ok(recording)
    }

    /// Counts the requests that are begun with while the result lives.
    pub fn watch(self: &Arc<Tap>) -> Begun {
        self.armed.fetch_add(1, Ordering::AcqRel);
        Begun { tap: self.clone(), count: self.begun.subscribe() }
    }

    /// Lets a request and its answer be seen; call it if [`Tap::is_on`]. `seen` is kept with the connection.
    pub async fn pass(
        &self,
        peer: &Peer,
        seen: &mut Option<SeenConnection>,
        frame: Frame,
        answering: impl Future<Output = Answer>,
    ) -> Answer {
        // What is needed to read the answer.
        let api = frame.first_chunk::<4>().and_then(|start| {
            let [a, b, c, d] = *start;
            Some((ApiKey::from_code(i16::from_be_bytes([a, b]))?, i16::from_be_bytes([c, d])))
        });
        let recorder = self.current();
        let connection = peer.connection_id;
        if let Some(recorder) = &recorder {
            let event = Event::Request {
                connection,
                in_process: peer.address.is_none(),
                listener: peer.listener.clone(),
                frame,
            };
            recorder.push(event);
            if !seen.as_ref().is_some_and(|seen| Arc::ptr_eq(&seen.recorder, recorder)) {
                *seen = Some(SeenConnection { recorder: recorder.clone(), connection });
            }
        }
        let mut answering = pin!(answering);
        let mut is_first = true;
        let answer = poll_fn(|context| {
            let polled: Poll<Answer> = answering.as_mut().poll(context);
            if std::mem::take(&mut is_first) {
                self.begun.send_modify(|count| *count += 1);
            }
            polled
        })
        .await;
        if let Some(recorder) = recorder {
            let (outcome, frame) = match &answer {
                Answer::Frame(frame) => (Outcome::Answered, frame.clone()),
                Answer::Nothing => (Outcome::Nothing, Frame::default()),
                Answer::Close => (Outcome::Closed, Frame::default()),
                Answer::Silence => (Outcome::Silence, Frame::default()),
            };
            recorder.push(Event::Answer { connection, api, outcome, frame });
        }
        answer
    }

    /// The recording that is under way; one that has ended is let go of.
    fn current(&self) -> Option<Arc<Recorder>> {
        let mut current = self.recorder.lock();
        if current.as_ref().is_some_and(|recorder| recorder.is_stopped()) {
            *current = None;
            self.armed.fetch_sub(1, Ordering::AcqRel);
        }
        current.clone()
    }
}

/// See [`Tap::watch`].
#[derive(Debug)]
pub struct Begun {
    tap: Arc<Tap>,
    count: watch::Receiver<u64>,
}

impl Begun {
    /// How many there were up to now, of all clients.
    pub fn count(&self) -> u64 {
        *self.count.borrow()
    }

    /// Waits until there were `count`; for ever, if the broker is gone.
    pub async fn reaches(&mut self, count: u64) {
        if self.count.wait_for(|now| *now >= count).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.tap.armed.fetch_sub(1, Ordering::AcqRel);
    }
}
