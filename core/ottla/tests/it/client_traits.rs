//! Code written against the client traits does with a broker what it does with mocks.

use crate::client_group::{numbers, options};
use crate::support::{PATIENCE, client, consume, create_topic, on_tcp, produce};
use ottla::client::mock::{self, ConsumeClient, ConsumeListener, Delivered, MockConsumer, MockProducer, ProduceClient};
use ottla::client::{BoxFuture, Configs, OffsetReset, ProducerOptions, ProducerRecord, Result, Scope, TopicPartition};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Debug, Default)]
struct Counts {
    assigned: AtomicUsize,
    revoked: AtomicUsize,
}

impl<C: ConsumeClient> ConsumeListener<C> for Counts {
    fn on_partitions_assigned<'a>(&'a self, consumer: &'a C, of: &'a [TopicPartition]) -> BoxFuture<'a, Result<()>> {
        assert!(of.iter().all(|partition| consumer.assignment().contains(partition)));
        self.assigned.fetch_add(of.len(), Ordering::Relaxed);
        Box::pin(async { Ok(()) })
    }

    fn on_partitions_revoked<'a>(&'a self, consumer: &'a C, of: &'a [TopicPartition]) -> BoxFuture<'a, Result<()>> {
        self.revoked.fetch_add(of.len(), Ordering::Relaxed);
        Box::pin(consumer.commit_sync())
    }
}

/// Passes `count` records on, exactly once.
async fn relay<C: ConsumeClient>(
    consumer: &C,
    producer: &impl ProduceClient,
    listener: Arc<dyn ConsumeListener<C>>,
    count: usize,
) -> Result<()> {
    consumer.subscribe_with(&["from"], listener)?;
    producer.init_transactions().await?;
    let mut passed = 0;
    while passed < count {
        let records = consumer.poll(PATIENCE).await?;
        producer.begin_transaction()?;
        let mut deliveries = Vec::new();
        for record in &records {
            let record = ProducerRecord::new("to", record.key.as_deref(), record.value.as_deref());
            deliveries.push(producer.send(record).await?);
        }
        producer.send_offsets_to_transaction(&records.next_offsets(), &consumer.group_metadata()?).await?;
        producer.commit_transaction().await?;
        for delivery in deliveries {
            assert!(delivery.get().expect("a commit waits for all").is_ok());
        }
        passed += records.len();
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_runs_with_a_broker() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "from", 1).await;
    create_topic(&client, "to", 1).await;
    produce(&client, "from", numbers(0..20)).await;
    let (configs, _) = Configs::parse(Scope::Producer, [("transactional.id", "relay")]).expect("valid");
    let producer = client.producer(ProducerOptions::from_configs(&configs).expect("valid")).expect("valid");
    let consumer = client.consumer(options("relays", &[("enable.auto.commit", "false")]));
    let counts = Arc::new(Counts::default());
    relay(&consumer, &producer, counts.clone(), 20).await.expect("the broker goes along");
    assert_eq!(counts.assigned.load(Ordering::Relaxed), 1);
    assert_eq!(consume(&client, "to", 20).await, numbers(0..20));
    let from = TopicPartition::new("from", 0);
    let committed = ConsumeClient::committed(&consumer, std::slice::from_ref(&from)).await.expect("committed");
    assert_eq!(committed[&from].offset, 20);
    ConsumeClient::close(&consumer, PATIENCE).await.expect("left");
    assert_eq!(counts.revoked.load(Ordering::Relaxed), 1);
    ProduceClient::close(&producer, PATIENCE).await.expect("closed");
}

#[tokio::test]
async fn a_relay_runs_with_mocks() {
    let consumer = MockConsumer::new(OffsetReset::Earliest);
    let from = TopicPartition::new("from", 0);
    consumer.update_beginning_offsets([(from.clone(), 0)]);
    let clone = consumer.clone();
    consumer.schedule_poll_task(async move {
        clone.rebalance(&[TopicPartition::new("from", 0)]).await.expect("subscribed");
        for (offset, value) in numbers(0..20).iter().enumerate() {
            let record = mock::record("from", 0, offset as i64, None, Some(value.as_bytes()));
            clone.add_record(record).expect("assigned");
        }
    });
    let producer = MockProducer::new(false);
    let counts = Arc::new(Counts::default());
    relay(&consumer, &producer, counts.clone(), 20).await.expect("the mocks go along");
    assert_eq!(counts.assigned.load(Ordering::Relaxed), 1);
    let sent = producer.history().into_iter().map(|record| record.value.expect("a value"));
    assert_eq!(sent.collect::<Vec<_>>(), numbers(0..20));
    assert_eq!(producer.consumer_group_offsets_history()[0]["dummy.group.id"][&from].offset, 20);
}
