//! Offsets of groups: what is committed, by whom, and where the next member begins.

use super::groups::{QUICK, append, count, fair, filled, leave_all, settle};
use super::scenarios;
use crate::context::{Context, Outcome, Wrong};
use crate::protocol::consumer::Event;
use crate::protocol::{AdminCommand, ConsumerCommand, Each, FailureKind, Partition, PartitionOffset, Reply};
use crate::{check, same};
use std::collections::BTreeSet;
use std::time::Duration;

scenarios! { "offsets":
    commits_are_where_the_next_member_begins [Groups];
    commit_of_given_offsets_with_metadata [Groups];
    commit_async_tells_its_result [Groups];
    auto_commit_on_close [Groups];
    nothing_committed_without_asking [Groups];
    commit_without_membership [Groups];
    commit_inside_the_listener [Groups];
    @calm commit_after_the_group_went_on [Groups];
    seek_inside_a_group [Groups];
    offsets_are_altered_and_deleted [Groups, GroupAdmin];
    offsets_survive_a_restart [Groups, Restart];
}

/// What one member committed is where the next one goes on.
async fn commits_are_where_the_next_member_begins(cx: Context) -> Outcome {
    let topic = filled(&cx, "commits", 2, 10).await?;
    let group = cx.name("g");
    let first = cx.member(&group, &[]).await?;
    first.subscribe(&topic).await?;
    first.read(20).await?;
    first.commit().await?;
    same!((first.committed(&topic, 0).await?, first.committed(&topic, 1).await?), (Some(10), Some(10)), "committed");
    append(&cx, &topic, 2, 10..13).await?;
    first.read(6).await?;
    // Read, not committed: to be read again.
    first.close().await?;
    let second = cx.member(&group, &[]).await?;
    second.subscribe(&topic).await?;
    let counts = count(&second.read(6).await?);
    let expected: BTreeSet<(i32, String)> =
        (10..13).flat_map(|i: i32| [(0, i.to_string()), (1, i.to_string())]).collect();
    same!(counts.keys().cloned().collect::<BTreeSet<_>>(), expected, "what the second member reads");
    second.close().await?;
    Ok(())
}

/// Offsets may be given, with metadata, for any partition.
async fn commit_of_given_offsets_with_metadata(cx: Context) -> Outcome {
    let topic = filled(&cx, "given", 2, 10).await?;
    let member = cx.member(&cx.name("g"), &[]).await?;
    member.assign(&topic, &[0, 1]).await?;
    let mut offset = PartitionOffset::new(&topic, 0, 3);
    offset.metadata = Some("über das Komma".to_owned());
    let offsets = vec![offset.clone(), PartitionOffset::new(&topic, 1, 7)];
    member.ask(ConsumerCommand::CommitSync { offsets: Some(offsets) }).await?;
    let partitions = vec![Partition::new(&topic, 0), Partition::new(&topic, 1)];
    let Reply::Offsets(found) = member.ask(ConsumerCommand::Committed { partitions }).await? else {
        return Err("no offsets".into());
    };
    same!(found, vec![offset, PartitionOffset::new(&topic, 1, 7)], "the committed offsets");
    member.close().await?;
    let next = cx.member(&cx.name("g"), &[]).await?;
    next.assign(&topic, &[0, 1]).await?;
    same!(next.read(10).await?.len(), 10, "seven of partition 0 and three of partition 1");
    next.close().await?;
    Ok(())
}

/// commitAsync calls back, in the order of the commits.
async fn commit_async_tells_its_result(cx: Context) -> Outcome {
    let topic = filled(&cx, "async", 1, 10).await?;
    let member = cx.member(&cx.name("g"), &[]).await?;
    member.subscribe(&topic).await?;
    member.read(10).await?;
    for offset in [2, 5, 9] {
        let offsets = Some(vec![PartitionOffset::new(&topic, 0, offset)]);
        // Tried once by its nature: what a fault takes away, a later commit makes up for.
        let mut told = member.ask(ConsumerCommand::CommitAsync { offsets: offsets.clone() }).await;
        for _ in 0..10 {
            match &told {
                Err(failure) if failure.kind == FailureKind::Retriable || failure.kind == FailureKind::Timeout => {
                    told = member.ask(ConsumerCommand::CommitAsync { offsets: offsets.clone() }).await;
                }
                _ => break,
            }
        }
        told?;
        same!(member.committed(&topic, 0).await?, Some(offset), "the committed offset");
    }
    member.close().await?;
    Ok(())
}

/// enable.auto.commit commits what polls returned when the consumer is closed.
async fn auto_commit_on_close(cx: Context) -> Outcome {
    let topic = filled(&cx, "auto", 1, 10).await?;
    let group = cx.name("g");
    let auto = [("enable.auto.commit", "true"), ("auto.commit.interval.ms", "60000"), ("max.poll.records", "4")];
    let member = cx.member(&group, &auto).await?;
    member.subscribe(&topic).await?;
    let read = member.poll_until("the first records", |all| !all.records.is_empty()).await?.records.len() as i64;
    member.close().await?;
    let next = cx.member(&group, &[]).await?;
    same!(next.committed(&topic, 0).await?, Some(read), "what was committed at the end");
    next.subscribe(&topic).await?;
    same!(next.read(10 - read as usize).await?[0].offset, read, "where the next one begins");
    next.close().await?;
    // And by time.
    let often = [("enable.auto.commit", "true"), ("auto.commit.interval.ms", "100")];
    let member = cx.member(&cx.name("g2"), &often).await?;
    member.subscribe(&topic).await?;
    member.read(10).await?;
    cx.eventually("the commit by time", || async {
        member.poll(100).await?;
        Ok((member.committed(&topic, 0).await? == Some(10)).then_some(()))
    })
    .await?;
    member.close().await?;
    Ok(())
}

/// Without auto-commit nothing is committed by itself.
async fn nothing_committed_without_asking(cx: Context) -> Outcome {
    let topic = filled(&cx, "none", 1, 10).await?;
    for _ in 0..2 {
        let member = cx.member(&cx.name("g"), &[]).await?;
        same!(member.committed(&topic, 0).await?, None, "a committed offset");
        member.subscribe(&topic).await?;
        same!(member.read(10).await?.len(), 10, "all records, again");
        member.close().await?;
    }
    Ok(())
}

/// A group stores offsets for readers by hand, too.
async fn commit_without_membership(cx: Context) -> Outcome {
    let topic = filled(&cx, "by-hand", 1, 10).await?;
    let reader = cx.member(&cx.name("g"), &[]).await?;
    reader.assign(&topic, &[0]).await?;
    reader.read(10).await?;
    reader.seek(&topic, 0, 6).await?;
    reader.commit().await?;
    reader.close().await?;
    let next = cx.member(&cx.name("g"), &[]).await?;
    next.assign(&topic, &[0]).await?;
    same!(next.read(4).await?[0].offset, 6, "the first offset");
    next.close().await?;
    Ok(())
}

/// The listener may commit what it is about to lose, and the commit counts.
async fn commit_inside_the_listener(cx: Context) -> Outcome {
    let topic = filled(&cx, "revoke", 4, 10).await?;
    let group = cx.name("g");
    let (one, two) = (cx.member(&group, &QUICK).await?, cx.member(&group, &QUICK).await?);
    for member in [&one, &two] {
        let topics = vec![topic.clone()];
        member.ask(ConsumerCommand::Subscribe { topics, commit_on_revoke: true }).await?;
    }
    let mut events = one.poll_until("all records", |all| all.records.len() >= 40).await?.events;
    let end = cx.env().monotonic() + Duration::from_secs(30);
    let mut again = Vec::new();
    loop {
        let polled = one.poll(100).await?;
        events.extend(polled.events);
        again.extend(polled.records);
        again.extend(two.poll(100).await?.records);
        if fair(&[one.assignment().await?, two.assignment().await?], 4) {
            break;
        }
        check!(cx.env().monotonic() < end, "the second member got nothing");
    }
    again.extend(two.poll(500).await?.records);
    check!(again.is_empty(), "{} records were read again after a commit in the listener", again.len());
    check!(!events.iter().any(|it| matches!(it, Event::CommitFailed(_))), "a commit failed: {events:?}");
    check!(events.iter().any(|it| matches!(it, Event::Revoked(_))), "nothing was revoked: {events:?}");
    leave_all(&[&one, &two]).await
}

/// A member of a past generation cannot commit.
async fn commit_after_the_group_went_on(cx: Context) -> Outcome {
    let topic = filled(&cx, "fenced", 1, 10).await?;
    let group = cx.name("g");
    let configs = [("session.timeout.ms", "6000"), ("max.poll.interval.ms", "1500"), ("heartbeat.interval.ms", "300")];
    let old = cx.member(&group, &configs).await?;
    old.subscribe(&topic).await?;
    old.read(10).await?;
    let new = cx.member(&group, &QUICK).await?;
    new.subscribe(&topic).await?;
    // The old one does not poll: it is taken out, and the new one has the partition.
    settle(&cx, &[&new], "the new member has the partition", |it| it[0].len() == 1).await?;
    match old.ask(ConsumerCommand::CommitSync { offsets: None }).await {
        Err(failure) => check!(failure.kind != FailureKind::Internal, "a readable error: {failure}"),
        Ok(_) => return Err("a member that was taken out of its group has committed".into()),
    }
    same!(new.committed(&topic, 0).await?, None, "what the group has committed");
    leave_all(&[&new, &old]).await
}

/// A member may seek in what it has.
async fn seek_inside_a_group(cx: Context) -> Outcome {
    let topic = filled(&cx, "seek", 1, 10).await?;
    let member = cx.member(&cx.name("g"), &[]).await?;
    member.subscribe(&topic).await?;
    member.read(10).await?;
    member.seek(&topic, 0, 4).await?;
    same!(member.read(6).await?[0].offset, 4, "the first offset after seek");
    member.commit().await?;
    let elsewhere = member.ask(ConsumerCommand::Seek { at: PartitionOffset::new(&topic, 1, 0) }).await;
    check!(elsewhere.is_err_and(|it| it.kind == FailureKind::Invalid), "a seek in what is not assigned");
    member.close().await?;
    Ok(())
}

/// Admin sets and deletes offsets of a group without members.
async fn offsets_are_altered_and_deleted(cx: Context) -> Outcome {
    let topic = filled(&cx, "altered", 3, 10).await?;
    let group = cx.name("g");
    let admin = cx.admin().await?;
    let offsets: Vec<_> = (0..3).map(|i| PartitionOffset::new(&topic, i, i64::from(i) * 3)).collect();
    let altered =
        admin.results(AdminCommand::AlterGroupOffsets { group: group.clone(), offsets: offsets.clone() }).await?;
    same!(altered, vec![Each::Ok(()); 3], "the results");
    let list = || admin.ask(AdminCommand::ListGroupOffsets { group: group.clone() });
    same!(list().await?, Reply::Offsets(offsets), "the offsets");
    let member = cx.member(&group, &[]).await?;
    member.subscribe(&topic).await?;
    same!(member.read(10 + 7 + 4).await?.len(), 21, "what is left of each partition");
    let more = vec![PartitionOffset::new(&topic, 0, 1)];
    let refused = admin.results(AdminCommand::AlterGroupOffsets { group: group.clone(), offsets: more }).await?;
    check!(matches!(&refused[0], Each::Error(it) if it.is("UNKNOWN_MEMBER_ID")), "{refused:?}");
    let partitions = vec![Partition::new(&topic, 1)];
    let delete = || AdminCommand::DeleteGroupOffsets { group: group.clone(), partitions: partitions.clone() };
    let refused = admin.results(delete()).await?;
    let subscribed = matches!(&refused[0], Each::Error(it) if it.is("GROUP_SUBSCRIBED_TO_TOPIC"));
    check!(subscribed, "deleting offsets of a topic that is read: {refused:?}");
    member.close().await?;
    cx.eventually("the deletion", || async {
        Ok(matches!(admin.results(delete()).await?[0], Each::Ok(())).then_some(()))
    })
    .await?;
    let Reply::Offsets(left) = list().await? else { return Err("no offsets".into()) };
    same!(left.iter().map(|it| it.partition).collect::<Vec<_>>(), vec![0, 2], "the partitions with offsets");
    admin.close().await
}

/// Records, committed offsets and topics are there after a clean restart.
async fn offsets_survive_a_restart(cx: Context) -> Outcome {
    let topic = filled(&cx, "restart", 2, 10).await?;
    let group = cx.name("g");
    let member = cx.member(&group, &[]).await?;
    member.subscribe(&topic).await?;
    member.read(20).await?;
    let offsets = vec![PartitionOffset::new(&topic, 0, 4), PartitionOffset::new(&topic, 1, 9)];
    member.ask(ConsumerCommand::CommitSync { offsets: Some(offsets.clone()) }).await?;
    member.close().await?;
    cx.broker().restart().await.map_err(Wrong)?;
    let admin = cx.admin().await?;
    let found = admin.ask(AdminCommand::ListGroupOffsets { group: group.clone() }).await?;
    same!(found, Reply::Offsets(offsets), "the offsets after the restart");
    check!(admin.names().await?.contains(&topic), "the topic is gone");
    admin.close().await?;
    let member = cx.member(&group, &[]).await?;
    member.subscribe(&topic).await?;
    same!(member.read(7).await?.len(), 7, "what was not committed");
    append(&cx, &topic, 2, 10..11).await?;
    same!(member.read(2).await?[0].offset, 10, "the offset of new records");
    member.close().await?;
    Ok(())
}
