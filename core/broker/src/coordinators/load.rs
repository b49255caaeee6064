//! Reading a coordinator's partition from its start.

use crate::partition::Partition;
use ottla_model::record_batch::{Batch, BatchIter};

/// How much of the log is read at once: Kafka's `offsets.load.buffer.size` and `transaction.state.log.load.buffer.size`.
const LOAD_BUFFER_BYTES: usize = 5 * 1024 * 1024;

/// Gives every batch of the log to `replay`, in order. Blocks on the disk.
///
/// # Errors
/// The log cannot be read, or `replay` refuses.
pub(super) fn each_batch(
    partition: &Partition,
    mut replay: impl FnMut(&Batch) -> Result<(), String>,
) -> Result<(), String> {
    let log = partition.log();
    let end = log.log_end_offset();
    let mut next = log.log_start_offset();
    while next < end {
        let data = log.read(next, LOAD_BUFFER_BYTES, end, true).map_err(|error| format!("{error:?}"))?;
        let bytes = data.records.to_bytes().map_err(|error| error.to_string())?;
        let before = next;
        for batch in BatchIter::new(bytes) {
            let batch = batch.map_err(|error| error.to_string())?;
            replay(&batch)?;
            next = batch.header.next_offset();
        }
        if next <= before {
            return Err(format!("no whole batch at offset {next}"));
        }
    }
    Ok(())
}
