//! Members of groups: who gets what when they come, go, stall and return.

use super::groups::{QUICK, append, count, fair, filled, leave_all, settle};
use super::scenarios;
use crate::context::{Consumer, Context, Outcome};
use crate::protocol::consumer::{Event, Incoming};
use crate::protocol::producer::Outgoing;
use crate::protocol::{AdminCommand, ConsumerCommand, Each, Partition, Reply};
use crate::{check, same};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

scenarios! { "membership":
    one_member_reads_all [Groups];
    two_members_share [Groups];
    a_member_leaves_and_the_rest_take_over [Groups];
    more_members_than_partitions [Groups];
    @calm max_poll_interval [Groups];
    @calm a_lost_member_is_replaced [Groups];
    @calm static_member_comes_back [Groups, StaticMembership];
    @calm static_member_is_fenced [Groups, StaticMembership];
    cooperative_keeps_what_stays [Groups, Cooperative];
    every_assignor [Groups];
    each_record_once_while_members_change [Groups];
    members_and_states_are_described [Groups, GroupAdmin];
    @calm members_are_removed [Groups, GroupAdmin, StaticMembership];
}

/// A lone member has every partition and hears so once.
async fn one_member_reads_all(cx: Context) -> Outcome {
    let topic = filled(&cx, "alone", 4, 10).await?;
    let member = cx.member(&cx.name("g"), &[]).await?;
    member.subscribe(&topic).await?;
    let polled = member.poll_until("all records", |all| all.records.len() >= 40).await?;
    same!(polled.records.len(), 40, "the records");
    let all: Vec<Partition> = (0..4).map(|partition| Partition::new(&topic, partition)).collect();
    same!(member.assignment().await?, all, "the assignment");
    check!(polled.events.contains(&Event::Assigned(all)), "the listener heard {:?}", polled.events);
    let group = member.group().await?;
    same!(group.group, cx.name("g"), "the group");
    check!(group.generation >= 1 && !group.member.is_empty(), "no membership: {group:?}");
    let last = member.close().await?;
    check!(last.iter().any(|event| matches!(event, Event::Revoked(_))), "nothing was revoked at the end: {last:?}");
    Ok(())
}

/// Two members each have half, and together see everything.
async fn two_members_share(cx: Context) -> Outcome {
    let topic = cx.topic("shared", 6).await?;
    let (one, two) = (cx.member(&cx.name("g"), &QUICK).await?, cx.member(&cx.name("g"), &QUICK).await?);
    one.subscribe(&topic).await?;
    two.subscribe(&topic).await?;
    settle(&cx, &[&one, &two], "two halves", |it| fair(it, 6)).await?;
    append(&cx, &topic, 6, 0..10).await?;
    let mut records = Vec::new();
    let end = cx.env().monotonic() + Duration::from_secs(20);
    while records.len() < 60 && cx.env().monotonic() < end {
        records.extend(one.poll(100).await?.records);
        records.extend(two.poll(100).await?.records);
    }
    let counts = count(&records);
    check!(counts.len() == 60 && counts.values().all(|n| *n == 1), "{} of 60 records: {counts:?}", records.len());
    leave_all(&[&one, &two]).await
}

/// Who leaves gives its partitions back at once, not after a session timeout.
async fn a_member_leaves_and_the_rest_take_over(cx: Context) -> Outcome {
    let topic = cx.topic("leaves", 4).await?;
    let slow = [("session.timeout.ms", "60000"), ("heartbeat.interval.ms", "500")];
    let (stays, goes) = (cx.member(&cx.name("g"), &slow).await?, cx.member(&cx.name("g"), &slow).await?);
    stays.subscribe(&topic).await?;
    goes.subscribe(&topic).await?;
    settle(&cx, &[&stays, &goes], "two halves", |it| fair(it, 4)).await?;
    let begin = stays.group().await?.generation;
    goes.close().await?;
    settle(&cx, &[&stays], "everything for the one that stays", |it| fair(it, 4)).await?;
    check!(stays.group().await?.generation > begin, "the generation did not go up");
    leave_all(&[&stays]).await
}

/// A member too many waits without partitions, and steps in.
async fn more_members_than_partitions(cx: Context) -> Outcome {
    let topic = filled(&cx, "few", 2, 5).await?;
    let group = cx.name("g");
    let members =
        [cx.member(&group, &QUICK).await?, cx.member(&group, &QUICK).await?, cx.member(&group, &QUICK).await?];
    for member in &members {
        member.subscribe(&topic).await?;
    }
    let all: Vec<&Consumer> = members.iter().collect();
    settle(&cx, &all, "one partition for two of three", |it| fair(it, 2)).await?;
    let mut idle = None;
    for (i, member) in members.iter().enumerate() {
        if member.assignment().await?.is_empty() {
            idle = Some(i);
        }
    }
    let idle = idle.ok_or("nobody is without partitions")?;
    let rest: Vec<&Consumer> = (0..3).filter(|i| *i != (idle + 1) % 3).map(|i| &members[i]).collect();
    members[(idle + 1) % 3].close().await?;
    settle(&cx, &rest, "the idle member has a partition", |it| fair(it, 2)).await?;
    leave_all(&rest).await
}

/// Who does not poll for max.poll.interval.ms leaves the group, and joins again with the next poll.
async fn max_poll_interval(cx: Context) -> Outcome {
    let topic = cx.topic("max-poll", 2).await?;
    let group = cx.name("g");
    let configs = [("session.timeout.ms", "30000"), ("max.poll.interval.ms", "2000"), ("heartbeat.interval.ms", "300")];
    let stalls = cx.member(&group, &configs).await?;
    let polls = cx.member(&group, &QUICK).await?;
    stalls.subscribe(&topic).await?;
    polls.subscribe(&topic).await?;
    settle(&cx, &[&stalls, &polls], "two halves", |it| fair(it, 2)).await?;
    settle(&cx, &[&polls], "everything for the one that polls", |it| fair(it, 2)).await?;
    let mut lost = Vec::new();
    let end = cx.env().monotonic() + Duration::from_secs(30);
    while !fair(&[stalls.assignment().await?, polls.assignment().await?], 2) {
        lost.extend(stalls.poll(100).await?.events);
        polls.poll(100).await?;
        check!(cx.env().monotonic() < end, "the member that stalled does not come back");
    }
    check!(lost.iter().any(|it| matches!(it, Event::Lost(_))), "the listener did not hear of the loss: {lost:?}");
    leave_all(&[&stalls, &polls]).await
}

/// A member whose heartbeats end is replaced after session.timeout.ms.
async fn a_lost_member_is_replaced(cx: Context) -> Outcome {
    let topic = cx.topic("lost", 2).await?;
    let group = cx.name("g");
    let configs = [("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "500"), ("max.poll.interval.ms", "60000")];
    let (gone, stays) = (cx.member(&group, &configs).await?, cx.member(&group, &QUICK).await?);
    gone.subscribe(&topic).await?;
    stays.subscribe(&topic).await?;
    settle(&cx, &[&gone, &stays], "two halves", |it| fair(it, 2)).await?;
    // Closed without leaving: for the group it is lost.
    gone.ask(ConsumerCommand::Close { timeout_ms: 5000, leave: Some(false) }).await?;
    settle(&cx, &[&stays], "everything for the one that stays", |it| fair(it, 2)).await?;
    leave_all(&[&stays]).await
}

/// A static member that restarts within its session has its partitions back without a rebalance (KIP-345).
async fn static_member_comes_back(cx: Context) -> Outcome {
    let topic = cx.topic("static", 4).await?;
    let group = cx.name("g");
    let one = cx.member(&group, &[("group.instance.id", "one"), ("session.timeout.ms", "30000")]).await?;
    let two = cx.member(&group, &[("group.instance.id", "two"), ("session.timeout.ms", "30000")]).await?;
    one.subscribe(&topic).await?;
    two.subscribe(&topic).await?;
    settle(&cx, &[&one, &two], "two halves", |it| fair(it, 4)).await?;
    let (had, before) = (one.assignment().await?, two.group().await?);
    same!(one.group().await?.instance.as_deref(), Some("one"), "group.instance.id");
    one.close().await?;
    let again = cx.member(&group, &[("group.instance.id", "one"), ("session.timeout.ms", "30000")]).await?;
    again.subscribe(&topic).await?;
    settle(&cx, &[&again, &two], "two halves again", |it| fair(it, 4)).await?;
    same!(again.assignment().await?, had, "the partitions of the member that came back");
    same!(two.group().await?.generation, before.generation, "the generation, as nothing was rebalanced");
    leave_all(&[&again, &two]).await
}

/// A second member of the same instance id fences the first.
async fn static_member_is_fenced(cx: Context) -> Outcome {
    let topic = filled(&cx, "fenced", 1, 5).await?;
    let group = cx.name("g");
    let configs = [("group.instance.id", "one"), ("heartbeat.interval.ms", "300"), ("session.timeout.ms", "6000")];
    let old = cx.member(&group, &configs).await?;
    old.subscribe(&topic).await?;
    old.read(5).await?;
    let new = cx.member(&group, &configs).await?;
    new.subscribe(&topic).await?;
    new.read(5).await?;
    let end = cx.env().monotonic() + Duration::from_secs(20);
    let failure = loop {
        match old.ask(ConsumerCommand::Poll { timeout_ms: 200 }).await {
            Err(failure) => break failure,
            Ok(_) => check!(cx.env().monotonic() < end, "the first instance goes on polling"),
        }
    };
    check!(failure.is("FENCED_INSTANCE_ID"), "expected FENCED_INSTANCE_ID, found {failure}");
    old.ask(ConsumerCommand::Close { timeout_ms: 5000, leave: None }).await.ok();
    leave_all(&[&new]).await
}

/// Cooperative rebalancing takes from a member only what others get (KIP-429).
async fn cooperative_keeps_what_stays(cx: Context) -> Outcome {
    let topic = cx.topic("cooperative", 4).await?;
    let group = cx.name("g");
    let strategy = "org.apache.kafka.clients.consumer.CooperativeStickyAssignor";
    let configs = [("partition.assignment.strategy", strategy), QUICK[0], QUICK[1]];
    let (one, two) = (cx.member(&group, &configs).await?, cx.member(&group, &configs).await?);
    one.subscribe(&topic).await?;
    settle(&cx, &[&one], "everything for the first", |it| fair(it, 4)).await?;
    two.subscribe(&topic).await?;
    let end = cx.env().monotonic() + Duration::from_secs(30);
    let mut events = Vec::new();
    while !fair(&[one.assignment().await?, two.assignment().await?], 4) {
        events.extend(one.poll(100).await?.events);
        two.poll(100).await?;
        check!(one.assignment().await?.len() >= 2, "the first member lost partitions that it was to keep");
        check!(cx.env().monotonic() < end, "the second member got nothing");
    }
    let revoked: Vec<Partition> = events
        .iter()
        .flat_map(|event| match event {
            Event::Revoked(partitions) => partitions.clone(),
            _ => Vec::new(),
        })
        .collect();
    same!(revoked.len(), 2, "the partitions taken from the first member");
    let both: BTreeSet<Partition> = one.assignment().await?.into_iter().chain(revoked).collect();
    same!(both.len(), 4, "what it kept and what it gave");
    leave_all(&[&one, &two]).await
}

/// Each of Kafka's assignors gives every partition to one member.
async fn every_assignor(cx: Context) -> Outcome {
    let topic = cx.topic("assignors", 5).await?;
    for assignor in ["Range", "RoundRobin", "Sticky", "CooperativeSticky"] {
        let strategy = format!("org.apache.kafka.clients.consumer.{assignor}Assignor");
        let configs = [("partition.assignment.strategy", strategy.as_str()), QUICK[0], QUICK[1]];
        let group = cx.name(assignor);
        let (one, two) = (cx.member(&group, &configs).await?, cx.member(&group, &configs).await?);
        one.subscribe(&topic).await?;
        two.subscribe(&topic).await?;
        settle(&cx, &[&one, &two], assignor, |it| fair(it, 5)).await?;
        leave_all(&[&one, &two]).await?;
    }
    Ok(())
}

/// Members that commit after each poll, coming and going while records are written: each record is read once.
async fn each_record_once_while_members_change(cx: Context) -> Outcome {
    let topic = cx.topic("once", 6).await?;
    let group = cx.name("g");
    let producer = cx.producer(&[]).await?;
    let mut members: Vec<Consumer> = Vec::new();
    let mut counts: BTreeMap<(i32, String), usize> = BTreeMap::new();
    let mut take = |records: &[Incoming]| {
        for (key, n) in count(records) {
            *counts.entry(key).or_insert(0) += n;
        }
    };
    for round in 0..6 {
        if round < 3 {
            let member = cx.member(&group, &QUICK).await?;
            let topics = vec![topic.clone()];
            member.ask(ConsumerCommand::Subscribe { topics, commit_on_revoke: true }).await?;
            members.push(member);
        } else if members.len() > 1 {
            let gone = members.remove(0);
            gone.close().await?;
        }
        let all: Vec<&Consumer> = members.iter().collect();
        take(&settle(&cx, &all, "everybody has a share", |it| fair(it, 6)).await?);
        producer.write((0..60).map(|i| Outgoing::value(&topic, format!("{round} {i}")).to(i % 6)).collect()).await?;
        let mut seen = 0;
        let end = cx.env().monotonic() + Duration::from_secs(20);
        while seen < 60 {
            for member in &members {
                let records = member.poll(50).await?.records;
                seen += records.len();
                take(&records);
                if !records.is_empty() {
                    member.commit().await?;
                }
            }
            check!(cx.env().monotonic() < end, "round {round}: {seen} of 60 records came");
        }
    }
    let doubled: Vec<_> = counts.iter().filter(|(_, n)| **n > 1).take(3).collect();
    check!(counts.len() == 360 && doubled.is_empty(), "{} of 360 records, twice: {doubled:?}", counts.len());
    producer.close().await?;
    leave_all(&members.iter().collect::<Vec<_>>()).await
}

/// Admin sees groups, their states and members, and deletes empty ones only.
async fn members_and_states_are_described(cx: Context) -> Outcome {
    let topic = cx.topic("described", 2).await?;
    let group = cx.name("g");
    let admin = cx.admin().await?;
    let member = cx.member(&group, &[("client.id", "a-client"), ("group.instance.id", "an-instance")]).await?;
    member.subscribe(&topic).await?;
    settle(&cx, &[&member], "the assignment", |it| it[0].len() == 2).await?;
    let described = admin.group(&group).await?;
    same!((described.state.as_str(), described.assignor.as_str()), ("Stable", "range"), "state and assignor");
    same!(described.members.len(), 1, "the number of members");
    let told = &described.members[0];
    same!((told.client.as_str(), told.instance.as_deref()), ("a-client", Some("an-instance")), "the member");
    same!(told.assignment, member.assignment().await?, "what the member has");
    same!(told.member, member.group().await?.member, "the member's id");
    let Reply::Groups(groups) = admin.ask(AdminCommand::ListGroups).await? else { return Err("no groups".into()) };
    let listed = groups.iter().find(|it| it.group == group).ok_or("the list of groups lacks it")?;
    same!((listed.protocol.as_str(), listed.state.as_str()), ("consumer", "Stable"), "the listing");
    let delete = || AdminCommand::DeleteGroups { groups: vec![group.clone()] };
    let refused = admin.results(delete()).await?;
    check!(matches!(&refused[0], Each::Error(it) if it.is("NON_EMPTY_GROUP")), "{refused:?}");
    member.ask(ConsumerCommand::Close { timeout_ms: 5000, leave: Some(true) }).await?;
    cx.eventually("the empty group", || async { Ok((admin.group(&group).await?.state == "Empty").then_some(())) })
        .await?;
    admin.results(delete()).await?;
    let gone = admin.results(delete()).await?;
    check!(matches!(&gone[0], Each::Error(it) if it.is("GROUP_ID_NOT_FOUND")), "{gone:?}");
    admin.close().await
}

/// Admin removes a static member, whose partitions go to the others.
async fn members_are_removed(cx: Context) -> Outcome {
    let topic = cx.topic("removed", 2).await?;
    let group = cx.name("g");
    let slow = |id| [("group.instance.id", id), ("session.timeout.ms", "60000"), ("heartbeat.interval.ms", "300")];
    let (one, two) = (cx.member(&group, &slow("one")).await?, cx.member(&group, &slow("two")).await?);
    one.subscribe(&topic).await?;
    two.subscribe(&topic).await?;
    settle(&cx, &[&one, &two], "two halves", |it| fair(it, 2)).await?;
    // A static member stays in the group when it is closed.
    one.close().await?;
    let admin = cx.admin().await?;
    same!(admin.group(&group).await?.members.len(), 2, "the members after one was closed");
    admin.ask(AdminCommand::RemoveMembers { group: group.clone(), instances: vec!["one".to_owned()] }).await?;
    settle(&cx, &[&two], "everything for the other", |it| fair(it, 2)).await?;
    same!(admin.group(&group).await?.members.len(), 1, "the members after the removal");
    admin.close().await?;
    leave_all(&[&two]).await
}
