//! Transactions of the Rust producer against the embedded broker: what is committed is seen at once, what is aborted
//! never, and a producer that was replaced can do nothing more.
//!
//! The state machine's transitions are tested in the client; here is what comes of them, with lost answers and all.

use crate::support::{PATIENCE, client, create_topic, on_tcp};
use ottla::Broker;
use ottla::client::{
    Client, ConsumerOptions, Env, ErrorCode, ErrorKind, GroupMetadata, IsolationLevel, OffsetAndMetadata, Position,
    Producer, ProducerRecord, TopicPartition,
};
use ottla::faults::{ApiKey, LostAnswer};
use std::collections::BTreeMap;

async fn stage() -> (Broker, Client) {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "t", 3).await;
    (broker, client)
}

async fn producer(broker: &Broker, configs: &[(&str, &str)]) -> Producer {
    let bootstrap = broker.bootstrap_servers();
    let mut all =
        vec![("bootstrap.servers", bootstrap.as_str()), ("transactional.id", "tx"), ("retry.backoff.ms", "5")];
    all.extend_from_slice(configs);
    let producer = Producer::from_configs(Env::real(), all).expect("the configs fit together");
    producer.init_transactions().await.expect("the coordinator answers");
    producer
}

/// Sends a record with this value to each partition.
async fn send(producer: &Producer, value: &str) {
    for partition in 0..3 {
        let record = ProducerRecord::new("t", None, Some(value.as_bytes()));
        producer.send(ProducerRecord { partition: Some(partition), ..record }).await.expect("taken");
    }
}

/// What a read_committed consumer sees of partition 0, up to the last stable offset.
async fn committed(client: &Client) -> Vec<String> {
    let options = ConsumerOptions { isolation_level: IsolationLevel::ReadCommitted, ..ConsumerOptions::default() };
    let consumer = client.consumer(options);
    let partition = TopicPartition::new("t", 0);
    let end = consumer.offsets(&[(partition.clone(), Position::Latest)]).await.expect("known")[0];
    consumer.assign(&[(partition.clone(), Position::Earliest)]).await.expect("known");
    let mut values = Vec::new();
    while consumer.position_now(&partition).expect("assigned") < end {
        for fetched in consumer.poll_batches(PATIENCE).await.expect("answers") {
            for record in fetched.records() {
                let value = record.expect("sound").value.expect("a value");
                values.push(String::from_utf8(value.to_vec()).expect("text"));
            }
        }
    }
    values
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn committed_or_not_at_all() {
    let (broker, client) = stage().await;
    let producer = producer(&broker, &[]).await;
    let mut expected = Vec::new();
    for round in 0..5 {
        producer.begin_transaction().expect("ready");
        let value = format!("yes {round}");
        send(&producer, &value).await;
        assert_eq!(committed(&client).await, expected, "not before the commit");
        producer.commit_transaction().await.expect("committed");
        expected.push(value);
        producer.begin_transaction().expect("ready");
        send(&producer, "no").await;
        if round % 2 == 0 {
            producer.flush().await;
        }
        producer.abort_transaction().await.expect("aborted");
    }
    assert_eq!(committed(&client).await, expected);
    // An empty one.
    producer.begin_transaction().expect("ready");
    producer.commit_transaction().await.expect("nothing to do");
    // One that is left open is aborted with the producer.
    producer.begin_transaction().expect("ready");
    send(&producer, "left").await;
    producer.close(PATIENCE).await.expect("closes");
    assert_eq!(committed(&client).await, expected);
    broker.close().await.expect("closes");
}

/// Records that had not left when the transaction was aborted fail, and say why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abort_fails_what_has_not_left() {
    let (broker, client) = stage().await;
    let producer = producer(&broker, &[("linger.ms", "60000")]).await;
    producer.begin_transaction().expect("ready");
    let delivery = producer.send(ProducerRecord::new("t", None, Some(b"x"))).await.expect("taken");
    producer.abort_transaction().await.expect("aborted");
    let error = delivery.get().expect("settled").expect_err("aborted");
    assert_eq!(error.kind(), ErrorKind::Abortable, "{error}");
    assert!(committed(&client).await.is_empty());
    broker.close().await.expect("closes");
}

/// Offsets count once the transaction is committed, and never when it is aborted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_belong_to_the_transaction() {
    let (broker, client) = stage().await;
    let producer = producer(&broker, &[]).await;
    let partition = TopicPartition::new("t", 0);
    let group = GroupMetadata {
        group_id: "g".to_owned(),
        generation_id: -1,
        member_id: String::new(),
        group_instance_id: None,
    };
    for (offset, commit) in [(3, true), (7, false)] {
        producer.begin_transaction().expect("ready");
        send(&producer, "x").await;
        let offsets = BTreeMap::from([(partition.clone(), OffsetAndMetadata::from(offset))]);
        producer.send_offsets_to_transaction(&offsets, &group).await.expect("taken");
        match commit {
            true => producer.commit_transaction().await.expect("committed"),
            false => producer.abort_transaction().await.expect("aborted"),
        }
        let groups = BTreeMap::from([("g".to_owned(), None)]);
        let found = client.admin().list_consumer_group_offsets(&groups, true).await;
        let found = found.get("g").expect("answered").as_ref().expect("there");
        let found = found.get(&partition).expect("committed").as_ref().expect("no error");
        assert_eq!(found.as_ref().map(|found| found.offset), Some(3));
    }
    let unknown = GroupMetadata { generation_id: 5, ..group };
    producer.begin_transaction().expect("ready");
    let offsets = BTreeMap::from([(partition, OffsetAndMetadata::from(0))]);
    let error = producer.send_offsets_to_transaction(&offsets, &unknown).await.expect_err("no member");
    assert!(error.message().contains("member.id is unknown"), "{error}");
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_later_producer_fences_the_earlier_one() {
    let (broker, client) = stage().await;
    let zombie = producer(&broker, &[]).await;
    zombie.begin_transaction().expect("ready");
    send(&zombie, "zombie").await;
    zombie.flush().await;
    let heir = producer(&broker, &[]).await;
    let error = zombie.commit_transaction().await.expect_err("fenced");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Fenced, Some(ErrorCode::ProducerFenced)), "{error}");
    assert_eq!(zombie.begin_transaction().expect_err("fenced").kind(), ErrorKind::Fenced);
    heir.begin_transaction().expect("ready");
    send(&heir, "heir").await;
    heir.commit_transaction().await.expect("committed");
    // One that does not ask the coordinator first.
    let last = producer(&broker, &[]).await;
    heir.begin_transaction().expect("nobody said so yet");
    let delivery = heir.send(ProducerRecord::new("t", None, Some(b"late"))).await.expect("taken");
    let error = delivery.wait().await.expect_err("an old epoch");
    assert!(matches!(error.code(), Some(ErrorCode::InvalidProducerEpoch | ErrorCode::ProducerFenced)), "{error}");
    heir.abort_transaction().await.expect_err("fenced");
    assert_eq!(committed(&client).await, ["heir"]);
    last.close(PATIENCE).await.expect("closes");
    broker.close().await.expect("closes");
}

/// After a record that cannot be written the transaction is aborted, and the producer goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_is_aborted_and_gone_on_after() {
    let (broker, client) = stage().await;
    let producer = producer(&broker, &[]).await;
    for refused_by_broker in [false, true, true] {
        producer.begin_transaction().expect("ready");
        send(&producer, "no").await;
        if refused_by_broker {
            let fault = broker.faults().on(ApiKey::Produce).topic("t").partition(1).times(1);
            let fault = fault.error(ErrorCode::InvalidRecord).expect("a fault that can strike");
            send(&producer, "no").await;
            producer.flush().await;
            fault.remove();
        } else {
            let large = vec![0; 2_000_000];
            producer.send(ProducerRecord::new("t", None, Some(&large))).await.expect_err("too large");
        }
        let error = producer.commit_transaction().await.expect_err("a record is missing");
        assert_eq!(error.kind(), ErrorKind::Abortable, "{error}");
        let error = producer.send(ProducerRecord::new("t", None, Some(b"x"))).await.expect_err("to be aborted first");
        assert_eq!(error.kind(), ErrorKind::Abortable, "{error}");
        producer.abort_transaction().await.expect("aborted");
        producer.begin_transaction().expect("it goes on");
        send(&producer, "yes").await;
        producer.commit_transaction().await.expect("committed");
    }
    assert_eq!(committed(&client).await, ["yes"; 3]);
    broker.close().await.expect("closes");
}

/// Lost answers and short troubles of every request of a transaction change nothing about its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn troubles_are_ridden_out() {
    let (broker, client) = stage().await;
    let producer = producer(&broker, &[]).await;
    let mut expected = Vec::new();
    let faults = broker.faults();
    let lost = |api| faults.on(api).times(1).lose_answer(LostAnswer::Close).expect("a fault that can strike");
    let refused = |api, code| faults.on(api).times(2).error(code).expect("a fault that can strike");
    for (round, fault) in [
        lost(ApiKey::EndTxn),
        lost(ApiKey::Produce),
        refused(ApiKey::EndTxn, ErrorCode::ConcurrentTransactions),
        refused(ApiKey::EndTxn, ErrorCode::NotCoordinator),
        refused(ApiKey::EndTxn, ErrorCode::CoordinatorNotAvailable),
        refused(ApiKey::Produce, ErrorCode::ConcurrentTransactions),
        refused(ApiKey::Produce, ErrorCode::NotLeaderOrFollower),
    ]
    .into_iter()
    .enumerate()
    {
        producer.begin_transaction().expect("ready");
        let value = format!("round {round}");
        send(&producer, &value).await;
        producer.commit_transaction().await.expect("committed in the end");
        expected.push(value);
        assert!(fault.fired() > 0, "round {round}");
    }
    assert_eq!(committed(&client).await, expected);
    broker.close().await.expect("closes");
}

/// A commit that takes longer than max.block.ms goes on, and the same call waits for it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_timed_out_is_resumed() {
    let (broker, client) = stage().await;
    let producer = producer(&broker, &[("max.block.ms", "300")]).await;
    producer.begin_transaction().expect("ready");
    send(&producer, "slow").await;
    let fault = broker.faults().on(ApiKey::EndTxn).always().error(ErrorCode::CoordinatorNotAvailable);
    let fault = fault.expect("a fault that can strike");
    let error = producer.commit_transaction().await.expect_err("too slow");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(
        error.message().contains("COORDINATOR_NOT_AVAILABLE") && error.message().contains("max.block.ms"),
        "{error}"
    );
    let error = producer.abort_transaction().await.expect_err("a commit is under way");
    assert!(error.message().contains("previous call to `commit_transaction` timed out"), "{error}");
    fault.remove();
    while let Err(error) = producer.commit_transaction().await {
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    }
    producer.begin_transaction().expect("ready");
    assert_eq!(committed(&client).await, ["slow"]);
    broker.close().await.expect("closes");
}

/// Many small transactions one after the other, each over all partitions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_in_a_row() {
    let (broker, client) = stage().await;
    let producer = producer(&broker, &[]).await;
    let mut expected = Vec::new();
    for number in 0..100 {
        producer.begin_transaction().expect("ready");
        let value = number.to_string();
        send(&producer, &value).await;
        if number % 3 == 0 {
            producer.abort_transaction().await.expect("aborted");
        } else {
            producer.commit_transaction().await.expect("committed");
            expected.push(value);
        }
    }
    assert_eq!(committed(&client).await, expected);
    broker.close().await.expect("closes");
}

/// Without an open transaction, or a transactional.id, nothing is sent by mistake.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_out_of_turn() {
    let (broker, _client) = stage().await;
    let producer = producer(&broker, &[]).await;
    let error = producer.send(ProducerRecord::new("t", None, None)).await.expect_err("no transaction");
    assert!(error.message().contains("begin_transaction"), "{error}");
    let error = producer.commit_transaction().await.expect_err("no transaction");
    assert!(error.message().contains("from state READY to state COMMITTING_TRANSACTION"), "{error}");
    producer.begin_transaction().expect("none of it counts");
    let two_phase = Producer::from_configs(
        Env::real(),
        [
            ("bootstrap.servers", broker.bootstrap_servers().as_str()),
            ("transactional.id", "2pc"),
            ("transaction.two.phase.commit.enable", "true"),
        ],
    )
    .expect("well formed");
    let error = two_phase.init_transactions().await.expect_err("not served");
    assert_eq!(error.code(), Some(ErrorCode::UnsupportedVersion), "{error}");
    let endless = Producer::from_configs(
        Env::real(),
        [
            ("bootstrap.servers", broker.bootstrap_servers().as_str()),
            ("transactional.id", "endless"),
            ("transaction.timeout.ms", "2000000000"),
        ],
    )
    .expect("well formed");
    let error = endless.init_transactions().await.expect_err("above transaction.max.timeout.ms");
    assert_eq!(error.code(), Some(ErrorCode::InvalidTransactionTimeout), "{error}");
    broker.close().await.expect("closes");
}
