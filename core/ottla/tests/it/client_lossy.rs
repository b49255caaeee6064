//! Connections that break at the worst time: an idempotent producer neither loses, doubles nor reorders, and a consumer
//! goes on where it was.
//!
//! Method: between client and broker stands a relay that cuts each connection after a random number of bytes of answers,
//! so that acknowledgements are lost after the broker has written. The broker advertises the relay's address.

use crate::client_producer::read;
use crate::support::{PATIENCE, create_topic};
use ottla::Broker;
use ottla::client::{
    Client, ClientOptions, ConsumerOptions, Env, Position, ProducerOptions, ProducerRecord, TopicPartition,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Relays to `broker`, cutting connections while `cutting` is above zero; each cut takes one.
async fn relay(env: Env, listener: TcpListener, broker: String, cutting: Arc<AtomicU64>) {
    while let Ok((client, _)) = listener.accept().await {
        let Ok(server) = TcpStream::connect(&broker).await else { continue };
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let requests = env.spawn("requests", async move {
            let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
        });
        let (cutting, left) = (cutting.clone(), 600 + env.random_u64() % 1500);
        env.spawn("answers", async move {
            let mut left = left as usize;
            let mut buffer = vec![0; 4096];
            while let Ok(size) = from_server.read(&mut buffer).await {
                let take = |cuts: u64| cuts.checked_sub(1);
                let cut = size >= left && cutting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
                let passed = if cut { left } else { size };
                if to_client.write_all(&buffer[..passed]).await.is_err() || cut || size == 0 {
                    // Requests that are under way have reached the broker, which answers into nothing.
                    break;
                }
                left = left.saturating_sub(size);
            }
            requests.abort();
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_doubled_or_reordered() {
    const PARTITIONS: i32 = 3;
    const CUTS: u64 = 300;
    const RECORDS: u64 = 60_000;
    let env = Env::real();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    // The broker's own port has to be known before it starts; it advertises the relay's.
    let own = TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("bound").to_string();
    let broker = Broker::builder()
        .listener(format!("PLAINTEXT://{own}"))
        .config("advertised.listeners", format!("PLAINTEXT://{address}"))
        .start()
        .await
        .expect("a broker in memory starts");
    let inside = Client::new(env.clone(), ClientOptions::new(broker.inproc_address())).expect("well formed");
    create_topic(&inside, "lossy", PARTITIONS).await;
    let cutting = Arc::new(AtomicU64::new(0));
    env.spawn("relay", relay(env.clone(), listener, own, cutting.clone()));

    let mut options = ClientOptions::new(&address);
    options.retry_backoff = Duration::from_millis(5);
    options.reconnect_backoff = Duration::from_millis(1);
    options.reconnect_backoff_max = Duration::from_millis(20);
    let client = Client::new(env.clone(), options).expect("well formed");
    let options = ProducerOptions { batch_size: 500, linger: Duration::ZERO, ..ProducerOptions::default() };
    let producer = client.producer(options).expect("the options fit together");
    let consumer = client.consumer(ConsumerOptions::default());
    let partitions: Vec<_> =
        (0..PARTITIONS).map(|index| (TopicPartition::new("lossy", index), Position::Earliest)).collect();
    consumer.assign(&partitions).await.expect("assigned");
    cutting.store(CUTS, Ordering::Relaxed);

    let mut deliveries = Vec::new();
    let mut consumed: Vec<Vec<u64>> = vec![Vec::new(); PARTITIONS as usize];
    for number in 0..RECORDS {
        let value = number.to_be_bytes();
        let record = ProducerRecord::new("lossy", None, Some(&value));
        let record = ProducerRecord { partition: Some((number % PARTITIONS as u64) as i32), ..record };
        deliveries.push(producer.send(record).await.expect("memory comes back"));
        if number % 500 == 0 {
            take(&consumer, &mut consumed, Duration::ZERO).await;
        }
    }
    for delivery in &deliveries {
        delivery.wait().await.expect("delivered in the end");
    }
    let cuts = CUTS - cutting.swap(0, Ordering::Relaxed);
    assert!(cuts > 20, "only {cuts} connections were cut: the test tests nothing");
    while consumed.iter().map(Vec::len).sum::<usize>() < RECORDS as usize {
        take(&consumer, &mut consumed, PATIENCE).await;
    }
    for partition in 0..PARTITIONS {
        let expected: Vec<u64> = (0..RECORDS).filter(|number| number % PARTITIONS as u64 == partition as u64).collect();
        let written: Vec<u64> = read(&inside, "lossy", partition).await.iter().map(|r| number(&r.value)).collect();
        assert_eq!(written, expected, "partition {partition} as written");
        assert_eq!(consumed[partition as usize], expected, "partition {partition} as consumed");
    }
    broker.close().await.expect("closes");
}

fn number(value: &Option<impl AsRef<[u8]>>) -> u64 {
    let value = value.as_ref().expect("a value").as_ref();
    u64::from_be_bytes(value.try_into().expect("eight bytes"))
}

async fn take(consumer: &ottla::client::Consumer, into: &mut [Vec<u64>], timeout: Duration) {
    for fetched in consumer.poll_batches(timeout).await.expect("breaks are mended, not told") {
        for record in fetched.records() {
            into[fetched.partition as usize].push(number(&record.expect("the batch is sound").value));
        }
    }
}
