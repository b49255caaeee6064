//! How a transaction fails: so that it can be aborted, or for good.

use super::{State, Transaction};
use crate::error::{Error, ErrorKind, Result};
use ottla_model::ErrorCode;

impl Transaction {
    /// Whether the producer may go on after an abort although something is unknown.
    pub(super) fn can_go_on(&self) -> bool {
        self.features.epoch_bump || self.version_2
    }

    pub(super) fn abortable_if_possible(&mut self, error: Error) {
        if self.can_go_on() {
            self.bump |= !self.version_2;
            self.abortable(error);
        } else {
            self.fatal(error);
        }
    }

    pub(super) fn abortable(&mut self, error: Error) {
        let from = matches!(
            self.state,
            State::InTransaction | State::Committing | State::AbortableError | State::Initializing
        );
        // What is being aborted already stays so.
        if !from {
            return;
        }
        tracing::info!(transactional_id = &*self.id, %error, "the transaction has to be aborted");
        let error = error.with_kind(ErrorKind::Abortable);
        self.state = State::AbortableError;
        self.end = None;
        self.fail_offsets(&error);
        self.settle(Err(error.clone()));
        self.error = Some(error);
    }

    pub(super) fn fenced(&mut self) {
        let text = "There is a newer producer with the same transactionalId which fences the current one";
        self.fatal(Error::from_code(ErrorCode::ProducerFenced, &format!("transactional.id {}", self.id), Some(text)));
    }

    pub(in crate::producer) fn fatal(&mut self, error: Error) {
        if self.state == State::FatalError {
            return;
        }
        tracing::warn!(transactional_id = &*self.id, %error, "the transactional producer cannot go on");
        self.state = State::FatalError;
        self.init = false;
        self.end = None;
        self.new.clear();
        self.adding.clear();
        self.fail_offsets(&error);
        self.settle(Err(error.clone()));
        self.error = Some(error);
    }

    pub(super) fn fail_offsets(&mut self, error: &Error) {
        for job in self.offsets.drain(..) {
            job.latch.set(Err(error.clone()));
        }
    }

    pub(super) fn error_code(&self) -> Option<ErrorCode> {
        self.error.as_ref().and_then(Error::code)
    }

    pub(super) fn check_error(&self) -> Result<()> {
        let Some(error) =
            self.error.as_ref().filter(|_| matches!(self.state, State::AbortableError | State::FatalError))
        else {
            return Ok(());
        };
        Err(match (self.state, error.kind()) {
            (_, ErrorKind::Fenced) => error.clone(),
            (State::AbortableError, _) => error.clone().context("abort_transaction has to be called first"),
            _ => error.clone().context("the producer cannot be used any more and has to be closed"),
        })
    }
}
