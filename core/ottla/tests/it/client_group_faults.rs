//! Groups whose coordinator errs, moves, or says that it is time to rebalance.

use crate::client_group::{member, numbers, poll_until, read, settled};
use crate::support::{PATIENCE, client, create_topic, on_tcp, produce};
use ottla::client::{ErrorCode, ErrorKind, Offsets, TopicPartition};
use ottla::faults::{ApiKey, LostAnswer};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_goes_on_through_rebalances_moves_and_errors() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "t", 4).await;
    let (a, b) = (member(&client, "g", &[]), member(&client, "g", &[]));
    a.subscribe(["t"]).expect("valid");
    b.subscribe(["t"]).expect("valid");
    let mut values = Vec::new();
    poll_until(&[&a, &b], &mut values, |_| settled(&[&a, &b], 4)).await;
    let faults = broker.faults();
    let mut sent = 0;
    for round in 0..8 {
        match round {
            0 => faults.rebalance("g").expect("it has members"),
            1 => faults.move_coordinator("g").expect("it is known"),
            2 => drop(faults.on(ApiKey::JoinGroup).times(2).error(ErrorCode::CoordinatorLoadInProgress)),
            3 => drop(faults.on(ApiKey::SyncGroup).times(1).error(ErrorCode::NotCoordinator)),
            4 => drop(faults.on(ApiKey::Heartbeat).times(3).disconnect()),
            5 => drop(faults.on(ApiKey::Fetch).times(3).disconnect()),
            6 => drop(faults.on(ApiKey::OffsetCommit).times(3).error(ErrorCode::CoordinatorNotAvailable)),
            _ => drop(faults.on(ApiKey::OffsetFetch).times(2).error(ErrorCode::CoordinatorLoadInProgress)),
        }
        if round >= 2 {
            a.enforce_rebalance("test").expect("subscribed");
        }
        produce(&client, "t", numbers(sent..sent + 40)).await;
        sent += 40;
        poll_until(&[&a, &b], &mut values, |values| settled(&[&a, &b], 4) && values.len() >= sent).await;
        a.commit_sync().await.expect("committed");
        b.commit_sync().await.expect("committed");
        faults.clear();
    }
    values.sort();
    values.dedup();
    assert_eq!(values, numbers(0..sent), "none is lost");
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_are_tried_again_and_refusals_are_told() {
    let broker = on_tcp().await;
    let client = client(&broker);
    create_topic(&client, "t", 1).await;
    produce(&client, "t", numbers(0..5)).await;
    let partition = TopicPartition::new("t", 0);
    let consumer = member(&client, "g", &[("enable.auto.commit", "false")]);
    consumer.assign_committed(std::slice::from_ref(&partition)).expect("by hand");
    read(&consumer, 5).await;
    let faults = broker.faults();
    for code in [ErrorCode::NotCoordinator, ErrorCode::CoordinatorLoadInProgress, ErrorCode::RequestTimedOut] {
        let fault = faults.on(ApiKey::OffsetCommit).times(2).error(code).expect("it can strike");
        consumer.commit_sync().await.expect("committed in the end");
        assert_eq!(fault.fired(), 2, "{code:?}");
    }
    let lost = faults.on(ApiKey::OffsetCommit).times(1).lose_answer(LostAnswer::Close).expect("it can strike");
    consumer.commit_sync().await.expect("committed again");
    assert_eq!(lost.fired(), 1);
    for (code, kind) in [
        (ErrorCode::GroupAuthorizationFailed, ErrorKind::Auth),
        (ErrorCode::TopicAuthorizationFailed, ErrorKind::Auth),
        (ErrorCode::OffsetMetadataTooLarge, ErrorKind::Invalid),
    ] {
        let _fault = faults.on(ApiKey::OffsetCommit).times(1).error(code).expect("it can strike");
        let error = consumer.commit_sync().await.expect_err("refused");
        assert_eq!((error.code(), error.kind()), (Some(code), kind), "{error}");
        faults.clear();
    }
    let _denied = faults.on(ApiKey::JoinGroup).always().error(ErrorCode::GroupAuthorizationFailed).expect("it can");
    let denied = member(&client, "secret", &[]);
    denied.subscribe(["t"]).expect("valid");
    let error = denied.poll(PATIENCE).await.expect_err("denied");
    assert_eq!(error.kind(), ErrorKind::Auth);
    assert!(error.message().contains("group secret"), "{error}");
    // An asynchronous commit is tried once; its callback hears why it did not work.
    let _fault = faults.on(ApiKey::OffsetCommit).times(1).error(ErrorCode::NotCoordinator).expect("it can strike");
    let (tell, told) = tokio::sync::oneshot::channel();
    let offsets = Offsets::from([(partition, 1.into())]);
    consumer.commit_async_with(Some(offsets), move |_, result| drop(tell.send(result)));
    let error = told.await.expect("called").expect_err("refused");
    assert!(error.is_retriable(), "{error}");
    broker.close().await.expect("closes");
}
