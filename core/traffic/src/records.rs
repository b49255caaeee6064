//! Record bytes as text, where `Debug` has only their size: a line per batch and record, without what a broker makes up.

use crate::tree::Tree;
use ottla_model::Records;
use ottla_model::record_batch::{BatchIter, TimestampType, records, verify_crc};
use ottla_protocol::{FetchResponse, ProduceRequest};

/// Puts the fetched records into an answer.
pub fn of_fetched(mut tree: Tree, fetched: &FetchResponse) -> Tree {
    let records = fetched.responses.iter().flat_map(|topic| &topic.partitions).map(|it| it.records.as_ref());
    put(&mut tree, records);
    tree
}

/// Puts the records that are produced into a request.
pub fn of_produced(mut tree: Tree, produced: &ProduceRequest) -> Tree {
    let records = produced.topic_data.iter().flat_map(|topic| &topic.partition_data).map(|it| it.records.as_ref());
    put(&mut tree, records);
    tree
}

fn put<'a>(tree: &mut Tree, records: impl Iterator<Item = Option<&'a Records>>) {
    let mut texts = records.map(|records| records.map_or(Tree::Leaf("null".to_owned()), text));
    visit(tree, &mut |leaf| *leaf = texts.next().unwrap_or(Tree::Leaf("null".to_owned())));
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
        // A marker's time, and that of a topic with LogAppendTime, is the broker's.
        let by_broker = header.is_control() || header.timestamp_type() == TimestampType::LogAppendTime;
        let crc = match verify_crc(&batch.bytes) {
            Ok(()) => "",
            Err(_) => " bad crc",
        };
        let mut text = format!(
            "{}..{} epoch {} attributes {} sequence {} size {}{crc}:",
            header.base_offset,
            header.last_offset(),
            header.partition_leader_epoch,
            header.attributes,
            header.base_sequence,
            if header.attributes & 7 == 0 { header.size_in_bytes() } else { 0 },
        );
        if let Ok(read) = records(&batch.bytes) {
            for record in read.flatten() {
                let at = if by_broker { "now".to_owned() } else { record.timestamp.to_string() };
                text += &format!(" {}@{at} {:?}={:?} {:?}", record.offset, record.key, record.value, record.headers);
            }
        }
        // Its own struct, so that the ids of the producer are compared as such.
        let field = |name: &str, value: String| (name.to_owned(), Tree::Leaf(value));
        let fields = vec![
            field("producer_id", header.producer_id.to_string()),
            field("producer_epoch", header.producer_epoch.to_string()),
            field("batch", text),
        ];
        batches.push(Tree::Struct("RecordBatch".to_owned(), fields));
    }
    let rest = iter.remainder().len();
    if rest > 0 {
        batches.push(Tree::Leaf(format!("{rest} bytes of a batch")));
    }
    Tree::List(batches)
}
