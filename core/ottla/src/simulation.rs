//! Brokers, clients and a test's own code in a world that a seed decides. The scheduler is `Simulator` in ottla-env.

use crate::{Broker, BrokerBuilder};
use ottla_client::{Client, ClientOptions};
use ottla_env::{Env, SimulationError, Simulator};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// A run of brokers, in-process clients and a test's own code, whose course a seed decides.
///
/// All of it runs on the calling thread. The seed decides who of the ready tasks runs next, when blocking jobs run, and every
/// random draw; time jumps to the next timer whenever nothing is ready. The same seed and program give the same run, to the
/// byte; another seed gives another interleaving. So a test over many seeds finds what depends on timing, and a seed that
/// fails fails again, as often as needed.
///
/// Inside there is no network and no disk: brokers are in memory and clients dial in process. Only what goes through
/// [`Sim::env`] takes part; `tokio::sync` and `tokio::select!` with `biased` may be used, tokio's tasks and timers not.
///
/// ```
/// use ottla::Simulation;
/// use std::time::Duration;
///
/// let simulation = Simulation::new(42).run(async |sim| {
///     let broker = sim.broker().start().await?;
///     let client = sim.client(&broker)?;
///     client.ready(Duration::from_secs(10)).await?;
///     // A day is over at once.
///     sim.sleep(Duration::from_secs(24 * 60 * 60)).await;
///     broker.close().await?;
///     Ok(())
/// });
/// simulation?;
/// # Ok::<(), ottla::SimulationFailure>(())
/// ```
#[derive(Debug)]
pub struct Simulation(Simulator);

/// Why a simulation did not succeed. Its text names the seed that replays it.
#[derive(Debug)]
#[non_exhaustive]
pub enum SimulationFailure {
    /// It did not come to an end.
    Stuck(SimulationError),
    /// The scenario returned an error.
    Scenario {
        /// Replays the run.
        seed: u64,
        /// What it returned.
        error: Box<dyn std::error::Error>,
    },
}

impl fmt::Display for SimulationFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SimulationFailure::Stuck(error) => write!(f, "{error}"),
            SimulationFailure::Scenario { seed, error } => write!(f, "seed {seed}: {error}"),
        }
    }
}

impl std::error::Error for SimulationFailure {}

impl Simulation {
    /// A simulation that `seed` decides.
    pub fn new(seed: u64) -> Simulation {
        Simulation(Simulator::new(seed))
    }

    /// Bounds the virtual time of the run, 30 days by default. A broker's own timers go on for ever, so this is what ends a
    /// scenario that waits for something that never comes.
    #[must_use]
    pub fn time_max(self, time: Duration) -> Simulation {
        Simulation(self.0.time_max(time))
    }

    /// Bounds how often tasks are polled, a hundred million times by default.
    #[must_use]
    pub fn steps_max(self, steps: u64) -> Simulation {
        Simulation(self.0.steps_max(steps))
    }

    /// Runs `scenario` to its end on this thread; what it leaves behind is dropped.
    ///
    /// # Errors
    /// The scenario's own error, or why it could not end.
    ///
    /// # Panics
    /// When the scenario or any task in it panics; the seed is written to standard error before.
    pub fn run<T>(
        self,
        scenario: impl AsyncFnOnce(Sim) -> Result<T, Box<dyn std::error::Error>>,
    ) -> Result<T, SimulationFailure> {
        let seed = self.0.seed();
        let simulator = Rc::new(self.0);
        let sim = Sim { env: simulator.env(), simulator: simulator.clone() };
        match simulator.run(scenario(sim)) {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(error)) => Err(SimulationFailure::Scenario { seed, error }),
            Err(error) => Err(SimulationFailure::Stuck(error)),
        }
    }

    /// Runs `scenario` once for each of `seeds` and stops at the first failure.
    ///
    /// ```
    /// # use ottla::Simulation;
    /// # use std::time::Duration;
    /// Simulation::each(0..5, async |sim| {
    ///     sim.sleep(Duration::from_millis(sim.env().random_u64() % 100)).await;
    ///     Ok(())
    /// })?;
    /// # Ok::<(), ottla::SimulationFailure>(())
    /// ```
    ///
    /// # Errors
    /// As [`Simulation::run`]; the text names the seed.
    pub fn each(
        seeds: impl IntoIterator<Item = u64>,
        scenario: impl AsyncFn(Sim) -> Result<(), Box<dyn std::error::Error>>,
    ) -> Result<(), SimulationFailure> {
        seeds.into_iter().try_for_each(|seed| Simulation::new(seed).run(&scenario))
    }
}

/// The inside of a running [`Simulation`].
#[derive(Debug, Clone)]
pub struct Sim {
    env: Env,
    simulator: Rc<Simulator>,
}

impl Sim {
    /// The seed.
    pub fn seed(&self) -> u64 {
        self.simulator.seed()
    }

    /// Clock, randomness and tasks of the simulation, for clients and for a test's own tasks.
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// A further environment of this simulation, with files of its own: for a broker that is to be restarted
    /// ([`BrokerBuilder::env`]), or whose files are looked at.
    pub fn machine(&self) -> Env {
        self.simulator.env()
    }

    /// A broker to start in this simulation, on a new machine.
    pub fn broker(&self) -> BrokerBuilder {
        Broker::builder().env(self.machine())
    }

    /// A client of `broker` with the default options.
    ///
    /// # Errors
    /// None for a broker of this simulation.
    pub fn client(&self, broker: &Broker) -> Result<Client, ottla_client::Error> {
        Client::new(self.env.clone(), ClientOptions::new(&broker.bootstrap_servers()))
    }

    /// Waits; nothing else being ready, time jumps.
    pub async fn sleep(&self, duration: Duration) {
        self.env.sleep(duration).await;
    }

    /// A number for all that has happened so far: who ran when and what was drawn. Equal in two runs that went the same way.
    pub fn fingerprint(&self) -> u64 {
        self.simulator.fingerprint()
    }
}
