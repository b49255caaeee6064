//! Which segments are cleaned into one, so that a log does not fall to ever smaller pieces.

use std::sync::Arc;

use crate::config::LogConfig;
use crate::error::{IoContext, LogError};
use crate::segment::Segment;
use crate::{offset_index, time_index};

/// A segment's part of the bounds of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Size {
    bytes: u64,
    index_bytes: u64,
    time_index_bytes: u64,
}

impl Size {
    fn of(segment: &Segment) -> Result<Size, LogError> {
        let path = || segment.path();
        let bytes = segment.size().context("open", path())?;
        let mut index = segment.index()?;
        let entries = index.offsets.file().len().context("read the index of", path())?;
        let time_entries = index.times.file().len().context("read the index of", path())?;
        Ok(Size {
            bytes,
            index_bytes: entries * offset_index::ENTRY_SIZE,
            time_index_bytes: time_entries * time_index::ENTRY_SIZE,
        })
    }

    fn plus(self, other: Size) -> Size {
        Size {
            bytes: self.bytes + other.bytes,
            index_bytes: self.index_bytes + other.index_bytes,
            time_index_bytes: self.time_index_bytes + other.time_index_bytes,
        }
    }

    fn fits(self, config: &LogConfig) -> bool {
        self.bytes <= u64::from(config.segment_bytes)
            && self.index_bytes <= u64::from(config.segment_index_bytes)
            && self.time_index_bytes <= u64::from(config.segment_index_bytes)
    }
}

/// Puts segments that follow each other into groups, as large as `segment.bytes`, `segment.index.bytes` and 31 bits of
/// offsets allow. `end` is the offset behind the last one.
pub(crate) fn group_segments(
    segments: &[Arc<Segment>],
    config: &LogConfig,
    end: i64,
) -> Result<Vec<Vec<Arc<Segment>>>, LogError> {
    let mut groups: Vec<Vec<Arc<Segment>>> = Vec::new();
    let mut size = Size::default();
    for (at, segment) in segments.iter().enumerate() {
        let own = Size::of(segment)?;
        let last_offset = segments.get(at + 1).map_or(end, |next| next.base_offset) - 1;
        match groups.last_mut() {
            Some(group)
                if size.plus(own).fits(config)
                    && (own.bytes == 0 || last_offset - group[0].base_offset <= i64::from(i32::MAX)) =>
            {
                group.push(segment.clone());
                size = size.plus(own);
            }
            _ => {
                groups.push(vec![segment.clone()]);
                size = own;
            }
        }
    }
    Ok(groups)
}
