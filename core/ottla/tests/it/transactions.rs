//! Transactions where time passes, where the broker dies, and where there are two of it.
//!
//! Goal: an open transaction ends once and in one way, whatever comes between. What a producer can rely on otherwise is in
//! `client_transactions`.

use crate::support::{PATIENCE, create_topic};
use ottla::client::{
    Client, ClientOptions, ConsumerOptions, ErrorCode, IsolationLevel, Position, Producer, ProducerRecord,
    TopicPartition,
};
use ottla::{Broker, VirtualClock};
use std::time::Duration;

const ID: &str = "tx";

fn client(broker: &Broker) -> Client {
    Client::new(broker.env(), ClientOptions::new(&broker.bootstrap_servers())).expect("the address is well formed")
}

async fn producer(broker: &Broker) -> Producer {
    let bootstrap = broker.bootstrap_servers();
    let configs = [
        ("bootstrap.servers", bootstrap.as_str()),
        ("transactional.id", ID),
        ("transaction.timeout.ms", "60000"),
        ("retry.backoff.ms", "5"),
    ];
    let producer = Producer::from_configs(broker.env(), configs).expect("the configs fit together");
    producer.init_transactions().await.expect("the coordinator answers");
    producer
}

/// Opens a transaction and has one record of it acknowledged.
async fn open(producer: &Producer) {
    producer.begin_transaction().expect("none is open");
    let record = ProducerRecord::new("t", None, Some(b"v"));
    producer.send(record).await.expect("taken").wait().await.expect("acknowledged");
}

/// The end of the topic for those who read what is committed, and for those who read all.
async fn ends(client: &Client) -> [i64; 2] {
    let mut ends = [0; 2];
    for (end, isolation_level) in ends.iter_mut().zip([IsolationLevel::ReadCommitted, IsolationLevel::ReadUncommitted])
    {
        let consumer = client.consumer(ConsumerOptions { isolation_level, ..ConsumerOptions::default() });
        let asked = [(TopicPartition::new("t", 0), Position::Latest)];
        *end = consumer.offsets(&asked).await.expect("answers")[0];
    }
    ends
}

/// The records that are committed, read up to the last stable offset.
async fn committed(client: &Client) -> usize {
    let options = ConsumerOptions { isolation_level: IsolationLevel::ReadCommitted, ..ConsumerOptions::default() };
    let consumer = client.consumer(options);
    let partition = TopicPartition::new("t", 0);
    consumer.assign(&[(partition.clone(), Position::Earliest)]).await.expect("known");
    let [end, _] = ends(client).await;
    let mut count = 0;
    while consumer.position(&partition).await.expect("assigned") < end {
        for fetched in consumer.poll_batches(PATIENCE).await.expect("answers") {
            count += fetched.records().filter(|record| record.is_ok()).count();
        }
    }
    count
}

async fn state(client: &Client) -> String {
    let described = client.admin().describe_transactions(&[ID.to_owned()]).await;
    format!("{:?}", described[ID].as_ref().expect("it exists").state)
}

/// The producer has `transaction.timeout.ms`; the coordinator looks every ten seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_is_open_for_too_long_is_aborted() {
    let clock = VirtualClock::new();
    let broker = Broker::builder().virtual_clock(&clock).start().await.expect("starts");
    let client = client(&broker);
    create_topic(&client, "t", 1).await;
    let producer = producer(&broker).await;
    open(&producer).await;
    clock.advance(Duration::from_secs(60)).await.expect("comes to rest");
    assert_eq!((state(&client).await.as_str(), ends(&client).await), ("Ongoing", [0, 1]));
    clock.advance(Duration::from_secs(11)).await.expect("comes to rest");
    assert_eq!((state(&client).await.as_str(), ends(&client).await), ("CompleteAbort", [2, 2]));
    assert_eq!(committed(&client).await, 0);
    let error = producer.commit_transaction().await.expect_err("it is over");
    // As from Apache Kafka: the producer is not fenced, and may abort and go on.
    assert_eq!(error.code(), Some(ErrorCode::InvalidTxnState), "{error}");
    // The id is forgotten after a week without use.
    clock.advance(Duration::from_secs(8 * 24 * 3600)).await.expect("comes to rest");
    let described = client.admin().describe_transactions(&[ID.to_owned()]).await;
    assert!(described[ID].is_err(), "{described:?}");
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_transaction_survives_a_crash() {
    let broker = Broker::builder().listener("PLAINTEXT://127.0.0.1:0").start().await.expect("starts");
    create_topic(&client(&broker), "t", 1).await;
    let producer = producer(&broker).await;
    open(&producer).await;
    let broker = broker.crash().await.restart().await.expect("starts again");
    assert_eq!(ends(&client(&broker)).await, [0, 1]);
    producer.commit_transaction().await.expect("the producer finds it again");
    assert_eq!(committed(&client(&broker)).await, 1);
    open(&producer).await;
    producer.abort_transaction().await.expect("the next one is in order");
    assert_eq!((committed(&client(&broker)).await, ends(&client(&broker)).await), (1, [4, 4]));
    broker.close().await.expect("closes");
}

/// The decision is in the log, the marker is not: the next start writes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decided_transaction_is_carried_out_after_a_crash() {
    let broker = Broker::builder().listener("PLAINTEXT://127.0.0.1:0").start().await.expect("starts");
    create_topic(&client(&broker), "t", 1).await;
    let producer = producer(&broker).await;
    open(&producer).await;
    let full = broker.faults().on_append().topic("t").always().disk_full().expect("can strike");
    producer.commit_transaction().await.expect("it is decided");
    full.wait_fired(1).await;
    let before = client(&broker);
    assert_eq!((state(&before).await.as_str(), ends(&before).await), ("PrepareCommit", [0, 1]));
    let broker = broker.crash().await.restart().await.expect("starts again");
    let after = client(&broker);
    // The marker is written in the background; whoever waits for the record gets it.
    let options = ConsumerOptions { isolation_level: IsolationLevel::ReadCommitted, ..ConsumerOptions::default() };
    let consumer = after.consumer(options);
    consumer.assign(&[(TopicPartition::new("t", 0), Position::Earliest)]).await.expect("known");
    let fetched = consumer.poll_batches(PATIENCE).await.expect("answers");
    assert_eq!(fetched.iter().flat_map(|fetched| fetched.records()).count(), 1);
    broker.close().await.expect("closes");
}

/// A fork has the open transaction too, and each ends its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_ends_its_open_transactions_by_itself() {
    let parent = Broker::builder().start().await.expect("starts");
    create_topic(&client(&parent), "t", 1).await;
    let of_parent = producer(&parent).await;
    open(&of_parent).await;
    let fork = parent.fork().await.expect("forks");
    of_parent.commit_transaction().await.expect("commits");
    assert_eq!(committed(&client(&parent)).await, 1);
    assert_eq!((state(&client(&fork)).await.as_str(), ends(&client(&fork)).await), ("Ongoing", [0, 1]));
    // A producer with the same id takes over, which aborts what was open.
    let of_fork = producer(&fork).await;
    assert_eq!((committed(&client(&fork)).await, ends(&client(&fork)).await), (0, [2, 2]));
    open(&of_fork).await;
    of_fork.commit_transaction().await.expect("commits");
    assert_eq!((committed(&client(&fork)).await, committed(&client(&parent)).await), (1, 1));
    open(&of_parent).await;
    of_parent.commit_transaction().await.expect("the parent's producer has not noticed anything");
    parent.close().await.expect("closes");
    fork.close().await.expect("closes");
}
