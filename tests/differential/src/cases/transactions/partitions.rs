//! AddPartitionsToTxn, from producers and from brokers, and Produce inside and outside of transactions.

use crate::ask::{fetch, from, produce, topic};
use crate::records::{EPOCH_MS, batch_at, sequenced};
use crate::side::{Side, all_versions};
use crate::transact::{Producer, adding, at_rest, batch, end, initialising, producer, writing};
use bytes::Bytes;
use ottla_model::Uuid;
use ottla_model::record_batch::BatchOptions;
use ottla_protocol::*;

/// Partitions of topics.
type Parts<'a> = &'a [(&'a (String, Uuid), &'a [i32])];

/// AddPartitionsToTxn.
pub async fn add(side: &mut Side) {
    let a = topic(side, "a", 3, &[]).await;
    let b = topic(side, "b", 1, &[]).await;
    let unknown = (side.name("unknown"), Uuid([7; 16]));
    let none = (String::new(), Uuid::ZERO);
    for version in all_versions::<AddPartitionsToTxnRequest>() {
        let mut it = producer(side, &format!("t{version}")).await;
        let tries = |it: &Producer| {
            let wrong = |id: i64, epoch: i16| Producer { name: it.name.clone(), id, epoch };
            vec![
                ("its own", it.clone()),
                ("an old epoch", wrong(it.id, it.epoch - 1)),
                ("a new epoch", wrong(it.id, it.epoch + 1)),
                ("another id", wrong(it.id + 90_000, it.epoch)),
                ("no producer", wrong(-1, -1)),
                ("an empty name", Producer { name: String::new(), ..it.clone() }),
                ("an unknown name", Producer { name: format!("{}-unknown", it.name), ..it.clone() }),
            ]
        };
        let verifies: &[bool] = if version >= 4 { &[true, false] } else { &[false] };
        for round in ["nothing begun", "begun"] {
            for &verify in verifies {
                for (who, of) in tries(&it) {
                    if round == "nothing begun" && who == "its own" && !verify {
                        continue;
                    }
                    let label = format!("{round}, verify {verify}, {who}");
                    side.ask(&label, version, &adding(version, &of, &[(&a, &[0])], verify)).await;
                    let label = format!("{label}, a topic that is none");
                    side.ask(&label, version, &adding(version, &of, &[(&unknown, &[0]), (&a, &[0])], verify)).await;
                }
                let shapes: [(&str, Parts<'_>); 8] = [
                    ("nothing", &[]),
                    ("no partition", &[(&a, &[])]),
                    ("a partition twice", &[(&a, &[1, 1])]),
                    ("a topic twice", &[(&a, &[1]), (&a, &[0])]),
                    ("partitions that are none", &[(&a, &[1, 7, -1]), (&b, &[0])]),
                    ("no topic", &[(&none, &[0])]),
                    ("a topic that is none", &[(&b, &[0]), (&unknown, &[0, 1])]),
                    ("several", &[(&a, &[0, 2]), (&b, &[0])]),
                ];
                for (what, topics) in shapes {
                    if round == "nothing begun" && !verify {
                        continue;
                    }
                    let label = format!("{round}, verify {verify}, {what}");
                    side.ask(&label, version, &adding(version, &it, topics, verify)).await;
                }
            }
            if round == "nothing begun" {
                side.ask("begins", version, &adding(version, &it, &[(&a, &[0])], false)).await;
            }
        }
        if version >= 4 {
            let other = producer(side, &format!("other{version}")).await;
            let mut several = adding(version, &it, &[(&a, &[0, 1])], true);
            several.transactions.extend(adding(version, &other, &[(&b, &[0])], true).transactions);
            let third = producer(side, &format!("third{version}")).await;
            several.transactions.extend(adding(version, &third, &[(&unknown, &[0])], false).transactions);
            side.ask("several", version, &several).await;
            at_rest(side, &other.name).await;
        }
        end(side, "the end", 4, &mut it, true).await;
        side.ask("the next begins", version, &adding(version, &it, &[(&b, &[0])], false)).await;
    }
}

/// Produce at every version, within transactions of both versions and where there is none.
pub async fn write(side: &mut Side) {
    let a = topic(side, "a", 3, &[]).await;
    for version in all_versions::<ProduceRequest>() {
        // Up to v11 the producer adds the partition; later the broker does (KIP-890).
        let adds_itself = version < 12;
        let ended = if adds_itself { 4 } else { 5 };
        let mut it = producer(side, &format!("t{version}")).await;
        if adds_itself {
            side.ask("without having added", version, &writing(&it, &a, 0, 0, &["x"])).await;
            side.ask("adds", 3, &adding(3, &it, &[(&a, &[0])], false)).await;
        }
        side.ask("first", version, &writing(&it, &a, 0, 0, &["a", "b"])).await;
        side.ask("second", version, &writing(&it, &a, 0, 2, &["c"])).await;
        side.ask("second again", version, &writing(&it, &a, 0, 2, &["c"])).await;
        side.ask("a gap", version, &writing(&it, &a, 0, 9, &["x"])).await;
        side.ask("other partition, not from 0", version, &writing(&it, &a, 1, 5, &["x"])).await;
        side.ask("other partition", version, &writing(&it, &a, 1, 0, &["d"])).await;
        side.ask("no partition", version, &writing(&it, &a, 7, 0, &["d"])).await;
        let wrong = |id: i64, epoch: i16| Producer { name: it.name.clone(), id, epoch };
        for (label, of) in [
            ("an old epoch", wrong(it.id, it.epoch - 1)),
            ("a new epoch", wrong(it.id, it.epoch + 1)),
            ("another id", wrong(it.id + 90_000, it.epoch)),
            ("an unknown name", Producer { name: format!("{}-unknown", it.name), ..it.clone() }),
        ] {
            // Of a partition that they do not write to later: Kafka remembers the sequence of what it refused there.
            side.ask(label, version, &writing(&of, &a, 2, 3, &["x"])).await;
            side.ask(&format!("{label}, sequence 0"), version, &writing(&of, &a, 2, 0, &["x"])).await;
        }
        let unnamed = produce(&a, 0, Some(batch(&it, 3, &["x"])));
        side.ask("without a name", version, &unnamed).await;
        let mut empty = unnamed.clone();
        empty.transactional_id = Some("".into());
        side.ask("an empty name", version, &empty).await;
        let mut plain = produce(&a, 0, Some(sequenced(it.id, it.epoch, 3, &["x"])));
        side.ask("outside of it, without a name", version, &plain).await;
        plain.transactional_id = Some(it.name.as_str().into());
        side.ask("outside of it", version, &plain).await;
        let control = BatchOptions {
            producer_id: it.id,
            producer_epoch: it.epoch,
            base_sequence: 3,
            transactional: true,
            control: true,
            ..Default::default()
        };
        let mut control = produce(&a, 0, Some(batch_at(control, EPOCH_MS, &["x"])));
        control.transactional_id = Some(it.name.as_str().into());
        side.ask("a marker of its own", version, &control).await;
        let two = Bytes::from([batch(&it, 3, &["e"]), batch(&it, 4, &["f"])].concat());
        let mut two = produce(&a, 0, Some(two));
        two.transactional_id = Some(it.name.as_str().into());
        side.ask("two batches", version, &two).await;
        for (acks, values) in [(1, ["g"]), (0, ["h"])] {
            let request = ProduceRequest { acks, ..writing(&it, &a, 0, 3, &values) };
            if acks != 0 {
                side.ask(&format!("acks {acks}"), version, &request).await;
            }
        }
        end(side, "commits", ended, &mut it, true).await;
        if adds_itself {
            side.ask("after the end", version, &writing(&it, &a, 0, 5, &["x"])).await;
            side.ask("adds", 3, &adding(3, &it, &[(&a, &[0])], false)).await;
            side.ask("the next transaction", version, &writing(&it, &a, 0, 5, &["i"])).await;
        } else {
            let before = Producer { epoch: it.epoch - 1, ..it.clone() };
            side.ask("the epoch before", version, &writing(&before, &a, 0, 5, &["x"])).await;
            side.ask("from where it was", version, &writing(&it, &a, 0, 5, &["x"])).await;
            side.ask("the next transaction", version, &writing(&it, &a, 0, 0, &["i"])).await;
        }
        end(side, "aborts", ended, &mut it, false).await;
        let next = side.ask("a new one", 4, &initialising(Some(&it.name), 60_000, -1, -1)).await;
        side.ask("the one before it", version, &writing(&it, &a, 0, 0, &["x"])).await;
        let next = Producer { id: next.producer_id, epoch: next.producer_epoch, ..it };
        if adds_itself {
            side.ask("adds", 3, &adding(3, &next, &[(&a, &[0])], false)).await;
        }
        side.ask("not from 0", version, &writing(&next, &a, 0, 4, &["x"])).await;
        side.ask("from 0", version, &writing(&next, &a, 0, 0, &["j"])).await;
        let read = fetch(&a, vec![from(0, 0), from(1, 0)]);
        side.ask("what is there", 12, &read).await;
        side.ask("what is committed", 12, &FetchRequest { isolation_level: 1, ..read }).await;
        let mut next = next;
        end(side, "the end", ended, &mut next, true).await;
    }
}
