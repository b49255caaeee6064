//! The consumer protocol of KIP-848: the broker assigns, members follow.

use super::groups::{append, fair, filled, leave_all, settle};
use super::scenarios;
use crate::context::{Consumer, Context, Outcome};
use crate::protocol::ConsumerCommand;
use crate::protocol::consumer::Event;
use crate::{check, same};

scenarios! { "kip848":
    one_member_reads_all [ConsumerProtocol];
    members_share_and_take_over [ConsumerProtocol];
    what_stays_is_not_revoked [ConsumerProtocol];
    commits_are_kept [ConsumerProtocol];
    both_remote_assignors [ConsumerProtocol];
    a_static_member_comes_back [ConsumerProtocol];
    a_pattern_of_the_broker [ConsumerProtocol];
    both_protocols_in_one_group [ConsumerProtocol, Groups];
}

async fn member(cx: &Context, group: &str, configs: &[(&str, &str)]) -> Outcome<Consumer> {
    let mut all = vec![("group.protocol", "consumer")];
    all.extend_from_slice(configs);
    cx.member(&cx.name(group), &all).await
}

/// A lone member has all partitions, and an epoch.
async fn one_member_reads_all(cx: Context) -> Outcome {
    let topic = filled(&cx, "alone", 3, 10).await?;
    let member = member(&cx, "g", &[]).await?;
    member.subscribe(&topic).await?;
    let polled = member.poll_until("all records", |all| all.records.len() >= 30).await?;
    same!(polled.records.len(), 30, "the records");
    check!(polled.events.iter().any(|it| matches!(it, Event::Assigned(_))), "nobody heard: {:?}", polled.events);
    let group = member.group().await?;
    check!(group.generation >= 1 && !group.member.is_empty(), "no membership: {group:?}");
    member.close().await?;
    Ok(())
}

/// Three members share; those that stay take over what a leaving one had.
async fn members_share_and_take_over(cx: Context) -> Outcome {
    let topic = cx.topic("shared", 6).await?;
    let members = [member(&cx, "g", &[]).await?, member(&cx, "g", &[]).await?, member(&cx, "g", &[]).await?];
    for member in &members {
        member.subscribe(&topic).await?;
    }
    settle(&cx, &members.iter().collect::<Vec<_>>(), "three thirds", |it| fair(it, 6)).await?;
    members[0].close().await?;
    let rest = [&members[1], &members[2]];
    settle(&cx, &rest, "two halves", |it| fair(it, 6)).await?;
    append(&cx, &topic, 6, 0..5).await?;
    let mut seen = 0;
    while seen < 30 {
        for member in rest {
            seen += member.poll(200).await?.records.len();
        }
    }
    same!(seen, 30, "the records of both");
    leave_all(&rest).await
}

/// A second member takes only what it gets from the first.
async fn what_stays_is_not_revoked(cx: Context) -> Outcome {
    let topic = cx.topic("stays", 4).await?;
    let (one, two) = (member(&cx, "g", &[]).await?, member(&cx, "g", &[]).await?);
    one.subscribe(&topic).await?;
    settle(&cx, &[&one], "everything for the first", |it| fair(it, 4)).await?;
    two.subscribe(&topic).await?;
    let end = cx.env().monotonic() + std::time::Duration::from_secs(30);
    let mut revoked = 0;
    while !fair(&[one.assignment().await?, two.assignment().await?], 4) {
        for event in one.poll(100).await?.events {
            if let Event::Revoked(partitions) = event {
                revoked += partitions.len();
            }
        }
        two.poll(100).await?;
        check!(cx.env().monotonic() < end, "the second member got nothing");
    }
    same!(revoked, 2, "the partitions taken from the first member");
    leave_all(&[&one, &two]).await
}

/// The next member begins where the last one committed.
async fn commits_are_kept(cx: Context) -> Outcome {
    let topic = filled(&cx, "commits", 2, 10).await?;
    let first = member(&cx, "g", &[]).await?;
    first.subscribe(&topic).await?;
    first.read(20).await?;
    first.commit().await?;
    first.close().await?;
    append(&cx, &topic, 2, 10..12).await?;
    let second = member(&cx, "g", &[]).await?;
    second.subscribe(&topic).await?;
    same!(second.read(4).await?.iter().map(|it| it.offset).min(), Some(10), "the first offset of the second member");
    second.close().await?;
    Ok(())
}

/// group.remote.assignor names who assigns.
async fn both_remote_assignors(cx: Context) -> Outcome {
    let topic = cx.topic("assignors", 4).await?;
    for assignor in ["uniform", "range"] {
        let configs = [("group.remote.assignor", assignor)];
        let (one, two) = (member(&cx, assignor, &configs).await?, member(&cx, assignor, &configs).await?);
        one.subscribe(&topic).await?;
        two.subscribe(&topic).await?;
        settle(&cx, &[&one, &two], assignor, |it| fair(it, 4)).await?;
        leave_all(&[&one, &two]).await?;
    }
    Ok(())
}

/// A static member that restarts has its partitions back.
async fn a_static_member_comes_back(cx: Context) -> Outcome {
    let topic = cx.topic("static", 4).await?;
    let one = member(&cx, "g", &[("group.instance.id", "one")]).await?;
    let two = member(&cx, "g", &[("group.instance.id", "two")]).await?;
    one.subscribe(&topic).await?;
    two.subscribe(&topic).await?;
    settle(&cx, &[&one, &two], "two halves", |it| fair(it, 4)).await?;
    let had = one.assignment().await?;
    one.close().await?;
    let again = member(&cx, "g", &[("group.instance.id", "one")]).await?;
    again.subscribe(&topic).await?;
    settle(&cx, &[&again, &two], "two halves again", |it| fair(it, 4)).await?;
    same!(again.assignment().await?, had, "the partitions of the member that came back");
    leave_all(&[&again, &two]).await
}

/// The broker matches a regular expression, of topics that come later as well.
async fn a_pattern_of_the_broker(cx: Context) -> Outcome {
    let one = filled(&cx, "pattern.1", 1, 3).await?;
    filled(&cx, "other.1", 1, 3).await?;
    let member = member(&cx, "g", &[]).await?;
    let pattern = format!("{}\\.[0-9]", cx.name("pattern").replace('.', "\\."));
    member.ask(ConsumerCommand::SubscribePattern { pattern }).await?;
    let read = member.read(3).await?;
    check!(read.iter().all(|record| record.topic == one), "records of other topics: {read:?}");
    member.close().await?;
    Ok(())
}

/// A classic member and one of the new protocol share a group (KIP-848's migration).
async fn both_protocols_in_one_group(cx: Context) -> Outcome {
    let topic = cx.topic("migration", 4).await?;
    let new = member(&cx, "g", &[]).await?;
    new.subscribe(&topic).await?;
    settle(&cx, &[&new], "everything for the first", |it| fair(it, 4)).await?;
    let quick = [("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "500")];
    let classic = cx.member(&cx.name("g"), &quick).await?;
    classic.subscribe(&topic).await?;
    settle(&cx, &[&new, &classic], "two halves", |it| fair(it, 4)).await?;
    leave_all(&[&classic, &new]).await
}
