//! In memory, over TCP and in process, one broker and many.

use crate::support::{client, consume, create_topic, on_tcp, produce};
use ottla::Broker;

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_produced_over_tcp_is_consumed_in_order() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "numbers", 1).await;
    let offsets = produce(&client, "numbers", numbers(1000)).await;
    assert_eq!(offsets, (0..1000).collect::<Vec<i64>>());
    assert_eq!(consume(&client, "numbers", 1000).await, numbers(1000));
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_listener_only_this_process_gets_in() {
    let broker = Broker::builder().start().await.expect("starts");
    assert!(broker.endpoints().is_empty());
    assert!(broker.bootstrap_servers().starts_with("ottla-inproc:"));
    let client = client(&broker);
    create_topic(&client, "numbers", 1).await;
    produce(&client, "numbers", numbers(100)).await;
    assert_eq!(consume(&client, "numbers", 100).await, numbers(100));
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tcp_and_in_process_clients_share_a_broker() {
    let broker = on_tcp().await;
    let over_tcp = client(&broker);
    create_topic(&over_tcp, "numbers", 1).await;
    produce(&over_tcp, "numbers", numbers(10)).await;
    let options = ottla::client::ClientOptions::new(broker.inproc_address());
    let inside = ottla::client::Client::new(ottla::env::Env::real(), options).expect("the address is well formed");
    assert_eq!(consume(&inside, "numbers", 10).await, numbers(10));
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_brokers_in_one_process_do_not_see_each_other() {
    let mut brokers = Vec::new();
    for _ in 0..20 {
        brokers.push(on_tcp().await);
    }
    for (number, broker) in brokers.iter().enumerate() {
        let client = client(broker);
        create_topic(&client, "mine", 1).await;
        produce(&client, "mine", [number.to_string()]).await;
    }
    for (number, broker) in brokers.iter().enumerate() {
        assert_eq!(consume(&client(broker), "mine", 1).await, [number.to_string()]);
    }
    for broker in brokers {
        broker.close().await.expect("closes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_broker_gives_its_port_back() {
    let broker = on_tcp().await;
    let port = broker.endpoints()[0].port;
    let client = client(&broker);
    create_topic(&client, "numbers", 1).await;
    broker.close().await.expect("closes");
    let again =
        Broker::builder().listener(format!("PLAINTEXT://127.0.0.1:{port}")).start().await.expect("the port is free");
    again.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_use_is_refused_with_the_address() {
    let broker = on_tcp().await;
    let port = broker.endpoints()[0].port;
    let taken = Broker::builder().listener(format!("PLAINTEXT://127.0.0.1:{port}")).start().await;
    let reason = taken.expect_err("the port is taken").to_string();
    assert!(reason.contains(&format!("127.0.0.1:{port}")) && reason.contains("in use"), "{reason}");
    broker.close().await.expect("closes");
}

#[test]
fn outside_a_runtime_start_says_so() {
    let mut start = Box::pin(Broker::builder().start());
    let waker = std::task::Waker::noop();
    let polled = start.as_mut().poll(&mut std::task::Context::from_waker(waker));
    let std::task::Poll::Ready(Err(error)) = polled else { panic!("an error at once, not {polled:?}") };
    assert!(error.to_string().contains("tokio runtime"), "{error}");
}
