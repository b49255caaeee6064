//! What producers write is what consumers read.

use super::scenarios;
use crate::context::{Context, Outcome};
use crate::protocol::producer::Outgoing;
use crate::{check, same};

scenarios! { "produce":
    every_codec;
}

/// With each codec a hundred records come back whole, in order, and at the offsets that the producer was told.
async fn every_codec(cx: Context) -> Outcome {
    let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
    let topic = cx.topic("codecs", codecs.len() as i32).await?;
    for (partition, codec) in codecs.iter().enumerate() {
        let partition = partition as i32;
        let producer = cx.producer(&[("compression.type", codec)]).await?;
        let value = |i: usize| format!("{codec} {i} {}", "compressible ".repeat(i % 20));
        let records = (0..100).map(|i| Outgoing::value(&topic, value(i)).to(partition)).collect();
        let written = producer.write(records).await?;
        for (i, written) in written.iter().enumerate() {
            same!((written.partition, written.offset), (partition, i as i64), "{codec}: where record {i} went");
        }
        producer.close().await?;
        let consumer = cx.consumer(&[("auto.offset.reset", "earliest")]).await?;
        consumer.assign(&topic, &[partition]).await?;
        for (i, record) in consumer.read(100).await?.iter().enumerate() {
            same!(record.text(), value(i), "{codec}: the value of record {i}");
            same!(record.offset, i as i64, "{codec}: the offset of record {i}");
            check!(record.key.is_none() && record.headers.is_empty(), "{codec}: record {i} has more than was sent");
        }
        consumer.close().await?;
    }
    Ok(())
}
