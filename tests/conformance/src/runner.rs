//! Plays scenarios on targets. Everything that was planned is reported as `ok` or `FAIL`; a scenario that runs nowhere is a
//! failure too.

use crate::capability::{self, Capability};
use crate::context::{Context, Outcome, Wrong};
use crate::driver::{self, Driver};
use crate::faults;
use crate::scenarios::Scenario;
use crate::targets::Target;
use ottla::env::Env;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};

/// How long one scenario may take.
const LIMIT: Duration = Duration::from_secs(90);
/// Scenarios that run at once on one target: most of them wait.
const AT_ONCE: usize = 8;

/// A target with the driver that is used on it.
pub struct Place {
    /// Where.
    pub target: Arc<Target>,
    /// With which client.
    pub driver: Arc<dyn Driver>,
    /// How the report calls the two.
    pub name: String,
    /// What scenarios may need here: what both have.
    pub capabilities: BTreeSet<Capability>,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Place {
    /// Asks the driver what it can.
    pub async fn new(target: Arc<Target>, driver: Arc<dyn Driver>) -> Result<Place, String> {
        let hello = driver::hello(&*driver).await.map_err(|failure| failure.to_string())?;
        let capabilities = hello.capabilities.iter().filter(|it| target.capabilities.contains(it)).copied().collect();
        let name = format!("{}-{}", target.name, hello.language);
        Ok(Place { target, driver, name, capabilities })
    }

    /// Whether `scenario` can run here.
    pub fn has(&self, scenario: &Scenario) -> bool {
        self.capabilities.contains(&Capability::Core) && scenario.needs.iter().all(|it| self.capabilities.contains(it))
    }
}

/// Counts of a run.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    /// Ended as they should.
    pub passed: usize,
    /// Did not, or did not run.
    pub failed: usize,
}

/// Something to play: a scenario, perhaps under faults.
#[derive(Clone, Copy)]
struct Planned {
    scenario: Scenario,
    seed: Option<u64>,
}

impl Planned {
    fn name(&self, place: &Place) -> String {
        match self.seed {
            Some(seed) => format!("{}/seed-{seed}/{}", place.name, self.scenario.name),
            None => format!("{}/{}", place.name, self.scenario.name),
        }
    }
}

/// All that is to be played at a place: each scenario, and where faults can be injected again for each seed.
fn plan(place: &Place, scenarios: &[Scenario], seeds: &[u64]) -> Vec<Planned> {
    let here = || scenarios.iter().filter(|scenario| place.has(scenario)).copied();
    let mut all: Vec<Planned> = here().map(|scenario| Planned { scenario, seed: None }).collect();
    if place.capabilities.contains(&Capability::Faults) {
        for seed in seeds {
            let ride = here().filter(|scenario| scenario.rides_out_faults);
            all.extend(ride.map(|scenario| Planned { scenario, seed: Some(*seed) }));
        }
    }
    all
}

/// Plays `scenarios` on `places`, one place after the other, and prints one line for each.
pub async fn play(env: &Env, places: &[Place], scenarios: &[Scenario], seeds: &[u64]) -> Tally {
    let mut tally = Tally::default();
    let run = format!("c{:07x}", env.random_u64() & 0xfff_ffff);
    for place in places {
        let planned = plan(place, scenarios, seeds);
        planned.iter().for_each(|planned| println!("plan {}", planned.name(place)));
        let (results_in, mut results) = mpsc::unbounded_channel();
        let seats = Arc::new(Semaphore::new(AT_ONCE));
        for (number, planned) in planned.iter().copied().enumerate() {
            let (env, results_in, seats) = (env.clone(), results_in.clone(), seats.clone());
            let (target, driver, name) = (place.target.clone(), place.driver.clone(), planned.name(place));
            let prefix = format!("{run}-{}-{number}-{}", place.name, planned.scenario.name.replace('/', "."));
            env.clone().spawn("conformance scenario", async move {
                let Ok(_seat) = seats.acquire().await else { return };
                let start = env.monotonic();
                let outcome = one(&env, &target, driver, &planned, prefix).await;
                results_in.send((name, outcome, env.monotonic() - start)).ok();
            });
        }
        drop(results_in);
        let mut missing: BTreeSet<String> = planned.iter().map(|planned| planned.name(place)).collect();
        while let Some((name, outcome, took)) = results.recv().await {
            missing.remove(&name);
            report(&mut tally, &name, outcome, took);
        }
        for name in missing {
            report(&mut tally, &name, Err(Wrong("it panicked or was not run".to_owned())), Duration::ZERO);
        }
    }
    for scenario in scenarios.iter().filter(|scenario| !places.iter().any(|place| place.has(scenario))) {
        let outcome = Err(Wrong(format!("runs nowhere: no target and driver have {:?}", scenario.needs)));
        report(&mut tally, scenario.name, outcome, Duration::ZERO);
    }
    tally
}

fn report(tally: &mut Tally, name: &str, outcome: Outcome, took: Duration) {
    match outcome {
        Ok(()) => {
            tally.passed += 1;
            println!("ok {name} ({} ms)", took.as_millis());
        }
        Err(wrong) => {
            tally.failed += 1;
            println!("FAIL {name} {}", wrong.0.replace('\n', " "));
        }
    }
}

async fn one(env: &Env, target: &Target, driver: Arc<dyn Driver>, planned: &Planned, prefix: String) -> Outcome {
    let scenario = &planned.scenario;
    let broker = target.open(env, scenario.needs.contains(&Capability::Restart)).await?;
    let configs: &[_] = if planned.seed.is_some() { &faults::CONFIGS } else { &[] };
    if let Some(seed) = planned.seed {
        broker.inject(seed, scenario.name)?;
    }
    let context = Context::new(env, driver, broker, prefix, configs);
    let played = env.timeout(LIMIT, (scenario.play)(context.clone())).await;
    let outcome = played.unwrap_or_else(|_| Err(Wrong(format!("it did not end within {} s", LIMIT.as_secs()))));
    let closed = context.broker().close().await;
    outcome.and(closed.map_err(Wrong))
}

/// The table of which target has what, for people.
pub fn table(places: &[Place]) -> String {
    let mut text = format!("{:<20}", "capability");
    for place in places {
        text += &format!(" {:<16}", place.name);
    }
    for capability in capability::ALL {
        text += &format!("\n{:<20}", capability.to_string());
        for place in places {
            let word = match (place.capabilities.contains(capability), place.target.capabilities.contains(capability)) {
                (true, _) => "yes",
                (false, true) => "not the driver",
                (false, false) => "-",
            };
            text += &format!(" {word:<16}");
        }
    }
    text
}
