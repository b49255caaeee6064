//! Clock, tasks and the blocking pool of the real environment.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ottla_env::{DEFAULT_BLOCKING_THREADS_MAX, Elapsed, Env, OpenMode};

#[tokio::test]
async fn time_passes() {
    let env = Env::real();
    let (wall, steady) = (env.now_ms(), env.monotonic());
    env.sleep(Duration::from_millis(20)).await;
    assert!(env.monotonic() - steady >= Duration::from_millis(20));
    assert!(env.now_ms() >= wall && wall > 1_700_000_000_000);
    assert_eq!(env.timeout(Duration::from_millis(5), std::future::pending::<()>()).await, Err(Elapsed));
    assert_eq!(env.timeout(Duration::ZERO, async { 7 }).await, Ok(7));
}

#[tokio::test]
async fn ids_are_kafkas_and_differ() {
    let env = Env::real();
    let ids: std::collections::BTreeSet<_> = (0..1000).map(|_| env.random_uuid()).collect();
    assert_eq!(ids.len(), 1000);
    assert!(ids.iter().all(|id| !id.to_string().starts_with('-')));
}

#[tokio::test]
async fn tasks_go_on_alone_and_can_be_ended() {
    let env = Env::memory();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    drop(env.spawn("sends", async move { sender.send(5).unwrap() }));
    assert_eq!(receiver.await, Ok(5));
    let task = env.spawn("waits", std::future::pending::<()>());
    assert!(!task.is_finished());
    assert_eq!(format!("{task:?}"), "Task { name: \"waits\", finished: false }");
    task.abort();
    assert!(!task.join().await);
    assert!(env.spawn("ends", async {}).join().await);
}

#[test]
fn a_given_runtime_is_used_from_anywhere() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let env = Env::real_on(runtime.handle().clone());
    let task = env.spawn("from outside", async {});
    assert!(runtime.block_on(task.join()));
}

#[tokio::test(flavor = "multi_thread")]
async fn blocking_jobs_are_bounded() {
    let env = Env::real();
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let jobs: Vec<_> = (0..3 * DEFAULT_BLOCKING_THREADS_MAX)
        .map(|i| {
            let (env, running, most) = (env.clone(), running.clone(), most.clone());
            tokio::spawn(async move {
                let job = move || {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(10));
                    running.fetch_sub(1, Ordering::SeqCst);
                    i
                };
                env.blocking(job).await
            })
        })
        .collect();
    for (i, job) in jobs.into_iter().enumerate() {
        assert_eq!(job.await.unwrap(), i);
    }
    assert_eq!(most.load(Ordering::SeqCst), DEFAULT_BLOCKING_THREADS_MAX);
}

#[tokio::test]
async fn a_panic_in_a_blocking_job_reaches_the_caller() {
    let env = Env::real();
    let caller = env.spawn("panics", {
        let env = env.clone();
        async move { env.blocking(|| panic!("on purpose")).await }
    });
    assert!(!caller.join().await);
    assert_eq!(env.blocking(|| 1).await, 1);
}

#[test]
fn clones_share_the_files_in_memory() {
    let env = Env::memory();
    env.clone().fs().open("/log".as_ref(), OpenMode::Create).unwrap();
    assert!(env.fs().exists("/log".as_ref()));
    assert!(!Env::memory().fs().exists("/log".as_ref()));
}
