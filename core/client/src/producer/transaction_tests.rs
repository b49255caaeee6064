//! Every transition of the transaction's state machine, without a network: each test is a coordinator that answers.

use super::*;

const V1: Features = Features { version_2: false, epoch_bump: true };
const V2: Features = Features { version_2: true, epoch_bump: true };
const OLD: Features = Features { version_2: false, epoch_bump: false };
const WAIT: Duration = Duration::from_millis(100);

fn id(epoch: i16) -> ProducerId {
    ProducerId { id: 9, epoch }
}

fn code(code: ErrorCode) -> Result<Answer> {
    Ok(Answer { code: Some(code), ..Answer::default() })
}

fn with_id(epoch: i16) -> Result<Answer> {
    Ok(Answer { code: Some(ErrorCode::None), producer: Some(id(epoch)), ..Answer::default() })
}

fn by_partition(results: &[(i32, ErrorCode)]) -> Result<Answer> {
    let partitions = results.iter().map(|(index, code)| (TopicPartition::new("t", *index), *code));
    Ok(Answer { partitions: partitions.collect(), ..Answer::default() })
}

/// Takes the next request, which must be `name`.
fn take(transaction: &mut Transaction, name: &str) -> Request {
    match transaction.next(false, Duration::MAX) {
        Next::Send(request) => {
            assert_eq!(request.name(), name);
            request
        }
        other => panic!("expected {name}, got {other:?} in {:?}", transaction.state),
    }
}

/// Takes the next request, which must be `name`, and answers it.
fn answer(transaction: &mut Transaction, name: &str, answer: Result<Answer>, features: Features) -> Request {
    let request = take(transaction, name);
    transaction.answered(&request, answer, Some(features), Duration::ZERO, WAIT);
    request
}

fn done(latch: &Latch) -> Option<Result<()>> {
    let result = latch.result.get().cloned();
    // As if a caller had waited for it.
    latch.seen.store(result.is_some(), Ordering::Relaxed);
    result
}

fn ok(latch: &Latch) {
    done(latch).expect("it has ended").expect("well");
}

fn failed(latch: &Latch) -> Error {
    done(latch).expect("it has ended").expect_err("badly")
}

/// A producer with an epoch, before its first transaction.
fn ready(features: Features) -> Transaction {
    let mut transaction = Transaction::new("tx");
    let latch = transaction.init().expect("the first call");
    let request = answer(&mut transaction, "InitProducerId", with_id(0), features);
    assert_eq!(request, Request::Init { current: None });
    ok(&latch);
    assert_eq!(transaction.state, State::Ready);
    transaction
}

/// A transaction with partition 0 of topic t in it.
fn open(features: Features) -> Transaction {
    let mut transaction = ready(features);
    transaction.begin().expect("ready");
    transaction.add_partition(&Arc::from("t"), 0);
    if !features.version_2 {
        assert!(!transaction.may_write("t", 0), "not before the coordinator knows");
        answer(&mut transaction, "AddPartitionsToTxn", by_partition(&[(0, ErrorCode::None)]), features);
    }
    assert!(transaction.may_write("t", 0) && !transaction.may_write("t", 1));
    transaction
}

fn group() -> GroupMetadata {
    GroupMetadata { group_id: "g".into(), generation_id: -1, member_id: String::new(), group_instance_id: None }
}

fn offsets() -> Offsets {
    Offsets::from([(TopicPartition::new("t", 0), OffsetAndMetadata::from(5)), (TopicPartition::new("t", 1), 6.into())])
}

#[test]
fn version_1_adds_partitions_first_all_at_once_and_ends_with_the_same_epoch() {
    let mut transaction = ready(V1);
    assert!(transaction.check_send().unwrap_err().message().contains("begin_transaction"));
    transaction.begin().expect("ready");
    transaction.check_send().expect("open");
    transaction.add_partition(&Arc::from("t"), 0);
    transaction.add_partition(&Arc::from("t"), 1);
    transaction.add_partition(&Arc::from("u"), 0);
    let added = answer(&mut transaction, "AddPartitionsToTxn", by_partition(&[]), V1);
    let Request::AddPartitions { partitions, .. } = added else { panic!("{added:?}") };
    assert_eq!(partitions.values().map(BTreeSet::len).sum::<usize>(), 3);
    assert_eq!(transaction.next(false, Duration::MAX), Next::Nothing);
    let latch = transaction.commit().expect("open");
    assert!(transaction.is_completing());
    // The end waits for batches.
    assert_eq!(transaction.next(true, Duration::MAX), Next::Nothing);
    let end = answer(&mut transaction, "EndTxn", with_id(-1), V1);
    assert_eq!(end, Request::End { producer: id(0), commit: true });
    ok(&latch);
    assert_eq!((transaction.state, transaction.producer()), (State::Ready, Some(id(0))));
    assert!(!transaction.may_write("t", 0), "the next one adds its own");
}

#[test]
fn version_2_adds_nothing_and_gets_an_epoch_with_each_end() {
    let mut transaction = open(V2);
    assert_eq!(transaction.next(false, Duration::MAX), Next::Nothing);
    let latch = transaction.commit().expect("open");
    answer(&mut transaction, "EndTxn", with_id(1), V2);
    ok(&latch);
    assert_eq!((transaction.state, transaction.producer()), (State::Ready, Some(id(1))));
    transaction.begin().expect("ready");
    transaction.add_partition(&Arc::from("t"), 0);
    let latch = transaction.abort().expect("open");
    let end = answer(&mut transaction, "EndTxn", with_id(2), V2);
    assert_eq!(end, Request::End { producer: id(1), commit: false });
    ok(&latch);
    assert_eq!(transaction.producer(), Some(id(2)));
}

#[test]
fn an_empty_transaction_ends_without_a_request() {
    for features in [V1, V2] {
        let mut transaction = ready(features);
        transaction.begin().expect("ready");
        let latch = transaction.commit().expect("open");
        assert_eq!(transaction.next(false, Duration::MAX), Next::Nothing);
        ok(&latch);
        assert_eq!(transaction.state, State::Ready);
    }
}

#[test]
fn offsets_go_by_the_group_first_in_version_1_and_straight_in_version_2() {
    let group = group();
    for features in [V1, V2] {
        let mut transaction = ready(features);
        transaction.begin().expect("ready");
        let latch = transaction.send_offsets(offsets(), group.clone()).expect("open");
        if !features.version_2 {
            answer(&mut transaction, "AddOffsetsToTxn", code(ErrorCode::None), features);
        }
        let results = [(0, ErrorCode::None), (1, ErrorCode::CoordinatorLoadInProgress)];
        answer(&mut transaction, "TxnOffsetCommit", by_partition(&results), features);
        assert!(done(&latch).is_none());
        let again = answer(&mut transaction, "TxnOffsetCommit", by_partition(&[(1, ErrorCode::None)]), features);
        let Request::CommitOffsets { offsets, .. } = again else { panic!("{again:?}") };
        assert_eq!(offsets.keys().map(|at| at.partition).collect::<Vec<_>>(), [1], "what was committed stays out");
        ok(&latch);
        let latch = transaction.commit().expect("open");
        answer(&mut transaction, "EndTxn", with_id(1), features);
        ok(&latch);
    }
}

#[test]
fn offsets_of_a_member_that_is_gone_abort() {
    for refused in [ErrorCode::IllegalGeneration, ErrorCode::UnknownMemberId, ErrorCode::FencedInstanceId] {
        let mut transaction = open(V2);
        let latch = transaction.send_offsets(offsets(), group()).expect("open");
        answer(&mut transaction, "TxnOffsetCommit", by_partition(&[(0, refused)]), V2);
        assert_eq!(failed(&latch).kind(), ErrorKind::Abortable);
        assert_eq!(transaction.commit().unwrap_err().kind(), ErrorKind::Abortable);
        let latch = transaction.abort().expect("allowed");
        answer(&mut transaction, "EndTxn", with_id(1), V2);
        ok(&latch);
        transaction.begin().expect("it goes on");
    }
}

#[test]
fn retriable_answers_are_asked_again_after_a_wait() {
    let mut transaction = ready(V1);
    transaction.begin().expect("ready");
    transaction.add_partition(&Arc::from("t"), 0);
    // The previous transaction is still being completed: not a full backoff.
    let refused = by_partition(&[(0, ErrorCode::ConcurrentTransactions)]);
    answer(&mut transaction, "AddPartitionsToTxn", refused, V1);
    assert_eq!(transaction.next(false, Duration::ZERO), Next::Wait(CONCURRENT_BACKOFF));
    assert!(transaction.trouble().expect("why").message().contains("CONCURRENT_TRANSACTIONS"));
    for again in [ErrorCode::NotCoordinator, ErrorCode::CoordinatorLoadInProgress, ErrorCode::UnknownTopicOrPartition] {
        answer(&mut transaction, "AddPartitionsToTxn", by_partition(&[(0, again)]), V1);
        assert_eq!(transaction.next(false, Duration::ZERO), Next::Wait(WAIT));
    }
    let lost = Err(Error::new(ErrorKind::Retriable, "the connection ended"));
    answer(&mut transaction, "AddPartitionsToTxn", lost, V1);
    answer(&mut transaction, "AddPartitionsToTxn", by_partition(&[(0, ErrorCode::None)]), V1);
    let latch = transaction.commit().expect("open");
    answer(&mut transaction, "EndTxn", code(ErrorCode::ConcurrentTransactions), V1);
    assert_eq!(transaction.next(false, Duration::ZERO), Next::Wait(WAIT));
    answer(&mut transaction, "EndTxn", code(ErrorCode::None), V1);
    ok(&latch);
    assert!(transaction.trouble().is_none());
}

#[test]
fn one_request_at_a_time() {
    let mut transaction = ready(V1);
    transaction.begin().expect("ready");
    transaction.add_partition(&Arc::from("t"), 0);
    let first = take(&mut transaction, "AddPartitionsToTxn");
    transaction.add_partition(&Arc::from("t"), 1);
    let latch = transaction.commit().expect("open");
    assert_eq!(transaction.next(false, Duration::MAX), Next::Nothing);
    transaction.answered(&first, by_partition(&[(0, ErrorCode::None)]), Some(V1), Duration::ZERO, WAIT);
    // Partition 1 came later, and the end comes last.
    answer(&mut transaction, "AddPartitionsToTxn", by_partition(&[(1, ErrorCode::None)]), V1);
    answer(&mut transaction, "EndTxn", code(ErrorCode::None), V1);
    ok(&latch);
}

#[test]
fn fenced_is_the_end() {
    for refused in [ErrorCode::ProducerFenced, ErrorCode::InvalidProducerEpoch] {
        let mut transaction = open(V2);
        let latch = transaction.commit().expect("open");
        answer(&mut transaction, "EndTxn", code(refused), V2);
        assert_eq!(failed(&latch).code(), Some(ErrorCode::ProducerFenced));
        assert_eq!(transaction.state, State::FatalError);
        for again in [transaction.begin(), transaction.check_send(), transaction.abort().map(|_| ())] {
            assert_eq!(again.unwrap_err().kind(), ErrorKind::Fenced);
        }
        assert!(!transaction.may_write("t", 0) && !transaction.close());
        assert_eq!(transaction.next(false, Duration::MAX), Next::Nothing);
    }
    let mut transaction = Transaction::new("tx");
    let latch = transaction.init().expect("the first call");
    answer(&mut transaction, "InitProducerId", code(ErrorCode::ProducerFenced), V2);
    assert_eq!(failed(&latch).kind(), ErrorKind::Fenced);
}

#[test]
fn after_a_failed_batch_version_1_asks_for_an_epoch() {
    let mut transaction = open(V1);
    transaction.batch_failed(&Error::new(ErrorKind::Timeout, "not delivered"), true);
    assert_eq!(transaction.state, State::AbortableError);
    assert_eq!(transaction.check_send().unwrap_err().kind(), ErrorKind::Abortable);
    assert!(transaction.doomed().is_some() && transaction.is_failing());
    let latch = transaction.abort().expect("allowed");
    answer(&mut transaction, "EndTxn", code(ErrorCode::None), V1);
    assert!(done(&latch).is_none(), "the epoch belongs to it");
    let init = answer(&mut transaction, "InitProducerId", with_id(1), V1);
    assert_eq!(init, Request::Init { current: Some(id(0)) });
    ok(&latch);
    transaction.begin().expect("it goes on");
    assert_eq!(transaction.producer(), Some(id(1)));
}

#[test]
fn after_a_failed_batch_version_2_needs_no_request_of_its_own() {
    let mut transaction = open(V2);
    transaction.batch_failed(&Error::new(ErrorKind::Timeout, "not delivered"), true);
    let latch = transaction.abort().expect("allowed");
    answer(&mut transaction, "EndTxn", with_id(1), V2);
    ok(&latch);
    assert_eq!(transaction.state, State::Ready);
}

#[test]
fn without_further_epochs_what_is_unknown_stays_unknown() {
    let mut transaction = open(OLD);
    transaction.batch_failed(&Error::new(ErrorKind::Timeout, "not delivered"), true);
    assert_eq!(transaction.state, State::FatalError);
    // A record that never left is another matter.
    let mut transaction = open(OLD);
    transaction.batch_failed(&Error::from_code(ErrorCode::MessageTooLarge, "topic t", None), false);
    assert_eq!(transaction.state, State::AbortableError);
}

#[test]
fn a_batch_that_fails_while_committing_fails_the_commit() {
    let mut transaction = open(V2);
    let latch = transaction.commit().expect("open");
    assert_eq!(transaction.next(true, Duration::MAX), Next::Nothing);
    transaction.batch_failed(&Error::from_code(ErrorCode::TransactionAbortable, "t-0", None), true);
    assert_eq!(failed(&latch).code(), Some(ErrorCode::TransactionAbortable));
    assert_eq!(transaction.next(false, Duration::MAX), Next::Nothing, "no commit leaves");
    let latch = transaction.abort().expect("allowed");
    let end = answer(&mut transaction, "EndTxn", with_id(1), V2);
    assert!(matches!(end, Request::End { commit: false, .. }));
    ok(&latch);
}

#[test]
fn errors_of_batches_by_their_kind() {
    for (code, state) in [
        (ErrorCode::ProducerFenced, State::FatalError),
        (ErrorCode::ClusterAuthorizationFailed, State::FatalError),
        (ErrorCode::TransactionalIdAuthorizationFailed, State::FatalError),
        (ErrorCode::UnsupportedVersion, State::FatalError),
        // As in the Java producer since KIP-588: whether it is fenced the coordinator will say.
        (ErrorCode::InvalidProducerEpoch, State::AbortableError),
        (ErrorCode::InvalidTxnState, State::AbortableError),
        (ErrorCode::TransactionAbortable, State::AbortableError),
        (ErrorCode::TopicAuthorizationFailed, State::AbortableError),
    ] {
        let mut transaction = open(V2);
        transaction.batch_failed(&Error::from_code(code, "t-0", None), true);
        assert_eq!(transaction.state, state, "{code:?}");
    }
}

#[test]
fn errors_of_added_partitions() {
    use ErrorCode::*;
    for (results, features, state) in [
        (&[(0, TopicAuthorizationFailed), (1, OperationNotAttempted)][..], V1, State::AbortableError),
        (&[(0, InvalidTxnState)], V1, State::FatalError),
        (&[(0, TransactionalIdAuthorizationFailed)], V1, State::FatalError),
        (&[(0, ProducerFenced)], V1, State::FatalError),
        (&[(0, InvalidProducerIdMapping)], V1, State::AbortableError),
        (&[(0, InvalidProducerIdMapping)], OLD, State::FatalError),
        (&[(0, UnknownProducerId)], V1, State::AbortableError),
        (&[(0, TransactionAbortable)], V1, State::AbortableError),
    ] {
        let mut transaction = ready(features);
        transaction.begin().expect("ready");
        transaction.add_partition(&Arc::from("t"), 0);
        transaction.add_partition(&Arc::from("t"), 1);
        answer(&mut transaction, "AddPartitionsToTxn", by_partition(results), features);
        assert_eq!(transaction.state, state, "{results:?}");
        let told = transaction.error.clone().expect("why");
        if results.len() > 1 {
            assert_eq!(told.code(), Some(TopicAuthorizationFailed), "the cause, not its effect");
        }
    }
}

#[test]
fn a_forgotten_producer_id_is_renewed_without_an_end() {
    let mut transaction = ready(V1);
    transaction.begin().expect("ready");
    transaction.add_partition(&Arc::from("t"), 0);
    let forgotten = by_partition(&[(0, ErrorCode::InvalidProducerIdMapping)]);
    answer(&mut transaction, "AddPartitionsToTxn", forgotten, V1);
    let latch = transaction.abort().expect("allowed");
    let init = answer(&mut transaction, "InitProducerId", with_id(3), V1);
    assert_eq!(init, Request::Init { current: Some(id(0)) });
    ok(&latch);
    transaction.begin().expect("it goes on");
}

#[test]
fn errors_of_the_group_and_its_offsets() {
    use ErrorCode::*;
    for (refused, state) in [
        (GroupAuthorizationFailed, State::AbortableError),
        (TransactionAbortable, State::AbortableError),
        (InvalidProducerIdMapping, State::AbortableError),
        (InvalidTxnState, State::FatalError),
        (TransactionalIdAuthorizationFailed, State::FatalError),
        (ProducerFenced, State::FatalError),
    ] {
        let mut transaction = open(V1);
        let latch = transaction.send_offsets(offsets(), group()).expect("open");
        answer(&mut transaction, "AddOffsetsToTxn", code(refused), V1);
        failed(&latch);
        assert_eq!(transaction.state, state, "{refused:?}");
    }
    for (refused, state) in [
        (TopicAuthorizationFailed, State::AbortableError),
        (StaleMemberEpoch, State::AbortableError),
        (UnknownProducerId, State::AbortableError),
        (InvalidProducerEpoch, State::FatalError),
        (UnsupportedForMessageFormat, State::FatalError),
    ] {
        let mut transaction = open(V2);
        let latch = transaction.send_offsets(offsets(), group()).expect("open");
        answer(&mut transaction, "TxnOffsetCommit", by_partition(&[(0, refused)]), V2);
        failed(&latch);
        assert_eq!(transaction.state, state, "{refused:?}");
    }
    let mut transaction = open(V2);
    let latch = transaction.send_offsets(offsets(), group()).expect("open");
    let lookup = Err(Error::from_code(GroupAuthorizationFailed, "the coordinator of group g", Option::None));
    answer(&mut transaction, "TxnOffsetCommit", lookup, V2);
    assert_eq!(failed(&latch).kind(), ErrorKind::Abortable);
}

#[test]
fn errors_of_ends() {
    use ErrorCode::*;
    for (commit, refused, state) in [
        (true, TransactionAbortable, State::AbortableError),
        (false, TransactionAbortable, State::FatalError),
        (true, UnknownProducerId, State::AbortableError),
        (false, UnknownProducerId, State::FatalError),
        (true, InvalidTxnState, State::FatalError),
        (true, InvalidProducerIdMapping, State::FatalError),
        (false, InvalidProducerIdMapping, State::FatalError),
        (true, TransactionalIdAuthorizationFailed, State::FatalError),
    ] {
        let mut transaction = open(V2);
        let latch = if commit { transaction.commit() } else { transaction.abort() }.expect("open");
        answer(&mut transaction, "EndTxn", code(refused), V2);
        failed(&latch);
        assert_eq!(transaction.state, state, "{commit} {refused:?}");
    }
}

#[test]
fn init_that_is_not_allowed_may_be_tried_again() {
    let mut transaction = Transaction::new("tx");
    let latch = transaction.init().expect("the first call");
    answer(&mut transaction, "InitProducerId", code(ErrorCode::TransactionalIdAuthorizationFailed), V2);
    assert_eq!(failed(&latch).kind(), ErrorKind::Auth);
    let latch = transaction.init().expect("again");
    answer(&mut transaction, "InitProducerId", code(ErrorCode::CoordinatorNotAvailable), V2);
    answer(&mut transaction, "InitProducerId", with_id(0), V2);
    ok(&latch);
    let mut transaction = Transaction::new("tx");
    let latch = transaction.init().expect("the first call");
    answer(&mut transaction, "InitProducerId", Err(Error::unsupported("no InitProducerId 6")), V2);
    assert_eq!(failed(&latch).code(), Some(ErrorCode::UnsupportedVersion));
    assert!(transaction.is_fatal());
}

#[test]
fn a_call_that_timed_out_is_resumed_by_itself_only() {
    let mut transaction = Transaction::new("tx");
    let first = transaction.init().expect("the first call");
    let again = transaction.init().expect("resumed");
    assert!(Arc::ptr_eq(&first, &again));
    let refused = transaction.begin().unwrap_err();
    assert!(refused.message().contains("previous call to `init_transactions`"), "{refused}");
    answer(&mut transaction, "InitProducerId", with_id(0), V2);
    ok(&again);
    transaction.begin().expect("ready");
    transaction.add_partition(&Arc::from("t"), 0);
    let first = transaction.commit().expect("open");
    assert!(transaction.abort().unwrap_err().message().contains("commit_transaction"));
    assert!(transaction.send_offsets(offsets(), group()).is_err());
    answer(&mut transaction, "EndTxn", with_id(1), V2);
    // It ended, but nobody has seen it yet.
    assert!(transaction.begin().is_err());
    let again = transaction.commit().expect("resumed");
    assert!(Arc::ptr_eq(&first, &again));
    ok(&again);
    transaction.begin().expect("seen");
}

#[test]
fn calls_out_of_turn_change_nothing() {
    let mut transaction = Transaction::new("tx");
    let refused = transaction.begin().unwrap_err();
    let text = "TransactionalId tx: Invalid transition attempted from state UNINITIALIZED to state IN_TRANSACTION";
    assert_eq!(refused.message(), text);
    assert!(transaction.check_send().unwrap_err().message().contains("init_transactions"));
    let mut transaction = ready(V2);
    assert!(transaction.commit().is_err() && transaction.abort().is_err() && transaction.init().is_err());
    let refused = transaction.send_offsets(offsets(), group()).unwrap_err();
    assert!(refused.message().contains("currentState= READY"), "{refused}");
    transaction.begin().expect("ready");
    assert!(transaction.begin().is_err());
    transaction.commit().expect("still open");
}

#[test]
fn closing_aborts_what_is_open() {
    let mut transaction = open(V1);
    assert!(transaction.close(), "there is something to wait for");
    let end = answer(&mut transaction, "EndTxn", code(ErrorCode::None), V1);
    assert!(matches!(end, Request::End { commit: false, .. }));
    assert!(!transaction.close());
    // A commit under way is not taken back.
    let mut transaction = open(V1);
    transaction.commit().expect("open");
    assert!(transaction.close());
    let end = answer(&mut transaction, "EndTxn", code(ErrorCode::None), V1);
    assert!(matches!(end, Request::End { commit: true, .. }));
    assert!(!ready(V1).close());
}

#[test]
fn the_version_is_that_of_the_beginning_and_an_upgrade_takes_an_epoch() {
    let mut transaction = open(V1);
    assert!(!transaction.version_2());
    let latch = transaction.commit().expect("open");
    answer(&mut transaction, "EndTxn", code(ErrorCode::None), V2);
    answer(&mut transaction, "InitProducerId", with_id(1), V2);
    ok(&latch);
    transaction.begin().expect("ready");
    assert!(transaction.version_2());
}

#[test]
fn an_abort_overtakes_partitions_that_were_not_added_yet() {
    let mut transaction = ready(V1);
    transaction.begin().expect("ready");
    transaction.add_partition(&Arc::from("t"), 0);
    let latch = transaction.abort().expect("open");
    assert_eq!(transaction.next(false, Duration::MAX), Next::Nothing, "nothing to end");
    ok(&latch);
}
