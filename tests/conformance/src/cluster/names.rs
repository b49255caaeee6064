//! What brokers that make no topics by themselves say of names that they do not know.

use super::{Cluster, scenarios};
use crate::context::{Context, Outcome};
use crate::protocol::producer::Outgoing;
use crate::protocol::{AdminCommand, ConsumerCommand, Each, FailureKind, Partition};
use crate::{check, same};
use std::sync::Arc;
use std::time::Duration;

scenarios! { "names":
    an_unknown_topic_is_named;
}

/// Producer, consumer and admin say within their time limits which topic there is not; a member of a group waits for it.
async fn an_unknown_topic_is_named(cluster: Arc<Cluster>, cx: Context) -> Outcome {
    let topic = cx.name("nowhere");
    let begin = cx.env().monotonic();
    let producer = cx.producer(&[("max.block.ms", "2000")]).await?;
    let failure = producer.refused(Outgoing::value(&topic, "v")).await?;
    let kind = failure.is("UNKNOWN_TOPIC_OR_PARTITION") || failure.kind == FailureKind::Timeout;
    check!(kind && failure.message.contains(&topic), "a send to it: {failure}");
    check!(cx.env().monotonic() - begin < Duration::from_secs(15), "a send takes far longer than max.block.ms");
    let reader = cx.consumer(&[("default.api.timeout.ms", "2000")]).await?;
    let partitions = vec![Partition::new(&topic, 0)];
    match reader.ask(ConsumerCommand::EndOffsets { partitions }).await {
        Err(failure) => check!(failure.message.contains(&topic), "a question for its end: {failure}"),
        Ok(reply) => return Err(format!("it has an end: {reply:?}").into()),
    }
    let admin = cx.admin().await?;
    match admin.topics(&[&topic]).await?.pop() {
        Some(Each::Error(failure)) => {
            check!(failure.is("UNKNOWN_TOPIC_OR_PARTITION") && failure.message.contains(&topic), "{failure}");
        }
        other => return Err(format!("a description of it: {other:?}").into()),
    }
    match &admin.results(AdminCommand::DeleteTopics { topics: vec![topic.clone()] }).await?[0] {
        Each::Error(failure) => check!(failure.is("UNKNOWN_TOPIC_OR_PARTITION"), "its deletion: {failure}"),
        Each::Ok(()) => return Err("it was deleted".into()),
    }
    let member = cx.member(&cx.name("g"), &[("metadata.max.age.ms", "500")]).await?;
    member.subscribe(&topic).await?;
    member.nothing_comes(600).await?;
    // Once it is there, all that waited for it goes on.
    same!(cluster.topic(&cx, "nowhere", &[&[2, 1]], &[]).await?, topic, "the topic's name");
    producer.write(vec![Outgoing::value(&topic, "v")]).await?;
    same!(member.read_texts(1).await?, vec!["v".to_owned()], "what the member reads");
    member.close().await?;
    reader.close().await?;
    producer.close().await?;
    admin.close().await
}
