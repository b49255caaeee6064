//! The virtual clock. Goal: timers fire in the order of their deadlines, none early, and `advance` returns when everything is
//! at rest. Method: tasks that write down when they ran; no test sleeps, so a clock that waits for nothing would be seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ottla_env::{ClockError, Elapsed, Env, Fs, VirtualClock};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

type Log = Arc<Mutex<Vec<(u64, String)>>>;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn note(log: &Log, env: &Env, what: impl Into<String>) {
    log.lock().push((env.monotonic().as_millis() as u64, what.into()));
}

/// A task that notes `name` every `every` milliseconds.
fn tick(env: &Env, log: &Log, name: &'static str, every: u64) {
    let (task_env, log) = (env.clone(), log.clone());
    env.spawn(name, async move {
        loop {
            task_env.sleep(ms(every)).await;
            note(&log, &task_env, name);
        }
    });
}

#[tokio::test]
async fn timers_fire_in_the_order_of_their_deadlines_over_all_environments() {
    let clock = VirtualClock::new();
    let (one, two) = (clock.env(), clock.env());
    let log = Log::default();
    tick(&one, &log, "a", 30);
    tick(&two, &log, "b", 20);
    clock.advance(ms(65)).await.unwrap();
    let expected = [(20, "b"), (30, "a"), (40, "b"), (60, "a"), (60, "b")].map(|(at, name)| (at, name.to_owned()));
    assert_eq!(*log.lock(), expected);
    assert_eq!(clock.elapsed(), ms(65));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_returns_after_everything_that_a_timer_set_off() {
    let clock = VirtualClock::new();
    let env = clock.env();
    let done = Arc::new(AtomicUsize::new(0));
    // A hundred tasks that hand a token on, the first one set off by a timer; each hop is more than one wake-up away.
    let mut next: Option<mpsc::Sender<()>> = None;
    for _ in 0..100 {
        let (sender, mut receiver) = mpsc::channel(1);
        let (next_one, done, task_env) = (next.replace(sender), done.clone(), env.clone());
        env.spawn("hop", async move {
            while receiver.recv().await.is_some() {
                task_env.blocking(|| ()).await;
                done.fetch_add(1, Ordering::SeqCst);
                if let Some(next) = &next_one {
                    next.send(()).await.unwrap();
                }
            }
        });
    }
    let (task_env, first) = (env.clone(), next.unwrap());
    env.spawn("starts", async move {
        loop {
            task_env.sleep(ms(1)).await;
            first.send(()).await.unwrap();
        }
    });
    for round in 1..=50 {
        clock.advance(ms(1)).await.unwrap();
        assert_eq!(done.load(Ordering::SeqCst), round * 100);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_waits_for_blocking_jobs_on_the_pool() {
    let clock = VirtualClock::new();
    let env = clock.env().with_fs(Fs::real());
    let done = Arc::new(AtomicUsize::new(0));
    for _ in 0..100 {
        let (task_env, done) = (env.clone(), done.clone());
        env.spawn("works", async move {
            task_env.sleep(ms(5)).await;
            for _ in 0..3 {
                let done = done.clone();
                task_env.blocking(move || std::thread::sleep(Duration::from_micros(50))).await;
                done.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    clock.advance(ms(5)).await.unwrap();
    assert_eq!(done.load(Ordering::SeqCst), 300);
    let panics = env.clone();
    assert!(!env.spawn("panics", async move { panics.blocking(|| panic!("on purpose")).await }).join().await);
    assert_eq!(env.blocking(|| 7).await, 7);
    clock.settle().await.unwrap();
}

#[tokio::test]
async fn a_timer_set_meanwhile_fires_in_its_turn() {
    let clock = VirtualClock::new();
    let env = clock.env();
    let log = Log::default();
    tick(&env, &log, "tick", 50);
    let (task_env, task_log) = (env.clone(), log.clone());
    env.spawn("chain", async move {
        for step in 0..4 {
            task_env.sleep(ms(15)).await;
            note(&task_log, &task_env, format!("step {step}"));
        }
    });
    clock.advance(ms(100)).await.unwrap();
    let times: Vec<u64> = log.lock().iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [15, 30, 45, 50, 60, 100]);
}

#[tokio::test]
async fn a_time_limit_ends_at_its_time_and_not_before() {
    let clock = VirtualClock::new();
    let env = clock.env();
    let limited = env.clone();
    let task = env.spawn("limited", async move {
        assert_eq!(limited.timeout(ms(500), std::future::pending::<()>()).await, Err(Elapsed));
        assert_eq!(limited.timeout(Duration::ZERO, async { 7 }).await, Ok(7));
        assert_eq!(limited.timeout(Duration::MAX, limited.sleep(ms(1))).await, Ok(()));
        assert_eq!(limited.timeout(Duration::ZERO, std::future::pending::<()>()).await, Err(Elapsed));
    });
    clock.advance(ms(499)).await.unwrap();
    assert!(!task.is_finished());
    clock.advance(ms(2)).await.unwrap();
    assert!(task.join().await);
    assert_eq!(clock.next_timer(), None);
}

#[tokio::test]
async fn the_tests_own_futures_may_wait_beside_the_clock() {
    let clock = VirtualClock::new();
    let env = clock.env();
    let own = async {
        for _ in 0..10 {
            env.sleep(ms(7)).await;
        }
        env.monotonic()
    };
    let (at, moved) = tokio::join!(own, clock.advance(ms(100)));
    moved.unwrap();
    assert_eq!(at, ms(70));
    assert_eq!(clock.run(ms(1000), env.sleep(ms(400))).await, Ok(()));
    assert_eq!(clock.elapsed(), ms(500));
    assert_eq!(clock.run(ms(100), std::future::pending::<()>()).await, Err(ClockError::Late { limit: ms(100) }));
    assert_eq!(clock.elapsed(), ms(600));
}

#[tokio::test]
async fn a_task_of_the_clock_may_move_it() {
    let clock = VirtualClock::new();
    let env = clock.env();
    let log = Log::default();
    tick(&env, &log, "tick", 10);
    let (mover, other) = (clock.clone(), clock.clone());
    let one = env.spawn("moves", async move { mover.advance(ms(25)).await.unwrap() });
    let two = env.spawn("moves too", async move { other.advance(ms(25)).await.unwrap() });
    assert!(one.join().await && two.join().await);
    assert_eq!(log.lock().len(), 5);
    assert_eq!(clock.elapsed(), ms(50));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aborted_task_has_gone_when_the_clock_rests() {
    struct Tells(mpsc::UnboundedSender<()>);
    impl Drop for Tells {
        fn drop(&mut self) {
            self.0.send(()).unwrap();
        }
    }
    let clock = VirtualClock::new();
    let env = clock.env();
    for _ in 0..100 {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let task = env.spawn("waits", async move {
            let _tells = Tells(sender);
            std::future::pending::<()>().await
        });
        let heard = env.spawn("hears", async move { receiver.recv().await.unwrap() });
        clock.settle().await.unwrap();
        assert!(!task.is_finished() && !heard.is_finished());
        task.abort();
        clock.settle().await.unwrap();
        assert!(task.is_finished() && heard.is_finished());
        assert!(!task.join().await && heard.join().await);
    }
    let task = env.spawn("panics", async { panic!("on purpose") });
    clock.settle().await.unwrap();
    assert!(!task.join().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokios_budget_does_not_end_a_rest_too_early() {
    let clock = VirtualClock::new();
    let env = clock.env();
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    env.spawn("reads", async move {
        while receiver.recv().await.is_some() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    for round in 1..=20 {
        (0..1000).for_each(|_| sender.send(()).unwrap());
        clock.settle().await.unwrap();
        assert_eq!(count.load(Ordering::SeqCst), round * 1000);
    }
}

#[tokio::test]
async fn tasks_that_never_rest_are_named() {
    let clock = VirtualClock::new();
    clock.set_polls_max(10_000);
    let env = clock.env();
    let (ping, pong) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    ping.notify_one();
    let (mine, theirs) = (ping.clone(), pong.clone());
    let one = env.spawn("ping", async move {
        loop {
            mine.notified().await;
            theirs.notify_one();
        }
    });
    let two = env.spawn("pong", async move {
        loop {
            pong.notified().await;
            ping.notify_one();
        }
    });
    let error = clock.advance(ms(1)).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("10000 polls") && text.contains("\"ping\"") && text.contains("\"pong\""), "{text}");
    one.abort();
    two.abort();
    clock.advance(ms(1)).await.unwrap();
}

#[tokio::test]
async fn a_jump_fires_what_was_due_once_and_late() {
    let clock = VirtualClock::new();
    let env = clock.env();
    let log = Log::default();
    tick(&env, &log, "a", 30);
    tick(&env, &log, "b", 20);
    clock.settle().await.unwrap();
    clock.jump(ms(100)).await.unwrap();
    assert_eq!(*log.lock(), [(100, "b".to_owned()), (100, "a".to_owned())]);
}

#[tokio::test]
async fn the_wall_clock_can_be_set_and_corrected() {
    let clock = VirtualClock::starting_at(1_000_000);
    let env = clock.env();
    assert_eq!(env.now_ms(), 1_000_000);
    clock.set(1_000_500).await.unwrap();
    assert_eq!((env.now_ms(), env.monotonic()), (1_000_500, ms(500)));
    let past = ClockError::Past { wanted_ms: 1_000_499, now_ms: 1_000_500 };
    assert_eq!(clock.set(1_000_499).await, Err(past));
    clock.step_wall(-500);
    assert_eq!((env.now_ms(), env.monotonic()), (1_000_000, ms(500)));
}

#[tokio::test]
async fn thousands_of_timers() {
    let clock = VirtualClock::new();
    let env = clock.env();
    let log = Log::default();
    for number in 0..5_000u64 {
        let (task_env, log) = (env.clone(), log.clone());
        // Set in an order that has nothing to do with the deadlines.
        let at = number * 7919 % 5_000 + 1;
        env.spawn("waits", async move {
            task_env.sleep(ms(at)).await;
            note(&log, &task_env, at.to_string());
        });
    }
    clock.advance(ms(5_000)).await.unwrap();
    let log = log.lock();
    assert!(log.iter().map(|(at, _)| *at).eq(1..=5_000));
    assert!(log.iter().all(|(at, name)| at.to_string() == *name));
}
