//! The simulator: one thread, one seed, one course of events.
//!
//! Everything that could make two runs differ is decided by the seed: which of the ready tasks runs next, when blocking
//! jobs run, every random draw. Time stands still while anything is ready and then jumps to the next timer. tokio's own
//! scheduler, clock and network do not take part; `tokio::sync` works as ever.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use parking_lot::Mutex;

use crate::Env;
use crate::fs::Fs;
use crate::random::Seeded;
use crate::task::{End, Inside, Watched};
use crate::timers::Timers;

/// The virtual wall clock's start: 2025-01-01T00:00:00Z. A fixed one, or runs of one seed would differ.
const START_MS: i64 = 1_735_689_600_000;
/// Steps that a run may take by default: some minutes of work.
const DEFAULT_STEPS_MAX: u64 = 100_000_000;
/// Virtual time that a run may take by default.
const DEFAULT_TIME_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The main future's place among the tasks.
const MAIN: u64 = 0;

/// A world whose course of events depends on nothing but its seed: clock, randomness, tasks and files of every [`Env`] that
/// is made from it.
///
/// ```
/// use ottla_env::Simulator;
/// use std::time::Duration;
///
/// let simulator = Simulator::new(7);
/// let env = simulator.env();
/// let draw = simulator.run(async {
///     let (before, wait) = (env.monotonic(), env.clone());
///     env.spawn("waits", async move { wait.sleep(Duration::from_secs(3600)).await }).join().await;
///     assert_eq!(env.monotonic() - before, Duration::from_secs(3600));
///     env.random_u64()
/// })?;
/// // Once more: the same.
/// let again = Simulator::new(7);
/// let env = again.env();
/// let other = async {
///     let wait = env.clone();
///     env.spawn("waits", async move { wait.sleep(Duration::from_secs(3600)).await }).join().await;
///     env.random_u64()
/// };
/// assert_eq!(again.run(other)?, draw);
/// assert_eq!(again.fingerprint(), simulator.fingerprint());
/// # Ok::<(), ottla_env::SimulationError>(())
/// ```
#[derive(Debug)]
pub struct Simulator {
    world: Arc<World>,
    steps_max: u64,
    time_max: Duration,
}

/// What the environments of one simulation share.
pub(crate) struct World {
    seed: u64,
    /// Tells this simulation from all others of the process.
    id: u64,
    timers: Arc<Timers>,
    /// Nothing is called, polled or dropped under this lock.
    state: Mutex<State>,
}

struct State {
    tasks: BTreeMap<u64, Arc<SimTask>>,
    /// By number, not by who was woken first: the order of the wake-ups within one step must not count.
    ready: BTreeSet<u64>,
    next_task: u64,
    /// Decides who runs next; apart from `draws`, so that one more draw does not change every later choice.
    schedule: Seeded,
    /// What the environments hand out.
    draws: Seeded,
    steps: u64,
    fingerprint: u64,
    next_number: u64,
    /// Nothing runs any more; what is spawned is dropped.
    ended: bool,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("seed", &self.seed).field("timers", &self.timers).finish_non_exhaustive()
    }
}

/// Why a simulated run did not come to its end. Names the seed that replays it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SimulationError {
    /// Everything waits, and there is no timer that could change that.
    Deadlock {
        /// Replays the run.
        seed: u64,
        /// Who waits.
        tasks: String,
    },
    /// More virtual time than was allowed.
    TooLong {
        /// Replays the run.
        seed: u64,
        /// The limit.
        limit: Duration,
        /// Who waits for the next timer.
        task: String,
    },
    /// More steps than were allowed.
    TooManySteps {
        /// Replays the run.
        seed: u64,
        /// The limit.
        limit: u64,
        /// Who was ready to go on.
        tasks: String,
    },
    /// `run` was called on a thread of a tokio runtime, which it would block.
    InsideTokio {
        /// The seed.
        seed: u64,
    },
}

impl fmt::Display for SimulationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SimulationError::Deadlock { seed, tasks } => {
                write!(f, "seed {seed}: everything waits and no timer is set; waiting: {tasks}")
            }
            SimulationError::TooLong { seed, limit, task } => {
                write!(f, "seed {seed}: not done after {limit:?} of virtual time; the next to wake up is {task}")
            }
            SimulationError::TooManySteps { seed, limit, tasks } => {
                write!(f, "seed {seed}: not done after {limit} steps; at work: {tasks}")
            }
            SimulationError::InsideTokio { seed } => write!(
                f,
                "seed {seed}: a simulation does not run inside a tokio runtime, it would block it; call run from a plain \
                 function, in a test one under #[test]"
            ),
        }
    }
}

impl std::error::Error for SimulationError {}

impl Simulator {
    /// A simulation that `seed` decides. Nothing runs before [`Simulator::run`].
    pub fn new(seed: u64) -> Simulator {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let state = State {
            tasks: BTreeMap::new(),
            ready: BTreeSet::new(),
            next_task: MAIN + 1,
            schedule: Seeded::new(seed ^ 0x5c4e_d01e),
            draws: Seeded::new(seed),
            steps: 0,
            fingerprint: seed,
            next_number: 1,
            ended: false,
        };
        let world = World {
            seed,
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            timers: Arc::new(Timers::new(START_MS)),
            state: Mutex::new(state),
        };
        Simulator { world: Arc::new(world), steps_max: DEFAULT_STEPS_MAX, time_max: DEFAULT_TIME_MAX }
    }

    /// Bounds how often tasks are polled; a hundred million by default.
    #[must_use]
    pub fn steps_max(mut self, steps: u64) -> Simulator {
        self.steps_max = steps;
        self
    }

    /// Bounds the virtual time of the run; 30 days by default.
    #[must_use]
    pub fn time_max(mut self, time: Duration) -> Simulator {
        self.time_max = time;
        self
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.world.seed
    }

    /// An environment of this simulation with a new, empty file system in memory: a machine of its own.
    pub fn env(&self) -> Env {
        Env::in_world(self.world.clone(), Fs::memory())
    }

    /// A number for the course of events so far: who ran when, and what was drawn. Two runs of one seed and one program have
    /// the same, whatever computer they run on; where it differs, something that is not of the simulation took part.
    pub fn fingerprint(&self) -> u64 {
        self.world.state.lock().fingerprint
    }

    /// How many times a task was polled so far.
    pub fn steps(&self) -> u64 {
        self.world.state.lock().steps
    }

    /// Runs `main` to its end on this thread, and with it all tasks that it starts; those that are still there at the end are
    /// dropped. A simulation runs once.
    ///
    /// # Errors
    /// See [`SimulationError`].
    ///
    /// # Panics
    /// When `main` or any task panics, after writing the seed to standard error.
    pub fn run<F: Future>(&self, main: F) -> Result<F::Output, SimulationError> {
        let seed = self.world.seed;
        if tokio::runtime::Handle::try_current().is_ok() {
            return Err(SimulationError::InsideTokio { seed });
        }
        // Nothing of this is looked at after a panic but to be dropped.
        let ran = catch_unwind(AssertUnwindSafe(|| {
            let mut main = pin!(main);
            self.drive(main.as_mut())
        }));
        let cleared = catch_unwind(AssertUnwindSafe(|| self.world.clear()));
        match (ran, cleared) {
            (Ok(output), Ok(())) => output,
            (Err(panic), _) | (_, Err(panic)) => {
                eprintln!("the simulation failed; seed {seed} replays it");
                resume_unwind(panic)
            }
        }
    }

    fn drive<F: Future>(&self, mut main: Pin<&mut F>) -> Result<F::Output, SimulationError> {
        let (world, seed) = (&self.world, self.world.seed);
        let main_waker = Waker::from(Arc::new(ReadyWaker { world: Arc::downgrade(world), number: MAIN }));
        world.wake(MAIN);
        loop {
            if self.steps() >= self.steps_max {
                let tasks = world.names(|state, number| state.ready.contains(&number));
                return Err(SimulationError::TooManySteps { seed, limit: self.steps_max, tasks });
            }
            let Some((number, task)) = world.choose() else {
                match world.timers.next() {
                    Some((deadline, _)) if deadline <= self.time_max => {
                        // All of one moment at once: the seed decides who of them is first.
                        while let Some(waker) = world.timers.fire(deadline) {
                            waker.wake();
                        }
                        continue;
                    }
                    Some((_, task)) => {
                        let (limit, task) = (self.time_max, format!("\"{task}\""));
                        return Err(SimulationError::TooLong { seed, limit, task });
                    }
                    None => return Err(SimulationError::Deadlock { seed, tasks: world.names(|_, _| true) }),
                }
            };
            match task {
                Some(task) => task.step(world),
                None if number == MAIN => {
                    let _inside = Inside::of(Cow::Borrowed("main"));
                    // Not within a tokio task's budget, should there be one around.
                    let polled =
                        pin!(tokio::task::unconstrained(main.as_mut())).poll(&mut Context::from_waker(&main_waker));
                    if let Poll::Ready(output) = polled {
                        return Ok(output);
                    }
                }
                None => {}
            }
        }
    }
}

impl World {
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn timers(&self) -> &Arc<Timers> {
        &self.timers
    }

    pub(crate) fn random_u64(&self) -> u64 {
        let mut state = self.state.lock();
        let draw = state.draws.next();
        state.fold(draw);
        draw
    }

    pub(crate) fn next_number(&self) -> u64 {
        let mut state = self.state.lock();
        let number = state.next_number;
        state.next_number += 1;
        number
    }

    pub(crate) fn spawn(
        self: &Arc<World>,
        name: Cow<'static, str>,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> Arc<SimTask> {
        let future: BoxFuture = Box::pin(future);
        let mut state = self.state.lock();
        let number = state.next_task;
        state.next_task += 1;
        let task = Arc::new(SimTask {
            name,
            number,
            world: Arc::downgrade(self),
            future: Mutex::new(None),
            aborted: Mutex::new(false),
            end: End::default(),
        });
        if state.ended {
            drop(state);
            task.end.set(false);
            return task;
        }
        *task.future.lock() = Some(future);
        state.tasks.insert(number, task.clone());
        state.ready.insert(number);
        task
    }

    /// Runs `job` in a turn of its own, which the seed decides; it runs even if nobody waits any more.
    pub(crate) async fn blocking<T, F>(self: &Arc<World>, job: F) -> T
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.spawn(Cow::Borrowed("blocking job"), async move {
            let _ = sender.send(job());
        });
        match receiver.await {
            Ok(result) => result,
            // The simulation is over and drops this future too.
            Err(_) => std::future::pending().await,
        }
    }

    fn wake(&self, number: u64) {
        let mut state = self.state.lock();
        if number == MAIN || state.tasks.contains_key(&number) {
            state.ready.insert(number);
        }
    }

    /// Takes one of the ready tasks, which the seed chooses. The main future has no `SimTask`.
    fn choose(&self) -> Option<(u64, Option<Arc<SimTask>>)> {
        let mut state = self.state.lock();
        let count = state.ready.len() as u64;
        if count == 0 {
            return None;
        }
        // The same chance for each, but for one part in 2^64 times the count.
        let at = if count == 1 { 0 } else { state.schedule.next() % count };
        let number = *state.ready.iter().nth(at as usize).expect("the place is within the count");
        state.ready.remove(&number);
        state.steps += 1;
        let now = self.timers.now().as_nanos() as u64;
        state.fold(number);
        state.fold(now);
        Some((number, state.tasks.get(&number).cloned()))
    }

    fn names(&self, include: impl Fn(&State, u64) -> bool) -> String {
        let state = self.state.lock();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for task in state.tasks.values().filter(|task| include(&state, task.number)) {
            *counts.entry(&task.name).or_default() += 1;
        }
        if counts.is_empty() {
            return "the main future".to_owned();
        }
        let names: Vec<String> = counts.iter().map(|(name, count)| format!("{count} × \"{name}\"")).collect();
        names.join(", ")
    }

    /// Drops all tasks, in their order, until their drops start no more.
    fn clear(&self) {
        loop {
            let tasks = {
                let mut state = self.state.lock();
                state.ended = true;
                state.ready.clear();
                std::mem::take(&mut state.tasks)
            };
            if tasks.is_empty() {
                return;
            }
            for task in tasks.values() {
                task.drop_future(false);
            }
        }
    }
}

impl State {
    fn fold(&mut self, value: u64) {
        self.fingerprint = Seeded::new(self.fingerprint ^ value).next();
    }
}

type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A task of a simulation.
pub(crate) struct SimTask {
    name: Cow<'static, str>,
    number: u64,
    world: Weak<World>,
    /// `None` while it runs and after its end.
    future: Mutex<Option<BoxFuture>>,
    aborted: Mutex<bool>,
    end: End,
}

impl SimTask {
    fn step(&self, world: &Arc<World>) {
        let _inside = Inside::of(self.name.clone());
        if *self.aborted.lock() {
            world.state.lock().tasks.remove(&self.number);
            return self.drop_future(false);
        }
        let Some(mut future) = self.future.lock().take() else { return };
        let waker = Waker::from(Arc::new(ReadyWaker { world: self.world.clone(), number: self.number }));
        let polled = pin!(tokio::task::unconstrained(future.as_mut())).poll(&mut Context::from_waker(&waker));
        *self.future.lock() = Some(future);
        if polled.is_ready() {
            world.state.lock().tasks.remove(&self.number);
            self.drop_future(true);
        }
    }

    /// Drops the future, then tells who waits for the end.
    fn drop_future(&self, returned: bool) {
        let future = self.future.lock().take();
        drop(future);
        self.end.set(returned);
    }
}

impl Watched for SimTask {
    fn abort(self: Arc<Self>) {
        *self.aborted.lock() = true;
        if let Some(world) = self.world.upgrade() {
            world.wake(self.number);
        }
    }

    fn end(&self) -> &End {
        &self.end
    }
}

struct ReadyWaker {
    world: Weak<World>,
    number: u64,
}

impl Wake for ReadyWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(world) = self.world.upgrade() {
            world.wake(self.number);
        }
    }
}
