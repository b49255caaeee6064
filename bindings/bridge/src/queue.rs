//! The completion queue: all that the native side has to say to a host waits here until the host fetches it.
//!
//! Nothing here ever calls the host. A host that sleeps is woken by a file descriptor (asyncio, C), by a condition
//! ([`Queue::wait`]: a thread of Java), or by one function that only says "not empty" (Node). Whatever is put in is bounded:
//! calls by [`CALLS_MAX`], deliveries by what a producer may have outstanding, questions by the calls that ask them, logs by
//! being dropped and counted.

use crate::error::{Error, Kind};
use crate::state::Handle;
use bytes::Bytes;
use ottla::client::DeliveredRecords;
use parking_lot::{Condvar, Mutex};
use rustix::event::{EventfdFlags, eventfd};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;

/// Calls of one queue that are not yet fetched.
pub const CALLS_MAX: usize = 65_536;
/// Records of a producer that a host may not have fetched the fate of, so that one that never looks holds no more memory.
const UNFETCHED_MAX: usize = 1 << 20;
/// Log lines that wait; more are dropped and counted.
const LOGS_MAX: usize = 1024;

/// What a call has to say when it went well.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Only that it is done.
    Done,
    /// MessagePack, as the method's description says.
    Value(Bytes),
    /// What was opened.
    Handle(Handle),
    /// Records as [`crate::frame`] describes them.
    Records(Bytes),
}

/// One thing that the native side has to say.
#[derive(Debug)]
pub enum Event {
    /// A call has ended. Comes exactly once for each.
    Completed {
        /// The caller's number of the call.
        ticket: u64,
        /// Its end.
        result: Result<Answer, Error>,
    },
    /// Records of a producer were acknowledged or given up.
    Delivered {
        /// The producer.
        producer: Handle,
        /// Which, and what became of them.
        records: DeliveredRecords,
        /// Taken off what the producer has outstanding when the event is gone.
        outstanding: Outstanding,
    },
    /// A producer that was full takes records again.
    Room {
        /// The producer.
        producer: Handle,
    },
    /// The host is to answer with [`crate::answer`]; until it does, or the time is over, a call waits.
    Question {
        /// The number to answer to.
        question: u64,
        /// Who asks.
        asker: Handle,
        /// What is asked: `rebalance.revoked`, `rebalance.assigned`, `rebalance.lost`, `oauth.token`.
        about: &'static str,
        /// MessagePack.
        arguments: Bytes,
        /// How long the answer may take, ms.
        limit_ms: u64,
    },
    /// For the host's own logger.
    Log {
        /// 1 error, 2 warning, 3 info, 4 debug, 5 trace.
        level: u8,
        /// The module that says it.
        target: String,
        /// The sentence.
        message: String,
    },
}

/// Counts records that a host has not fetched the fate of.
#[derive(Debug)]
pub struct Outstanding {
    of: Arc<Unfetched>,
    count: usize,
}

/// A producer's records that the host has not fetched the fate of.
#[derive(Debug)]
pub(crate) struct Unfetched {
    count: AtomicUsize,
    /// The host was told that there are too many.
    too_many: AtomicBool,
    queue: Weak<Queue>,
    /// Known before the first record is.
    pub(crate) producer: OnceLock<Handle>,
}

impl Unfetched {
    pub(crate) fn new(queue: &Arc<Queue>) -> Arc<Unfetched> {
        let (count, too_many) = (AtomicUsize::new(0), AtomicBool::new(false));
        Arc::new(Unfetched { count, too_many, queue: Arc::downgrade(queue), producer: OnceLock::new() })
    }

    pub(crate) fn more(self: &Arc<Self>, count: usize) -> Outstanding {
        self.count.fetch_add(count, Ordering::Relaxed);
        Outstanding { of: self.clone(), count }
    }

    /// Whether there are too many for more to be sent; the host is told when there are not any more.
    pub(crate) fn too_many(&self) -> bool {
        if self.count.load(Ordering::SeqCst) <= UNFETCHED_MAX {
            return false;
        }
        self.too_many.store(true, Ordering::SeqCst);
        // The last may have been fetched between the two.
        self.count.load(Ordering::SeqCst) > UNFETCHED_MAX / 2
    }
}

impl Drop for Outstanding {
    fn drop(&mut self) {
        let left = self.of.count.fetch_sub(self.count, Ordering::SeqCst) - self.count;
        if left <= UNFETCHED_MAX / 2
            && self.of.too_many.swap(false, Ordering::SeqCst)
            && let (Some(queue), Some(producer)) = (self.of.queue.upgrade(), self.of.producer.get())
        {
            queue.push(Event::Room { producer: *producer });
        }
    }
}

type Waker = Box<dyn Fn() + Send + Sync>;

/// See the module.
pub struct Queue {
    handle: Handle,
    inner: Mutex<Inner>,
    filled: Condvar,
    /// The same for threads that wait for a call of their own meanwhile.
    noticed: Notify,
    /// Readable while the queue is not empty.
    fd: OwnedFd,
    waker: Mutex<Option<Waker>>,
}

#[derive(Debug, Default)]
struct Inner {
    events: VecDeque<Event>,
    calls: HashMap<u64, Call>,
    questions: HashMap<u64, oneshot::Sender<Result<Bytes, Error>>>,
    last_question: u64,
    logs: usize,
    logs_dropped: u64,
    closed: bool,
}

/// A call on its way. It stays here until its end is fetched, so that the number of them is bounded.
#[derive(Debug, Default)]
struct Call {
    /// Whose it is.
    of: Option<Handle>,
    task: Option<AbortHandle>,
    /// Why it was ended from outside.
    reason: Option<Error>,
    ended: bool,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("handle", &self.handle).finish_non_exhaustive()
    }
}

impl Queue {
    pub(crate) fn new(handle: Handle) -> Result<Arc<Queue>, Error> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let fd = fd.map_err(|error| Error::new(Kind::Internal, format!("no file descriptor for a queue: {error}")))?;
        Ok(Arc::new(Queue {
            handle,
            inner: Mutex::default(),
            filled: Condvar::new(),
            noticed: Notify::new(),
            fd,
            waker: Mutex::new(None),
        }))
    }

    /// The descriptor that is readable while there are events.
    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Calls `wake` whenever the queue stops being empty. It must return at once and not call the bridge.
    pub fn on_filled(&self, wake: impl Fn() + Send + Sync + 'static) {
        *self.waker.lock() = Some(Box::new(wake));
        if !self.inner.lock().events.is_empty() {
            self.wake();
        }
    }

    fn wake(&self) {
        self.filled.notify_all();
        self.noticed.notify_waiters();
        // A counter that is full is readable just as well.
        let _ = rustix::io::write(&self.fd, &1_u64.to_ne_bytes());
        if let Some(wake) = &*self.waker.lock() {
            wake();
        }
    }

    pub(crate) fn push(&self, event: Event) {
        let first = {
            let mut inner = self.inner.lock();
            if inner.closed {
                return;
            }
            if matches!(event, Event::Log { .. }) {
                if inner.logs >= LOGS_MAX {
                    inner.logs_dropped += 1;
                    return;
                }
                inner.logs += 1;
            }
            // Who waits for room does not fetch meanwhile.
            let urgent = matches!(event, Event::Room { .. } | Event::Question { .. });
            inner.events.push_back(event);
            inner.events.len() == 1 || urgent
        };
        if first {
            self.wake();
        }
    }

    /// Up to `max` events, without waiting.
    pub fn drain(&self, max: usize) -> Vec<Event> {
        let mut inner = self.inner.lock();
        let count = inner.events.len().min(max);
        let mut events: Vec<Event> = inner.events.drain(..count).collect();
        for event in &events {
            match event {
                Event::Completed { ticket, .. } => drop(inner.calls.remove(ticket)),
                Event::Log { .. } => inner.logs -= 1,
                _ => {}
            }
        }
        if inner.logs_dropped > 0 && inner.logs == 0 {
            let message =
                format!("{} lines were not fetched in time and are lost", std::mem::take(&mut inner.logs_dropped));
            events.push(Event::Log { level: 2, target: "ottla_bridge".to_owned(), message });
        }
        if inner.events.is_empty() {
            // Under the lock, so that no push comes between looking and emptying.
            let _ = rustix::io::read(&self.fd, &mut [0_u8; 8]);
        }
        events
    }

    /// As [`Queue::drain`], waiting up to `limit` for the first.
    pub fn wait(&self, max: usize, limit: Duration) -> Vec<Event> {
        {
            let mut inner = self.inner.lock();
            if inner.events.is_empty() && !inner.closed {
                self.filled.wait_for(&mut inner, limit);
            }
        }
        self.drain(max)
    }

    /// Waits up to `limit` for a producer to have room, for hosts that do not fetch events meanwhile; takes its event.
    pub fn wait_for_room(&self, producer: Handle, limit: Duration) {
        let end = Instant::now() + limit;
        let mut inner = self.inner.lock();
        loop {
            let room = |event: &Event| matches!(event, Event::Room { producer: of } if *of == producer);
            if let Some(at) = inner.events.iter().position(room) {
                inner.events.remove(at);
                return;
            }
            if inner.closed || self.filled.wait_until(&mut inner, end).timed_out() {
                return;
            }
        }
    }

    /// The handle that names it.
    pub fn handle(&self) -> Handle {
        self.handle
    }

    /// Ready when there is an event that a host has to see before a call can go on: a question.
    pub(crate) async fn asked(&self) {
        loop {
            let noticed = self.noticed.notified();
            if self.inner.lock().events.iter().any(|event| matches!(event, Event::Question { .. })) {
                return;
            }
            noticed.await;
        }
    }

    /// Whether it was closed: nothing more will come.
    pub fn is_closed(&self) -> bool {
        self.inner.lock().closed
    }

    /// Registers a call.
    pub(crate) fn ticket(self: &Arc<Queue>, ticket: u64, of: Handle) -> Result<Ticket, Error> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err(Error::closed());
        }
        if inner.calls.len() >= CALLS_MAX {
            let text =
                format!("{CALLS_MAX} calls have not been fetched from the queue; fetch some before calling again");
            return Err(Error::new(Kind::Retriable, text));
        }
        if inner.calls.contains_key(&ticket) {
            return Err(Error::invalid(format!(
                "call {ticket} has not ended yet; each call needs a number of its own"
            )));
        }
        inner.calls.insert(ticket, Call { of: Some(of), ..Call::default() });
        Ok(Ticket { queue: self.clone(), number: ticket, ended: false })
    }

    /// The task that the call runs in, so that it can be ended.
    pub(crate) fn runs_in(&self, ticket: u64, task: AbortHandle) {
        let mut inner = self.inner.lock();
        match inner.calls.get_mut(&ticket) {
            Some(call) if call.reason.is_some() => task.abort(),
            Some(call) => call.task = Some(task),
            None => {}
        }
    }

    /// Ends a call; it completes with `reason`, unless it has ended already.
    pub(crate) fn end(&self, ticket: u64, reason: Error) {
        let task = {
            let mut inner = self.inner.lock();
            let Some(call) = inner.calls.get_mut(&ticket).filter(|call| !call.ended) else { return };
            call.reason.get_or_insert(reason);
            call.task.take()
        };
        if let Some(task) = task {
            task.abort();
        }
    }

    /// Ends the calls of an object.
    pub(crate) fn end_all_of(&self, of: Handle, reason: &Error) {
        let calls: Vec<u64> = {
            let inner = self.inner.lock();
            inner.calls.iter().filter(|(_, call)| call.of == Some(of)).map(|(ticket, _)| *ticket).collect()
        };
        calls.into_iter().for_each(|ticket| self.end(ticket, reason.clone()));
    }

    fn complete(&self, ticket: u64, result: Result<Answer, Error>) {
        {
            let mut inner = self.inner.lock();
            match inner.calls.get_mut(&ticket) {
                Some(call) => call.ended = true,
                None => return,
            }
        }
        self.push(Event::Completed { ticket, result });
    }

    /// Asks the host and waits for its answer.
    pub(crate) async fn ask(
        self: &Arc<Queue>,
        asker: Handle,
        about: &'static str,
        arguments: Bytes,
        limit: Duration,
    ) -> Result<Bytes, Error> {
        let (sender, answer) = oneshot::channel();
        let question = {
            let mut inner = self.inner.lock();
            if inner.closed {
                return Err(Error::closed());
            }
            inner.last_question += 1;
            let question = inner.last_question;
            inner.questions.insert(question, sender);
            question
        };
        let open = Open { queue: self.clone(), question };
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        self.push(Event::Question { question, asker, about, arguments, limit_ms });
        let answered = tokio::time::timeout(limit, answer).await;
        drop(open);
        match answered {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Error::closed()),
            Err(_) => Err(Error::new(Kind::Timeout, format!("{about} was not answered within {limit_ms} ms"))),
        }
    }

    /// Answers a question; one that nobody waits for any more is an error that says so.
    pub(crate) fn answer(&self, question: u64, answer: Result<Bytes, Error>) -> Result<(), Error> {
        let sender = self.inner.lock().questions.remove(&question);
        let late = || Error::invalid(format!("question {question} was answered before, or its time is over"));
        sender.ok_or_else(late)?.send(answer).map_err(|_| late())
    }

    /// Ends all calls and questions; nothing more comes out, and who waits is woken.
    pub(crate) fn close(&self) {
        let (calls, events) = {
            let mut inner = self.inner.lock();
            inner.closed = true;
            inner.questions.clear();
            let calls: Vec<_> = inner.calls.drain().filter_map(|(_, call)| call.task).collect();
            (calls, std::mem::take(&mut inner.events))
        };
        calls.iter().for_each(AbortHandle::abort);
        drop(events);
        self.wake();
        *self.waker.lock() = None;
    }
}

/// Takes a question back when the one who asks gives up.
struct Open {
    queue: Arc<Queue>,
    question: u64,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.queue.inner.lock().questions.remove(&self.question);
    }
}

/// The duty to end a call: whatever happens to the one who has it, the call ends once.
#[derive(Debug)]
pub(crate) struct Ticket {
    queue: Arc<Queue>,
    pub(crate) number: u64,
    ended: bool,
}

impl Ticket {
    pub(crate) fn complete(mut self, result: Result<Answer, Error>) {
        self.ended = true;
        self.queue.complete(self.number, result);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.ended {
            let reason = {
                let mut inner = self.queue.inner.lock();
                inner.calls.get_mut(&self.number).and_then(|call| call.reason.take())
            };
            let unsaid = || Error::new(Kind::Internal, "the call was dropped without an answer; please report it");
            self.queue.complete(self.number, Err(reason.unwrap_or_else(unsaid)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> Arc<Queue> {
        Queue::new(Handle(1)).expect("a descriptor")
    }

    fn readable(queue: &Queue) -> bool {
        use rustix::event::{PollFd, PollFlags, poll};
        let mut fds = [PollFd::new(&queue.fd, PollFlags::IN)];
        poll(&mut fds, Some(&rustix::event::Timespec::default())).expect("polls") == 1
    }

    #[test]
    fn a_call_ends_once_whatever_becomes_of_its_ticket() {
        let queue = queue();
        queue.ticket(1, Handle(9)).expect("new").complete(Ok(Answer::Done));
        drop(queue.ticket(2, Handle(9)).expect("new"));
        let third = queue.ticket(3, Handle(9)).expect("new");
        queue.end(3, Error::new(Kind::Cancelled, "taken back"));
        queue.end(3, Error::closed());
        drop(third);
        queue.end(1, Error::closed());
        let kinds: Vec<_> = queue
            .drain(10)
            .into_iter()
            .map(|event| match event {
                Event::Completed { ticket, result } => (ticket, result.map_err(|error| error.kind)),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(kinds, [(1, Ok(Answer::Done)), (2, Err(Kind::Internal)), (3, Err(Kind::Cancelled))]);
        assert!(queue.drain(10).is_empty());
    }

    #[test]
    fn a_number_is_free_again_once_its_end_was_fetched_and_not_before() {
        let queue = queue();
        queue.ticket(1, Handle(9)).expect("new").complete(Ok(Answer::Done));
        assert_eq!(queue.ticket(1, Handle(9)).expect_err("not fetched").kind, Kind::Invalid);
        queue.drain(1);
        drop(queue.ticket(1, Handle(9)).expect("free again"));
    }

    #[test]
    fn calls_are_bounded() {
        let queue = queue();
        let tickets: Vec<_> =
            (0..CALLS_MAX as u64).map(|number| queue.ticket(number, Handle(9)).expect("new")).collect();
        assert!(queue.ticket(u64::MAX, Handle(9)).expect_err("one too many").retriable);
        drop(tickets);
        assert_eq!(queue.drain(usize::MAX).len(), CALLS_MAX);
        drop(queue.ticket(u64::MAX, Handle(9)).expect("room again"));
    }

    #[test]
    fn the_descriptor_is_readable_while_there_are_events() {
        let queue = queue();
        assert!(!readable(&queue));
        for number in 0..3 {
            queue.push(Event::Room { producer: Handle(number) });
        }
        assert!(readable(&queue));
        assert_eq!(queue.drain(2).len(), 2);
        assert!(readable(&queue));
        assert_eq!(queue.drain(2).len(), 1);
        assert!(!readable(&queue));
    }

    #[test]
    fn who_waits_is_woken_by_an_event_and_by_the_end() {
        let queue = queue();
        for close in [false, true] {
            let waiting = queue.clone();
            let waited = std::thread::spawn(move || waiting.wait(10, Duration::from_secs(60)).len());
            if close {
                queue.close();
            } else {
                queue.push(Event::Room { producer: Handle(1) });
            }
            assert_eq!(waited.join().expect("ends"), usize::from(!close));
        }
        assert!(queue.is_closed());
        queue.push(Event::Room { producer: Handle(1) });
        assert!(queue.drain(10).is_empty());
    }

    #[test]
    fn log_lines_that_nobody_fetches_are_counted_and_dropped() {
        let queue = queue();
        for line in 0..LOGS_MAX + 5 {
            queue.push(Event::Log { level: 3, target: "t".to_owned(), message: line.to_string() });
        }
        let events = queue.drain(usize::MAX);
        assert_eq!(events.len(), LOGS_MAX + 1);
        assert!(matches!(events.last(), Some(Event::Log { message, .. }) if message.starts_with("5 lines")));
    }

    #[tokio::test]
    async fn a_question_is_answered_once_and_ends_in_time() {
        let queue = queue();
        let asking = queue.clone();
        let ask = move |limit| {
            let queue = asking.clone();
            tokio::spawn(async move { queue.ask(Handle(5), "oauth.token", Bytes::from_static(b"x"), limit).await })
        };
        let asked = ask(Duration::from_secs(60));
        let question = loop {
            if let Some(Event::Question { question, asker: Handle(5), .. }) = queue.drain(1).pop() {
                break question;
            }
            tokio::task::yield_now().await;
        };
        queue.answer(question, Ok(Bytes::from_static(b"y"))).expect("somebody waits");
        assert_eq!(asked.await.expect("no panic").expect("answered"), "y");
        assert_eq!(queue.answer(question, Ok(Bytes::new())).expect_err("twice").kind, Kind::Invalid);
        let asked = ask(Duration::from_millis(1));
        assert_eq!(asked.await.expect("no panic").expect_err("nobody answers").kind, Kind::Timeout);
        assert!(queue.inner.lock().questions.is_empty());
        let asked = ask(Duration::from_secs(60));
        while queue.drain(1).is_empty() {
            tokio::task::yield_now().await;
        }
        queue.close();
        assert_eq!(asked.await.expect("no panic").expect_err("closed").kind, Kind::Closed);
    }
}
