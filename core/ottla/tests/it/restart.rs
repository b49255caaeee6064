//! On a directory: what was acknowledged is there after a close, and after a broker that just went away.

use crate::support::{Folder, client, consume, create_topic, produce};
use ottla::Broker;

async fn on(folder: &Folder) -> Broker {
    let builder = Broker::builder().directory(&folder.0).listener("PLAINTEXT://127.0.0.1:0");
    builder.start().await.expect("starts on the directory")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_broker_opens_its_directory_again() {
    let folder = Folder::new();
    let broker = on(&folder).await;
    let cluster_id = broker.cluster_id().to_owned();
    create_topic(&client(&broker), "kept", 1).await;
    produce(&client(&broker), "kept", ["a".to_owned(), "b".to_owned()]).await;
    broker.close().await.expect("closes");

    let broker = on(&folder).await;
    assert_eq!(broker.cluster_id(), cluster_id);
    assert_eq!(produce(&client(&broker), "kept", ["c".to_owned()]).await, [2]);
    assert_eq!(consume(&client(&broker), "kept", 3).await, ["a", "b", "c"]);
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_was_dropped_is_recovered() {
    let folder = Folder::new();
    let broker = on(&folder).await;
    create_topic(&client(&broker), "kept", 1).await;
    produce(&client(&broker), "kept", ["a".to_owned()]).await;
    drop(broker);

    // The tasks of a dropped broker end on their own; until then it holds the directory's lock.
    let broker = loop {
        let builder = Broker::builder().directory(&folder.0).listener("PLAINTEXT://127.0.0.1:0");
        match builder.start().await {
            Ok(broker) => break broker,
            Err(error) => assert!(error.to_string().contains("in use"), "{error}"),
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(consume(&client(&broker), "kept", 1).await, ["a"]);
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_broker_on_the_directory_is_refused_with_the_pid() {
    let folder = Folder::new();
    let broker = on(&folder).await;
    let second = Broker::builder().directory(&folder.0).start().await;
    let reason = second.expect_err("the directory is taken").to_string();
    assert!(reason.contains(&std::process::id().to_string()), "{reason}");
    broker.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_topic_stays_deleted_and_its_name_starts_anew() {
    let folder = Folder::new();
    let broker = on(&folder).await;
    let admin = client(&broker);
    create_topic(&admin, "again", 1).await;
    produce(&admin, "again", ["old".to_owned()]).await;
    let deleted = admin.admin().delete_topics(&["again".to_owned()]).await.expect("the broker answers");
    deleted.into_iter().for_each(|deleted| deleted.expect("the topic was there"));
    create_topic(&admin, "again", 1).await;
    assert_eq!(produce(&client(&broker), "again", ["new".to_owned()]).await, [0]);
    broker.close().await.expect("closes");

    let broker = on(&folder).await;
    assert_eq!(consume(&client(&broker), "again", 1).await, ["new"]);
    broker.close().await.expect("closes");
}
