//! DescribeTransactions, ListTransactions, DescribeProducers, WriteTxnMarkers (KIP-664).

use crate::ask::{fetch, from, produce, topic};
use crate::records::sequenced;
use crate::side::{Side, all_versions};
use crate::transact::{Producer, adding, adding_offsets, end, producer, writing};
use ottla_model::{Str, Uuid};
use ottla_protocol::describe_producers_request::TopicRequest;
use ottla_protocol::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use ottla_protocol::*;

fn describing(names: &[&str]) -> DescribeTransactionsRequest {
    DescribeTransactionsRequest {
        transactional_ids: names.iter().map(|name| Str::from(*name)).collect(),
        ..Default::default()
    }
}

/// One transactional id through its states, and names that are none.
pub async fn describe(side: &mut Side) {
    let a = topic(side, "a", 3, &[]).await;
    let b = topic(side, "b", 1, &[]).await;
    let group = crate::cases::groups::found(side, "g").await;
    let mut it = producer(side, "t").await;
    let other = producer(side, "other").await;
    let unknown = side.name("unknown");
    for version in all_versions::<DescribeTransactionsRequest>() {
        let name = it.name.clone();
        side.ask("empty", version, &describing(&[&name])).await;
        side.ask("none", version, &describing(&[])).await;
        side.ask("unknown", version, &describing(&[&unknown])).await;
        side.ask("no name", version, &describing(&[""])).await;
        side.ask("twice", version, &describing(&[&name, &name])).await;
        side.ask("several", version, &describing(&[&other.name, &unknown, &name, ""])).await;
        side.quiet(3, &adding(3, &it, &[(&b, &[0]), (&a, &[2, 0])], false)).await;
        side.ask("added", version, &describing(&[&name])).await;
        side.quiet(3, &adding_offsets(&it, &group)).await;
        let mut described = side.quiet(version, &describing(&[&name])).await;
        for topic in described.transaction_states.iter_mut().flat_map(|state| &mut state.topics) {
            // Which partition a group has depends on its name alone, but both brokers have 50 of them.
            topic.partitions.sort_unstable();
        }
        side.note("with offsets", &described);
        end(side, "commits", 4, &mut it, true).await;
        side.ask("committed", version, &describing(&[&name])).await;
        side.quiet(12, &writing(&it, &a, 1, 0, &["v2"])).await;
        side.ask("implicitly added", version, &describing(&[&name])).await;
        end(side, "aborts", 5, &mut it, false).await;
        side.ask("aborted", version, &describing(&[&name])).await;
    }
}

/// ListTransactions with all of its filters.
pub async fn list(side: &mut Side) {
    let a = topic(side, "a", 1, &[]).await;
    let mut committed = producer(side, "committed").await;
    let mut aborted = producer(side, "aborted").await;
    let ongoing = producer(side, "ongoing").await;
    let empty = producer(side, "empty").await;
    for it in [&committed, &aborted, &ongoing] {
        side.quiet(3, &adding(3, it, &[(&a, &[0])], false)).await;
    }
    end(side, "commits", 4, &mut committed, true).await;
    end(side, "aborts", 4, &mut aborted, false).await;
    // The filter by duration asks for more than a number of milliseconds.
    crate::ask::pause(side).await;
    for version in all_versions::<ListTransactionsRequest>() {
        side.ask_all("all", version, &ListTransactionsRequest::default()).await;
        let states: [&[&str]; 10] = [
            &["Ongoing"],
            &["Empty", "CompleteCommit"],
            &["CompleteAbort"],
            &["PrepareCommit", "PrepareAbort", "Dead", "PrepareEpochFence"],
            &["ongoing"],
            &["Nonsense"],
            &["Nonsense", "Ongoing"],
            &["Nonsense", "Nonsense", "Other"],
            &[""],
            &["Ongoing", "Ongoing"],
        ];
        for states in states {
            let state_filters = states.iter().map(|state| Str::from(*state)).collect();
            let request = ListTransactionsRequest { state_filters, ..Default::default() };
            side.ask_all(&format!("states {states:?}"), version, &request).await;
        }
        for (label, ids) in [
            ("its own", vec![ongoing.id]),
            ("two", vec![ongoing.id, empty.id]),
            ("unknown", vec![-1]),
            ("known and unknown", vec![i64::MAX, committed.id]),
        ] {
            let request = ListTransactionsRequest { producer_id_filters: ids.clone(), ..Default::default() };
            side.ask_all(&format!("producer {label}"), version, &request).await;
            let state_filters = vec!["Ongoing".into()];
            let request = ListTransactionsRequest { state_filters, producer_id_filters: ids, ..Default::default() };
            side.ask_all(&format!("ongoing producer {label}"), version, &request).await;
        }
        if version >= 1 {
            for duration_filter in [-2, -1, 0, 10, 100_000_000, i64::MAX] {
                let request = ListTransactionsRequest { duration_filter, ..Default::default() };
                side.ask_all(&format!("longer than {duration_filter}"), version, &request).await;
            }
        }
        if version >= 2 {
            let name = &ongoing.name;
            let half = &name[..name.len() / 2];
            for (label, pattern) in [
                ("whole", name.clone()),
                ("half", half.to_owned()),
                ("prefix", format!("{half}.*")),
                ("a class", format!("{half}[a-z0-9-]+ing")),
                ("alternatives", format!("{name}|{}", empty.name)),
                ("anchors", format!("^{name}$")),
                ("anything", ".*".to_owned()),
                ("empty", String::new()),
                ("not closed", "(".to_owned()),
                ("nothing to repeat", "*".to_owned()),
                ("a class not closed", "[a".to_owned()),
                ("a backslash", "\\".to_owned()),
            ] {
                let transactional_id_pattern = Some(Str::from(pattern.as_str()));
                let request = ListTransactionsRequest { transactional_id_pattern, ..Default::default() };
                side.ask_all(&format!("pattern {label}"), version, &request).await;
            }
        }
    }
    let mut ongoing = ongoing;
    end(side, "the end", 4, &mut ongoing, false).await;
}

fn producers_of(topics: &[(&str, &[i32])]) -> DescribeProducersRequest {
    let topics = topics.iter().map(|(name, partitions)| TopicRequest {
        name: (*name).into(),
        partition_indexes: partitions.to_vec(),
        ..Default::default()
    });
    DescribeProducersRequest { topics: topics.collect(), ..Default::default() }
}

/// The producers of a partition, idempotent and transactional.
pub async fn producers(side: &mut Side) {
    let a = topic(side, "a", 2, &[]).await;
    let unknown = side.name("unknown");
    let mut it = producer(side, "t").await;
    let plain = crate::transact::initialising(None, 1_000, -1, -1);
    for version in all_versions::<DescribeProducersRequest>() {
        side.ask("nobody", version, &producers_of(&[(&a.0, &[0, 1])])).await;
        let idempotent = side.ask("its id", 4, &plain).await.producer_id;
        side.quiet(11, &produce(&a, 0, Some(sequenced(idempotent, 0, 0, &["a", "b"])))).await;
        side.ask("idempotent", version, &producers_of(&[(&a.0, &[0, 1])])).await;
        side.quiet(12, &writing(&it, &a, 0, 0, &["c"])).await;
        side.quiet(12, &writing(&it, &a, 0, 1, &["d", "e"])).await;
        side.ask("open", version, &producers_of(&[(&a.0, &[0, 1])])).await;
        end(side, "commits", 5, &mut it, true).await;
        side.ask("committed", version, &producers_of(&[(&a.0, &[0, 1])])).await;
        side.ask("unknown", version, &producers_of(&[(&unknown, &[0, 1]), (&a.0, &[7, -1, 0])])).await;
        side.ask("twice", version, &producers_of(&[(&a.0, &[0, 0]), (&a.0, &[0])])).await;
        for name in ["", "a b", "..", "ä"] {
            side.ask(&format!("name {name:?}"), version, &producers_of(&[(name, &[0])])).await;
        }
        side.ask("no partition", version, &producers_of(&[(&a.0, &[])])).await;
        side.ask("nothing", version, &producers_of(&[])).await;
    }
}

fn marking(of: &Producer, commits: bool, coordinator_epoch: i32, topics: &[(&str, &[i32])]) -> WriteTxnMarkersRequest {
    let topics = topics.iter().map(|(name, partitions)| WritableTxnMarkerTopic {
        name: (*name).into(),
        partition_indexes: partitions.to_vec(),
        ..Default::default()
    });
    let marker = WritableTxnMarker {
        producer_id: of.id,
        producer_epoch: of.epoch,
        transaction_result: commits,
        topics: topics.collect(),
        coordinator_epoch,
        ..Default::default()
    };
    WriteTxnMarkersRequest { markers: vec![marker], ..Default::default() }
}

/// An admin ends transactions that hang.
pub async fn markers(side: &mut Side) {
    let a = topic(side, "a", 3, &[]).await;
    let unknown = (side.name("unknown"), Uuid::ZERO);
    for version in all_versions::<WriteTxnMarkersRequest>() {
        let it = producer(side, &format!("t{version}")).await;
        side.quiet(3, &adding(3, &it, &[(&a, &[0, 1])], false)).await;
        side.ask("writes", 11, &writing(&it, &a, 0, 0, &["a"])).await;
        side.ask("writes", 11, &writing(&it, &a, 1, 0, &["b"])).await;
        let old = Producer { epoch: it.epoch - 1, ..it.clone() };
        side.ask("an old epoch", version, &marking(&old, false, 0, &[(&a.0, &[0])])).await;
        side.ask("one", version, &marking(&it, false, 0, &[(&a.0, &[0])])).await;
        side.ask("one again", version, &marking(&it, false, 0, &[(&a.0, &[0])])).await;
        side.ask("an older coordinator", version, &marking(&it, false, -1, &[(&a.0, &[1])])).await;
        side.ask("unknown", version, &marking(&it, true, 0, &[(&unknown.0, &[0]), (&a.0, &[9, 1])])).await;
        let nobody = Producer { id: it.id + 90_000, epoch: 3, ..it.clone() };
        side.ask("a producer that nobody knows", version, &marking(&nobody, false, 0, &[(&a.0, &[2])])).await;
        let mut several = marking(&it, false, 5, &[(&a.0, &[0])]);
        several.markers.extend(marking(&nobody, true, 5, &[(&a.0, &[1])]).markers);
        side.ask("a newer coordinator", version, &several).await;
        side.ask("an older one then", version, &marking(&it, false, 4, &[(&a.0, &[0])])).await;
        side.ask("none", version, &WriteTxnMarkersRequest::default()).await;
        let read = fetch(&a, vec![from(0, 0), from(1, 0), from(2, 0)]);
        side.ask("what is there", 12, &FetchRequest { isolation_level: 1, ..read }).await;
    }
}
