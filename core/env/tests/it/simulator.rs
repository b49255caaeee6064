//! The simulator. Goal: a seed decides the course of events, and different seeds give different ones. Method: a scenario of
//! tasks that race in every way there is, repeated, and compared by what its tasks saw.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ottla_env::{Env, SimulationError, Simulator};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, mpsc, watch};

/// What happened, in its order.
type Trace = Vec<(i64, String)>;

fn race(seed: u64) -> (Trace, u64) {
    let simulator = Simulator::new(seed);
    let env = simulator.env();
    let trace: Arc<Mutex<Trace>> = Arc::default();
    let tell = {
        let (trace, env) = (trace.clone(), env.clone());
        move |what: String| trace.lock().push((env.now_ms(), what))
    };
    let main_env = env.clone();
    let main = async move {
        let (sender, mut receiver) = mpsc::channel(3);
        let (stop, stopped) = watch::channel(false);
        let seats = Arc::new(Semaphore::new(2));
        let mut tasks = Vec::new();
        for number in 0..8 {
            let (env, sender, seats, tell) = (main_env.clone(), sender.clone(), seats.clone(), tell.clone());
            let mut stopped = stopped.clone();
            tasks.push(main_env.spawn(format!("task {number}"), async move {
                for round in 0..5 {
                    let seat = seats.acquire().await.unwrap();
                    // Several are due at the same moment.
                    env.sleep(Duration::from_millis(env.random_u64() % 3)).await;
                    let drawn = env.clone();
                    let job = env.blocking(move || drawn.random_u64() % 100).await;
                    drop(seat);
                    sender.send((number, round, job)).await.unwrap();
                }
                let _ = stopped.wait_for(|stop| *stop).await;
                tell(format!("{number} stops"));
            }));
        }
        for _ in 0..40 {
            let (number, round, job) = receiver.recv().await.unwrap();
            tell(format!("{number}.{round} drew {job}"));
        }
        let _ = stop.send(true);
        for task in tasks {
            assert!(task.join().await);
        }
        assert!(receiver.is_empty());
    };
    simulator.run(main).unwrap();
    let trace = trace.lock().clone();
    assert_eq!(trace.len(), 48);
    (trace, simulator.fingerprint())
}

#[test]
fn a_seed_decides_and_seeds_differ() {
    let mut courses = BTreeSet::new();
    let mut prints = BTreeSet::new();
    for seed in 0..20 {
        let (trace, print) = race(seed);
        for _ in 0..20 {
            assert_eq!((&trace, print), (&race(seed).0, race(seed).1), "seed {seed}");
        }
        courses.insert(trace);
        prints.insert(print);
    }
    assert_eq!((courses.len(), prints.len()), (20, 20));
}

#[test]
fn runs_side_by_side_do_not_disturb_each_other() {
    let alone: Vec<_> = (0..4).map(race).collect();
    let threads: Vec<_> = (0..4).map(|seed| std::thread::spawn(move || race(seed))).collect();
    let beside: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(alone, beside);
}

#[test]
fn a_fingerprint_is_the_same_on_every_computer() {
    let simulator = Simulator::new(42);
    let env = simulator.env();
    simulator
        .run(async {
            let wait = env.clone();
            env.spawn("waits", async move { wait.sleep(Duration::from_secs(60)).await }).join().await;
        })
        .unwrap();
    assert_eq!(env.seed(), Some(42));
    assert_eq!((simulator.steps(), simulator.fingerprint()), (4, 16_914_870_246_647_886_480));
}

#[test]
fn what_cannot_end_says_so() {
    let simulator = Simulator::new(1);
    let env = simulator.env();
    let waits = async {
        env.spawn("waits for nobody", std::future::pending::<()>());
        Notify::new().notified().await
    };
    let error = simulator.run(waits).unwrap_err().to_string();
    assert!(error.contains("seed 1") && error.contains("1 × \"waits for nobody\""), "{error}");

    let simulator = Simulator::new(2).time_max(Duration::from_secs(3600));
    let env = simulator.env();
    let ticks = async {
        let ticking = env.clone();
        env.spawn("ticks", async move {
            loop {
                ticking.sleep(Duration::from_secs(60)).await;
            }
        });
        std::future::pending::<()>().await
    };
    let error = simulator.run(ticks).unwrap_err();
    let expected = SimulationError::TooLong { seed: 2, limit: Duration::from_secs(3600), task: "\"ticks\"".to_owned() };
    assert_eq!(error, expected);

    let simulator = Simulator::new(3).steps_max(1_000);
    let env = simulator.env();
    let spins = async {
        env.spawn("spins", async {
            loop {
                tokio::task::yield_now().await;
            }
        });
        std::future::pending::<()>().await
    };
    let error = simulator.run(spins).unwrap_err().to_string();
    assert!(error.contains("1000 steps") && error.contains("\"spins\""), "{error}");
}

#[tokio::test]
async fn inside_tokio_it_refuses() {
    assert_eq!(Simulator::new(9).run(async {}), Err(SimulationError::InsideTokio { seed: 9 }));
}

#[test]
fn a_panic_anywhere_ends_the_run() {
    let simulator = Simulator::new(5);
    let env = simulator.env();
    let panics = async {
        env.spawn("panics", async { panic!("on purpose") });
        std::future::pending::<()>().await
    };
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| simulator.run(panics)));
    assert_eq!(result.unwrap_err().downcast_ref::<&str>(), Some(&"on purpose"));
}

#[test]
fn tasks_are_dropped_with_the_run_and_can_be_ended_before() {
    struct Spawns(Env, Arc<Mutex<u32>>);
    impl Drop for Spawns {
        fn drop(&mut self) {
            *self.1.lock() += 1;
            let env = self.0.clone();
            // What is started now is dropped as well.
            drop(self.0.spawn("late", async move { env.sleep(Duration::from_secs(1)).await }));
        }
    }
    let simulator = Simulator::new(8);
    let env = simulator.env();
    let dropped = Arc::new(Mutex::new(0));
    simulator
        .run(async {
            let guards = [Spawns(env.clone(), dropped.clone()), Spawns(env.clone(), dropped.clone())];
            let [one, two] = guards.map(|guard| {
                env.spawn("holds", async move {
                    let _guard = guard;
                    std::future::pending::<()>().await
                })
            });
            one.abort();
            assert!(!one.join().await);
            assert_eq!(*dropped.lock(), 1);
            assert!(!two.is_finished());
        })
        .unwrap();
    assert_eq!(*dropped.lock(), 2);
    assert!(!futures_left(&env));
}

/// Whether the world still starts tasks.
fn futures_left(env: &Env) -> bool {
    !env.spawn("after the end", async {}).is_finished()
}
