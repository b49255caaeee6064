//! Producer ids for idempotent producers, handed out of blocks that the controller records (KIP-730), so that no id is
//! given twice, whatever happens to the broker.

use crate::node::Node;
use ottla_metadata::controller;
use ottla_model::ErrorCode;
use parking_lot::Mutex;
use std::ops::Range;

/// The rest of the current block.
#[derive(Debug, Default)]
pub(crate) struct ProducerIds {
    /// Guards the block, also while the next one is taken.
    block: Mutex<Range<i64>>,
}

impl ProducerIds {
    /// A producer id that nobody has. One in a thousand calls appends to the metadata log.
    ///
    /// # Errors
    /// KAFKA_STORAGE_ERROR when the metadata log cannot be written.
    pub(crate) fn next(&self, node: &Node) -> Result<i64, ErrorCode> {
        let mut block = self.block.lock();
        if let Some(id) = block.next() {
            return Ok(id);
        }
        let _changing = node.controller.lock();
        let image = node.metadata.image();
        let (first, record) =
            controller::allocate_producer_ids(&image, node.id(), node.broker_epoch()).map_err(|(error, _)| error)?;
        node.append_metadata(vec![record]).map_err(|(error, _)| error)?;
        *block = first + 1..first + controller::PRODUCER_ID_BLOCK_SIZE;
        Ok(first)
    }
}
