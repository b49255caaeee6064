//! Subscriptions: which topics a member reads, and how that follows what comes into being.

use super::groups::{fair, filled, leave_all, settle};
use super::scenarios;
use crate::context::{Context, Outcome};
use crate::protocol::producer::Outgoing;
use crate::protocol::{AdminCommand, ConsumerCommand, Failure, FailureKind, Reply};
use crate::{check, same};
use std::collections::BTreeSet;

scenarios! { "subscribe":
    pattern_subscription [Groups];
    changing_the_subscription [Groups];
    several_topics [Groups];
    topic_that_comes_later [Groups];
    partitions_that_come_later [Groups];
    unsubscribe_leaves [Groups];
    two_groups_do_not_share [Groups];
    @calm subscribe_without_group [Groups];
    @calm subscribe_and_assign_exclude_each_other [Groups];
}

/// A pattern matches whole names, of topics that come later, too.
async fn pattern_subscription(cx: Context) -> Outcome {
    let one = filled(&cx, "pattern.1", 1, 3).await?;
    filled(&cx, "other.1", 1, 3).await?;
    filled(&cx, "pattern.1.more", 1, 3).await?;
    let member = cx.member(&cx.name("g"), &[("metadata.max.age.ms", "500")]).await?;
    let pattern = format!("{}\\.[0-9]", cx.name("pattern").replace('.', "\\."));
    member.ask(ConsumerCommand::SubscribePattern { pattern }).await?;
    let read = member.read(3).await?;
    check!(read.iter().all(|record| record.topic == one), "records of other topics: {read:?}");
    // What is not committed would be read again after the rebalance that the new topic brings.
    member.commit().await?;
    let two = filled(&cx, "pattern.2", 2, 3).await?;
    let read = member.poll_until("the new topic's records", |all| all.records.len() >= 6).await?.records;
    check!(read.iter().all(|record| record.topic == two), "records of other topics: {read:?}");
    same!(member.ask(ConsumerCommand::Subscription).await?, Reply::Names(vec![one, two]), "the subscription");
    member.close().await?;
    Ok(())
}

/// A new subscription replaces the old one.
async fn changing_the_subscription(cx: Context) -> Outcome {
    let (first, second) = (filled(&cx, "first", 2, 3).await?, filled(&cx, "second", 2, 3).await?);
    let member = cx.member(&cx.name("g"), &[]).await?;
    member.subscribe(&first).await?;
    same!(member.read(6).await?.len(), 6, "the first topic's records");
    member.subscribe(&second).await?;
    let read = member.read(6).await?;
    check!(read.iter().all(|record| record.topic == second), "records of the old subscription: {read:?}");
    same!(member.ask(ConsumerCommand::Subscription).await?, Reply::Names(vec![second]), "the subscription");
    member.close().await?;
    Ok(())
}

/// Several topics in one subscription.
async fn several_topics(cx: Context) -> Outcome {
    let topics = vec![filled(&cx, "a", 1, 5).await?, filled(&cx, "b", 3, 5).await?, filled(&cx, "c", 2, 5).await?];
    let member = cx.member(&cx.name("g"), &[]).await?;
    member.ask(ConsumerCommand::Subscribe { topics: topics.clone(), commit_on_revoke: false }).await?;
    let read = member.read(30).await?;
    let seen: BTreeSet<&String> = read.iter().map(|record| &record.topic).collect();
    same!(seen, topics.iter().collect(), "the topics that records came from");
    member.close().await?;
    Ok(())
}

/// A subscription may be ahead of its topic.
async fn topic_that_comes_later(cx: Context) -> Outcome {
    let configs = [("metadata.max.age.ms", "500"), ("allow.auto.create.topics", "false")];
    let member = cx.member(&cx.name("g"), &configs).await?;
    member.subscribe(&cx.name("later")).await?;
    check!(member.poll(1000).await?.records.is_empty(), "a topic that is not there has records");
    let topic = filled(&cx, "later", 2, 4).await?;
    let read = member.read(8).await?;
    check!(read.iter().all(|record| record.topic == topic), "{read:?}");
    member.close().await?;
    Ok(())
}

/// Partitions that are added are assigned.
async fn partitions_that_come_later(cx: Context) -> Outcome {
    let topic = filled(&cx, "grows", 1, 4).await?;
    let member = cx.member(&cx.name("g"), &[("metadata.max.age.ms", "500")]).await?;
    member.subscribe(&topic).await?;
    member.read(4).await?;
    member.commit().await?;
    let admin = cx.admin().await?;
    admin.ask(AdminCommand::CreatePartitions { topic: topic.clone(), count: 3 }).await?;
    admin.close().await?;
    settle(&cx, &[&member], "three partitions", |it| it[0].len() == 3).await?;
    let producer = cx.producer(&[]).await?;
    producer.write(vec![Outgoing::value(&topic, "new").to(2)]).await?;
    producer.close().await?;
    same!(member.read_texts(1).await?, vec!["new".to_owned()], "the new partition's record");
    member.close().await?;
    Ok(())
}

/// unsubscribe leaves the group at once and gives everything back.
async fn unsubscribe_leaves(cx: Context) -> Outcome {
    let topic = cx.topic("unsubscribe", 2).await?;
    let slow = [("session.timeout.ms", "60000"), ("heartbeat.interval.ms", "500")];
    let (one, two) = (cx.member(&cx.name("g"), &slow).await?, cx.member(&cx.name("g"), &slow).await?);
    one.subscribe(&topic).await?;
    two.subscribe(&topic).await?;
    settle(&cx, &[&one, &two], "two halves", |it| fair(it, 2)).await?;
    one.ask(ConsumerCommand::Unsubscribe).await?;
    same!(one.assignment().await?, vec![], "the assignment after unsubscribe");
    settle(&cx, &[&two], "everything for the other", |it| fair(it, 2)).await?;
    one.subscribe(&topic).await?;
    settle(&cx, &[&one, &two], "two halves after subscribing again", |it| fair(it, 2)).await?;
    leave_all(&[&one, &two]).await
}

/// Groups read independently of each other.
async fn two_groups_do_not_share(cx: Context) -> Outcome {
    let topic = filled(&cx, "groups", 2, 5).await?;
    for group in ["g1", "g2"] {
        let member = cx.member(&cx.name(group), &[]).await?;
        member.subscribe(&topic).await?;
        same!(member.read(10).await?.len(), 10, "the records of {group}");
        member.commit().await?;
        member.close().await?;
    }
    Ok(())
}

/// Without group.id there is no group to join and no place to commit to.
async fn subscribe_without_group(cx: Context) -> Outcome {
    let topic = cx.topic("no-group", 1).await?;
    let consumer = cx.consumer(&[]).await?;
    let invalid = |answer: Result<Reply, Failure>| {
        answer.is_err_and(|failure| failure.kind == FailureKind::Invalid && failure.message.contains("group.id"))
    };
    let topics = vec![topic.clone()];
    let subscribed = consumer.ask(ConsumerCommand::Subscribe { topics, commit_on_revoke: false }).await;
    check!(invalid(subscribed), "a subscription without group.id");
    consumer.assign(&topic, &[0]).await?;
    check!(invalid(consumer.ask(ConsumerCommand::CommitSync { offsets: None }).await), "a commit without group.id");
    consumer.close().await?;
    Ok(())
}

/// By hand and by group exclude each other until unsubscribe.
async fn subscribe_and_assign_exclude_each_other(cx: Context) -> Outcome {
    let topic = cx.topic("exclusive", 1).await?;
    let member = cx.member(&cx.name("g"), &[]).await?;
    member.assign(&topic, &[0]).await?;
    let topics = vec![topic.clone()];
    let refused = member.ask(ConsumerCommand::Subscribe { topics, commit_on_revoke: false }).await;
    check!(refused.is_err_and(|it| it.kind == FailureKind::Invalid), "subscribe after assign");
    member.ask(ConsumerCommand::Unsubscribe).await?;
    member.subscribe(&topic).await?;
    let refused = member.assign(&topic, &[0]).await;
    check!(refused.is_err(), "assign after subscribe");
    member.close().await?;
    Ok(())
}
