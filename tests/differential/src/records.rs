//! Record bytes in both directions: batches to produce, and fetched ones as text that can be compared.

use crate::tree::Tree;
use bytes::Bytes;
use ottla_model::Records;
use ottla_model::record_batch::{BatchBuilder, BatchIter, BatchOptions, TimestampType, records};
use ottla_protocol::FetchResponse;

/// When the first record of every case was made, in ms.
pub const EPOCH_MS: i64 = 1_700_000_000_000;

/// A batch with the values `values` and keys, a millisecond apart from `timestamp` on.
pub fn batch_at(options: BatchOptions, timestamp: i64, values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(options);
    let none: &[(Bytes, Option<Bytes>)] = &[];
    for (at, value) in (timestamp..).zip(values) {
        builder.append(at, Some(b"k"), Some(value.as_bytes()), none).expect("a few small records fit");
    }
    builder.into_bytes().expect("a few small records fit")
}

/// A plain batch.
pub fn batch(values: &[&str]) -> Bytes {
    batch_at(BatchOptions::default(), EPOCH_MS, values)
}

/// A batch of an idempotent producer.
pub fn sequenced(producer_id: i64, producer_epoch: i16, base_sequence: i32, values: &[&str]) -> Bytes {
    batch_at(BatchOptions { producer_id, producer_epoch, base_sequence, ..Default::default() }, EPOCH_MS, values)
}

/// Puts the fetched records into an answer, where `Debug` has only their size.
pub fn put_into(mut tree: Tree, fetched: &FetchResponse) -> Tree {
    let mut texts = fetched.responses.iter().flat_map(|topic| &topic.partitions).map(|it| it.records.as_ref());
    visit(&mut tree, &mut |records| *records = texts.next().flatten().map_or(Tree::Leaf("null".into()), text));
    tree
}

fn visit(tree: &mut Tree, found: &mut dyn FnMut(&mut Tree)) {
    match tree {
        Tree::Struct(_, fields) => fields.iter_mut().for_each(|(name, value)| match name.as_str() {
            "records" => found(value),
            _ => visit(value, found),
        }),
        Tree::List(items) => items.iter_mut().for_each(|item| visit(item, found)),
        Tree::Leaf(_) => {}
    }
}

fn text(fetched: &Records) -> Tree {
    let Ok(bytes) = fetched.to_bytes() else { return Tree::Leaf("unreadable".to_owned()) };
    let mut batches = Vec::new();
    let mut iter = BatchIter::new(bytes);
    for batch in iter.by_ref() {
        let Ok(batch) = batch else { break };
        let header = &batch.header;
        let by_broker = header.timestamp_type() == TimestampType::LogAppendTime || header.is_control();
        let crc = match ottla_model::record_batch::verify_crc(&batch.bytes) {
            Ok(()) => "",
            Err(_) => " bad crc",
        };
        let mut text = format!(
            "{}..{} epoch {} attributes {} producer {}/{} size {}{crc}:",
            header.base_offset,
            header.last_offset(),
            header.partition_leader_epoch,
            header.attributes,
            header.producer_epoch,
            header.base_sequence,
            // Two encoders differ, and so do the times of two cleanings, from which timestamps count where they are noted.
            if header.attributes & 7 == 0 && !header.has_delete_horizon() { header.size_in_bytes() } else { 0 },
        );
        if let Ok(read) = records(&batch.bytes) {
            for record in read.flatten() {
                let at = if by_broker { "now".to_owned() } else { record.timestamp.to_string() };
                let value = record.value.as_ref().map(|value| value.slice(..value.len().min(16)));
                text += &format!(" {}@{at} {:?}={value:?} {:?}", record.offset, record.key, record.headers);
            }
        }
        batches.push(Tree::Leaf(text));
    }
    let rest = iter.remainder().len();
    if rest > 0 {
        batches.push(Tree::Leaf(format!("{rest} bytes of a batch")));
    }
    Tree::List(batches)
}
