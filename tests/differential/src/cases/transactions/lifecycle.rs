//! InitProducerId with a transactional id, and EndTxn: epochs, fencing, ends repeated and out of place.

use crate::ask::topic;
use crate::side::{Side, all_versions};
use crate::transact::{Producer, adding, at_rest, end, ending, initialising, producer, writing};
use ottla_protocol::*;

/// Who gets which id and epoch, and who is fenced.
pub async fn initialise(side: &mut Side) {
    let a = topic(side, "a", 1, &[]).await;
    for version in all_versions::<InitProducerIdRequest>() {
        let first = producer(side, &format!("t{version}")).await;
        let name = first.name.as_str();
        for timeout in [0, -1, i32::MIN, 900_001, i32::MAX] {
            let request = initialising(Some(name), timeout, -1, -1);
            side.ask(&format!("timeout {timeout}"), version, &request).await;
        }
        for timeout in [1, 900_000] {
            side.ask(&format!("timeout {timeout}"), version, &initialising(Some(name), timeout, -1, -1)).await;
        }
        side.ask("empty id", version, &initialising(Some(""), 60_000, -1, -1)).await;
        side.ask("long id", version, &initialising(Some(&side.name(&"x".repeat(400))), 60_000, -1, -1)).await;
        let now = side.ask("again", version, &initialising(Some(name), 60_000, -1, -1)).await;
        let mut current = Producer { id: now.producer_id, epoch: now.producer_epoch, ..first.clone() };
        let old = Producer { epoch: current.epoch - 1, ..current.clone() };
        for version in [0, 1, 2, 3] {
            side.ask("a fenced one adds", version, &adding(version, &old, &[(&a, &[0])], false)).await;
            side.ask("a fenced one ends", version, &ending(&old, true)).await;
        }
        if version >= 3 {
            // KIP-360: a producer goes on after an error.
            for (label, id, epoch) in [
                ("its own", current.id, current.epoch),
                ("its own, repeated", current.id, current.epoch),
                ("its own, repeated too late", current.id, current.epoch - 1),
                ("a later epoch", current.id, current.epoch + 7),
                ("another id", current.id + 100_000, current.epoch),
                ("an id without an epoch", current.id, -1),
                ("an epoch without an id", -1, current.epoch),
                ("an id below", -5, 3),
            ] {
                let made = side.ask(label, version, &initialising(Some(name), 60_000, id, epoch)).await;
                if made.error_code == 0 {
                    current.epoch = made.producer_epoch;
                }
            }
            let unknown = side.name(&format!("unknown{version}"));
            side.ask("an unknown name with an id", version, &initialising(Some(&unknown), 60_000, 4_000, 5)).await;
        }
        // An open transaction is aborted, and its producer fenced.
        side.ask("adds", 3, &adding(3, &current, &[(&a, &[0])], false)).await;
        side.ask("writes", 11, &writing(&current, &a, 0, 0, &["open"])).await;
        side.ask("while one is open", version, &initialising(Some(name), 60_000, -1, -1)).await;
        at_rest(side, name).await;
        side.ask("the fenced one writes", 11, &writing(&current, &a, 0, 1, &["late"])).await;
        for version in all_versions::<EndTxnRequest>() {
            side.ask("the fenced one commits", version, &ending(&current, true)).await;
        }
        if version >= 3 {
            // The one whose transaction was aborted goes on, as long as no other has been initialised.
            for (label, epoch) in [("its own", current.epoch), ("before its own", current.epoch - 1)] {
                let request = initialising(Some(name), 60_000, current.id, epoch);
                side.ask(&format!("{label}, once it is aborted"), version, &request).await;
            }
        }
        side.ask("once it is aborted", version, &initialising(Some(name), 60_000, -1, -1)).await;
        if version >= 3 {
            let request = initialising(Some(name), 60_000, current.id, current.epoch);
            side.ask("the fenced one's own", version, &request).await;
        }
    }
}

/// EndTxn at every version from every state.
pub async fn ends(side: &mut Side) {
    let a = topic(side, "a", 2, &[]).await;
    for version in all_versions::<EndTxnRequest>() {
        let mut it = producer(side, &format!("t{version}")).await;
        let produced = if version >= 5 { 12 } else { 11 };
        let mut sequence = 0;
        for committed in [true, false] {
            end(side, &format!("nothing begun, {committed}"), version, &mut it, committed).await;
        }
        for (round, committed) in [true, false, true, true, false].into_iter().enumerate() {
            if version >= 5 {
                // Each end makes a new epoch, and sequences begin again.
                sequence = 0;
            } else {
                side.ask("adds", 3, &adding(3, &it, &[(&a, &[0])], false)).await;
            }
            let before = it.clone();
            side.ask("writes", produced, &writing(&it, &a, 0, sequence, &["a", "b"])).await;
            sequence += 2;
            side.ask("with an old epoch", version, &ending(&Producer { epoch: it.epoch - 1, ..it.clone() }, true))
                .await;
            side.ask("with a new epoch", version, &ending(&Producer { epoch: it.epoch + 1, ..it.clone() }, true)).await;
            side.ask("with another id", version, &ending(&Producer { id: it.id + 90_000, ..it.clone() }, true)).await;
            end(side, &format!("round {round}, {committed}"), version, &mut it, committed).await;
            side.ask("the same again", version, &ending(&before, committed)).await;
            at_rest(side, &it.name).await;
            side.ask("the other again", version, &ending(&before, !committed)).await;
            at_rest(side, &it.name).await;
            side.ask("commits nothing", version, &ending(&it, true)).await;
            at_rest(side, &it.name).await;
            end(side, "aborts nothing", version, &mut it, false).await;
        }
        for committed in [true, false] {
            // A producer that has not heard of the end initialises itself with the epoch that it had.
            let before = it.clone();
            side.ask("adds", 3, &adding(3, &it, &[(&a, &[1])], false)).await;
            end(side, "ends", version, &mut it, committed).await;
            for (label, epoch) in [("before", before.epoch - 1), ("at", before.epoch), ("behind", it.epoch + 1)] {
                let request = initialising(Some(&it.name), 60_000, it.id, epoch);
                let made = side.ask(&format!("goes on from {label} the end"), 4, &request).await;
                if made.error_code == 0 {
                    it.epoch = made.producer_epoch;
                }
            }
        }
        let nobody = Producer { name: side.name("nobody"), ..it.clone() };
        side.ask("an unknown id", version, &ending(&nobody, true)).await;
        side.ask("an empty id", version, &ending(&Producer { name: String::new(), ..it.clone() }, true)).await;
        let unnamed = Producer { id: -1, epoch: -1, ..it.clone() };
        side.ask("no producer", version, &ending(&unnamed, true)).await;
    }
    let fetched = crate::ask::fetch(&a, vec![crate::ask::from(0, 0)]);
    side.ask("all of it", 12, &fetched).await;
    side.ask("what is committed", 12, &FetchRequest { isolation_level: 1, ..fetched }).await;
}
