//! Appends that fail on purpose, for tests of what comes after: a full disk, a write torn by a crash. The failing write is
//! the real one, cut short, so that what follows runs as it would after a real failure.

use std::io;

use bytes::Bytes;
use ottla_env::File;
use ottla_model::ErrorCode;

use crate::append::AppendOrigin;
use crate::error::AppendError;
use crate::unified_log::Log;

/// How a write fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteFault {
    /// Half is written, then the disk is full. The log takes the half back and goes on.
    DiskFull,
    /// Half is written, then the process dies: the half stays, and the log accepts nothing more.
    Torn,
    /// The process is dead already: nothing is written.
    Refused,
}

impl WriteFault {
    /// Writes part of the buffers and gives the error.
    pub(crate) fn write(self, file: &File, position: u64, buffers: &[Bytes]) -> io::Error {
        let mut left = buffers.iter().map(Bytes::len).sum::<usize>() / 2;
        let mut half = Vec::new();
        for buffer in buffers {
            let take = buffer.len().min(left);
            left -= take;
            half.push(buffer.slice(..take));
        }
        if let Err(error) = file.write_at(position, &half) {
            return error;
        }
        match self {
            WriteFault::DiskFull => io::Error::from(io::ErrorKind::StorageFull),
            WriteFault::Torn | WriteFault::Refused => io::Error::other("the process died while it wrote"),
        }
    }
}

impl Log {
    /// As [`Log::append_as_leader`], except that the write fails as `fault` says. An append that is refused before anything
    /// is written is refused as ever; one that was there before (a duplicate) would write nothing and fails all the same.
    pub fn fail_append(
        &self,
        records: Bytes,
        leader_epoch: i32,
        origin: AppendOrigin,
        now_ms: i64,
        fault: WriteFault,
    ) -> AppendError {
        if fault == WriteFault::Refused {
            return AppendError::new(ErrorCode::KafkaStorageError, "the log is closed");
        }
        match self.append_with(records, leader_epoch, origin, now_ms, Some(fault)) {
            Err(error) => error,
            Ok(_) => AppendError::new(ErrorCode::KafkaStorageError, "the disk is full"),
        }
    }

    /// Ends the log as a crash would: nothing is written any more, not by a close either, and the files stay as they are.
    pub fn abandon(&self) {
        let mut writer = self.writer.lock();
        (writer.closed, writer.finished) = (true, true);
    }
}
