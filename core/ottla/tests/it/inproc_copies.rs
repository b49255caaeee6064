//! In one process record bytes are not copied: what the consumer gets lies where the producer has put it.

use crate::raw::{Raw, batch, fetch, produce, values_of};
use crate::support::Folder;
use bytes::Bytes;
use ottla::Broker;
use ottla_model::{Chunk, Records};
use ottla_protocol::FetchRequest;

/// A batch begins with a header, in which the broker writes its offset: that much it takes a copy of.
const HEADER_SIZE: usize = 61;

async fn send(raw: &Raw, bytes: &Bytes, version: i16) {
    let mut request = produce("t", &[0], "");
    request.topic_data[0].partition_data[0].records = Some(Records::from(bytes.clone()));
    let answer = raw.ask(request, version).await.expect("answered");
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
}

async fn get(raw: &Raw, version: i16) -> Records {
    let request = FetchRequest { session_epoch: -1, ..fetch("t", &[(0, 0)]) };
    let answer = raw.ask(request, version).await.expect("answered");
    answer.responses[0].partitions[0].records.clone().expect("records")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_reads_the_producers_own_bytes() {
    let broker = Broker::builder().start().await.expect("starts");
    let raw = Raw::connect(broker.inproc_address(), "raw").await;
    raw.create_topic("t", 1).await;
    let batches = [batch(&"a".repeat(100_000)), batch(&"b".repeat(50_000))];
    // Flexible versions and others write lengths in different ways.
    send(&raw, &batches[0], 8).await;
    send(&raw, &batches[1], 9).await;
    for version in [11, 12] {
        let records = get(&raw, version).await;
        for batch in &batches {
            let body = batch.slice(HEADER_SIZE..);
            let is_body = |chunk: &Chunk| matches!(chunk, Chunk::Bytes(it) if it.as_ptr() == body.as_ptr() && it.len() == body.len());
            assert!(records.chunks().iter().any(is_body), "v{version}: {records:?} has a copy");
        }
        assert_eq!(values_of(records.to_bytes().expect("in memory")), ["a".repeat(100_000), "b".repeat(50_000)]);
    }
    // The broker has not written into what is the producer's: the base offset of the second batch is still 0.
    assert_eq!(batches[1][..8], [0; 8]);
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_a_file_are_in_memory_when_the_client_has_them() {
    let folder = Folder::new();
    let broker = Broker::builder().directory(&folder.0).start().await.expect("starts");
    let raw = Raw::connect(broker.inproc_address(), "raw").await;
    raw.create_topic("t", 1).await;
    send(&raw, &batch(&"a".repeat(100_000)), 9).await;
    let records = get(&raw, 12).await;
    assert!(records.chunks().iter().all(|chunk| matches!(chunk, Chunk::Bytes(_))), "{records:?}");
    broker.close().await.expect("closes");
    assert_eq!(values_of(records.to_bytes().expect("in memory")), ["a".repeat(100_000)]);
}
