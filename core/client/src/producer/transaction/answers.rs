//! What the coordinators' answers mean for the transaction: go on, ask again, abort, or give up.

use super::super::batch::ProducerId;
use super::{Answer, CONCURRENT_BACKOFF, Features, Request, State, Transaction};
use crate::error::{Error, Result};
use ottla_model::{ErrorCode, TopicPartition};
use std::time::Duration;

impl Transaction {
    /// Takes in the answer to `request`; `features` is what its connection to the transaction coordinator said, `wait`
    /// the pause before a repetition.
    pub(in crate::producer) fn answered(
        &mut self,
        request: &Request,
        answer: Result<Answer>,
        features: Option<Features>,
        now: Duration,
        wait: Duration,
    ) {
        self.in_flight = false;
        if let Some(features) = features {
            self.features = features;
        }
        if self.state == State::FatalError {
            return;
        }
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return self.not_answered(request, error, now + wait),
        };
        let code = answer.code.unwrap_or(ErrorCode::None);
        let was = self.trouble.take();
        let done = match request {
            Request::Init { .. } => self.init_answered(code, answer.producer),
            Request::AddPartitions { .. } => self.partitions_answered(code, &answer.partitions),
            Request::AddOffsets { .. } => self.group_answered(code),
            Request::CommitOffsets { .. } => self.offsets_answered(code, &answer.partitions),
            Request::End { commit, .. } => self.end_answered(*commit, code, answer.producer),
        };
        if let Err(code) = done {
            let first = self.added.is_empty() && matches!(request, Request::AddPartitions { .. });
            let short = code == ErrorCode::ConcurrentTransactions && first;
            self.not_before = now + if short { wait.min(CONCURRENT_BACKOFF) } else { wait };
            let error = Error::from_code(code, request.name(), None);
            self.trouble = was.filter(|was| was.code() == Some(code)).or(Some(error));
        }
    }

    /// The coordinator could not be asked.
    fn not_answered(&mut self, request: &Request, error: Error, again_at: Duration) {
        let error = error.context(request.name());
        match error.code() {
            Some(ErrorCode::GroupAuthorizationFailed) => self.abortable(error),
            Some(ErrorCode::TransactionalIdAuthorizationFailed) => self.fatal(error),
            _ if error.is_retriable() => {
                self.not_before = again_at;
                self.trouble = Some(error);
            }
            _ => self.fatal(error),
        }
    }

    fn init_answered(&mut self, code: ErrorCode, producer: Option<ProducerId>) -> std::result::Result<(), ErrorCode> {
        match code {
            ErrorCode::None => {
                self.producer = producer;
                self.bump = false;
                self.init = false;
                self.state = State::Ready;
                self.error = None;
                self.settle(Ok(()));
            }
            code if code.is_retriable() => return Err(code),
            ErrorCode::InvalidProducerEpoch | ErrorCode::ProducerFenced => self.fenced(),
            ErrorCode::TransactionalIdAuthorizationFailed | ErrorCode::ClusterAuthorizationFailed
                if self.producer.is_none() =>
            {
                // Nothing is lost: it may be tried again once it is allowed.
                self.init = false;
                self.state = State::Uninitialized;
                self.settle(Err(Error::from_code(code, "InitProducerId", None)));
            }
            ErrorCode::TransactionAbortable => {
                self.init = false;
                self.abortable(Error::from_code(code, "InitProducerId", None));
            }
            code => self.fatal(Error::from_code(code, "InitProducerId", None)),
        }
        Ok(())
    }

    fn partitions_answered(
        &mut self,
        code: ErrorCode,
        partitions: &[(TopicPartition, ErrorCode)],
    ) -> std::result::Result<(), ErrorCode> {
        let mut refused: Option<Error> = None;
        let name = "AddPartitionsToTxn";
        for (code, partition) in
            [(code, None)].into_iter().chain(partitions.iter().map(|(partition, code)| (*code, Some(partition))))
        {
            let what =
                || partition.map_or(name.to_owned(), |at| format!("{name}, partition {}-{}", at.topic, at.partition));
            match code {
                ErrorCode::None => {}
                code if code.is_retriable() && code != ErrorCode::UnknownTopicOrPartition => return Err(code),
                ErrorCode::UnknownTopicOrPartition => return Err(code),
                ErrorCode::InvalidProducerEpoch | ErrorCode::ProducerFenced => {
                    self.fenced();
                    return Ok(());
                }
                ErrorCode::TransactionalIdAuthorizationFailed | ErrorCode::InvalidTxnState => {
                    self.fatal(Error::from_code(code, &what(), None));
                    return Ok(());
                }
                ErrorCode::UnknownProducerId | ErrorCode::InvalidProducerIdMapping => {
                    self.abortable_if_possible(Error::from_code(code, &what(), None));
                    return Ok(());
                }
                // Of all the others one says why, and these only that it was not this one.
                ErrorCode::OperationNotAttempted => {
                    refused.get_or_insert_with(|| Error::from_code(code, &what(), None));
                }
                code => {
                    let known = refused.as_ref().and_then(Error::code);
                    if known.is_none_or(|known| known == ErrorCode::OperationNotAttempted) {
                        refused = Some(Error::from_code(code, &what(), None));
                    }
                }
            }
        }
        match refused {
            Some(error) => {
                self.adding.clear();
                self.abortable(error);
            }
            None => {
                self.started = true;
                for (topic, partitions) in std::mem::take(&mut self.adding) {
                    self.added.entry(topic).or_default().extend(partitions);
                }
            }
        }
        Ok(())
    }

    fn group_answered(&mut self, code: ErrorCode) -> std::result::Result<(), ErrorCode> {
        let error = || Error::from_code(code, "AddOffsetsToTxn", None);
        match code {
            ErrorCode::None => {
                self.started = true;
                if let Some(job) = self.offsets.front_mut() {
                    job.added = true;
                }
            }
            code if code.is_retriable() => return Err(code),
            ErrorCode::UnknownProducerId | ErrorCode::InvalidProducerIdMapping => self.abortable_if_possible(error()),
            ErrorCode::InvalidProducerEpoch | ErrorCode::ProducerFenced => self.fenced(),
            ErrorCode::GroupAuthorizationFailed | ErrorCode::TransactionAbortable => self.abortable(error()),
            _ => self.fatal(error()),
        }
        Ok(())
    }

    fn offsets_answered(
        &mut self,
        code: ErrorCode,
        partitions: &[(TopicPartition, ErrorCode)],
    ) -> std::result::Result<(), ErrorCode> {
        let mut again = None;
        for (code, partition) in
            [(code, None)].into_iter().chain(partitions.iter().map(|(partition, code)| (*code, Some(partition))))
        {
            let error = || Error::from_code(code, "TxnOffsetCommit", None);
            match (code, partition) {
                (ErrorCode::None, None) => {}
                (ErrorCode::None, Some(partition)) => {
                    if let Some(job) = self.offsets.front_mut() {
                        job.left.remove(partition);
                    }
                }
                (code, _) if code.is_retriable() => again = Some(code),
                (
                    ErrorCode::GroupAuthorizationFailed
                    | ErrorCode::TopicAuthorizationFailed
                    | ErrorCode::FencedInstanceId
                    | ErrorCode::TransactionAbortable,
                    _,
                ) => {
                    self.abortable(error());
                    return Ok(());
                }
                (ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration | ErrorCode::StaleMemberEpoch, _) => {
                    self.abortable(error().context(
                        "Transaction offset Commit failed due to consumer group metadata mismatch (CommitFailed)",
                    ));
                    return Ok(());
                }
                (ErrorCode::UnknownProducerId | ErrorCode::InvalidProducerIdMapping, _) => {
                    self.abortable_if_possible(error());
                    return Ok(());
                }
                (ErrorCode::InvalidProducerEpoch | ErrorCode::ProducerFenced, _) => {
                    self.fenced();
                    return Ok(());
                }
                _ => {
                    self.fatal(error());
                    return Ok(());
                }
            }
        }
        match again {
            Some(code) => Err(code),
            // An answer that leaves a partition out would be asked for again for ever.
            None => {
                if let Some(job) = self.offsets.pop_front() {
                    job.latch.set(Ok(()));
                }
                Ok(())
            }
        }
    }

    fn end_answered(
        &mut self,
        commit: bool,
        code: ErrorCode,
        producer: Option<ProducerId>,
    ) -> std::result::Result<(), ErrorCode> {
        let error = || Error::from_code(code, "EndTxn", None);
        match code {
            ErrorCode::None => {
                if let Some(producer) = producer.filter(|producer| self.version_2 && producer.id >= 0) {
                    self.producer = Some(producer);
                }
                // The cluster moved to version 2 meanwhile, whose first transaction needs a fresh epoch.
                self.bump |= self.features.version_2 && !self.version_2;
                self.complete();
            }
            code if code.is_retriable() => return Err(code),
            ErrorCode::InvalidProducerEpoch | ErrorCode::ProducerFenced => self.fenced(),
            ErrorCode::UnknownProducerId | ErrorCode::TransactionAbortable if !commit => {
                self.fatal(error().context("Failed to abort transaction"));
            }
            ErrorCode::UnknownProducerId => self.abortable_if_possible(error()),
            ErrorCode::TransactionAbortable => self.abortable(error()),
            _ => self.fatal(error()),
        }
        Ok(())
    }
}
