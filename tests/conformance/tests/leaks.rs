//! A thousand brokers with clients in one process leave nothing behind: no task, thread or file, and bounded memory.
//!
//! A program of its own, as it counts what the whole process has.

use ottla::client::{Admin, Client, ClientOptions, Consumer, Env, Producer, ProducerRecord};
use std::time::Duration;

/// Until the allocator and the runtime have what they keep.
const WARM: usize = 200;
const BROKERS: usize = 1000;
const AT_ONCE: usize = 4;
const PATIENCE: Duration = Duration::from_secs(60);

/// What the process has at a time.
#[derive(Debug, Clone, Copy)]
struct Holdings {
    tasks: usize,
    threads: usize,
    files: usize,
    resident_mib: usize,
}

impl Holdings {
    #[allow(clippy::disallowed_methods)] // Of this process, not of a broker.
    fn now() -> Holdings {
        let count = |path: &str| std::fs::read_dir(path).expect("Linux has it").count();
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
        let kib: usize = resident.trim().trim_end_matches(" kB").parse().expect("a number");
        Holdings {
            tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
            threads: count("/proc/self/task"),
            files: count("/proc/self/fd"),
            resident_mib: kib / 1024,
        }
    }

    /// Waits until there are no more tasks and files than `before`: connections that were closed end in the background.
    async fn settled(env: &Env, before: Holdings) -> Holdings {
        let end = env.monotonic() + PATIENCE;
        loop {
            let now = Holdings::now();
            if now.tasks <= before.tasks && now.files <= before.files || env.monotonic() > end {
                return now;
            }
            env.sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A broker, a record by a producer, read by a member of a group, a topic by an admin client; every fourth over TCP.
async fn one(env: Env, number: usize) {
    let builder = ottla::Broker::builder();
    let builder = if number.is_multiple_of(4) { builder.listener("PLAINTEXT://127.0.0.1:0") } else { builder };
    let broker = builder.start().await.expect("starts");
    let address = broker.bootstrap_servers();
    let producer = Producer::from_configs(env.clone(), [("bootstrap.servers", &*address)]).expect("configs fit");
    let record = ProducerRecord::new("t", Some(b"k"), Some(b"v"));
    producer.send(record).await.expect("taken").wait().await.expect("written");
    let configs = [("bootstrap.servers", &*address), ("group.id", "g"), ("auto.offset.reset", "earliest")];
    let consumer = Consumer::from_configs(env.clone(), configs).expect("configs fit");
    consumer.subscribe(["t"]).expect("has a group");
    let end = env.monotonic() + PATIENCE;
    while consumer.poll(Duration::from_secs(1)).await.expect("answers").is_empty() {
        assert!(env.monotonic() < end, "the record does not come");
    }
    let client = Client::new(env, ClientOptions::new(&address)).expect("an address");
    let admin: Admin = client.admin();
    assert_eq!(admin.list_groups(&Default::default()).await.expect("answers").groups.len(), 1);
    match number % 3 {
        // All in order; only the broker; only the clients, after the broker is gone.
        0 => {
            consumer.close(PATIENCE).await.expect("leaves");
            producer.close(PATIENCE).await.expect("has nothing left");
            client.close();
            broker.close().await.expect("closes");
        }
        1 => {
            drop((consumer, producer, admin, client));
            broker.close().await.expect("closes");
        }
        _ => {
            broker.close().await.expect("closes");
            drop((consumer, producer, admin, client));
        }
    }
}

async fn many(env: &Env, count: usize) {
    let mut running = tokio::task::JoinSet::new();
    for number in 0..count {
        if running.len() == AT_ONCE {
            running.join_next().await.expect("there is one").expect("does not panic");
        }
        running.spawn(one(env.clone(), number));
    }
    while let Some(ended) = running.join_next().await {
        ended.expect("does not panic");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_brokers_with_clients_leave_nothing() {
    let env = Env::real();
    let begin = Holdings::now();
    many(&env, WARM).await;
    let warm = Holdings::settled(&env, begin).await;
    many(&env, BROKERS - WARM).await;
    let end = Holdings::settled(&env, begin).await;
    assert!(end.tasks <= begin.tasks, "tasks are left: {begin:?}, {warm:?}, {end:?}");
    assert!(end.files <= begin.files, "files or sockets are left: {begin:?}, {warm:?}, {end:?}");
    // The blocking pool keeps idle threads for a while, but no more than it had.
    assert!(end.threads <= warm.threads + 4, "threads are left: {begin:?}, {warm:?}, {end:?}");
    assert!(end.resident_mib <= warm.resident_mib + 32, "memory is left: {begin:?}, {warm:?}, {end:?}");
}
