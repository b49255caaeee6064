//! Kafka's coordinators as pure state machines.
//!
//! A coordinator is `step(now, event) → records + replies`. It never touches a clock, a file, a socket or a task: the
//! caller appends the records, replays them into the same coordinator, and only then releases the replies. What has to
//! survive a restart changes by [`replay`](group::GroupShard::replay) alone, which is the same function at load time and
//! in live operation; who is alive right now, and who waits for a JoinGroup, is soft state beside it.
//!
//! Today: the classic group protocol and committed offsets ([`group`]). The transaction and share coordinators come into
//! their own modules.
#![forbid(unsafe_code)]

pub mod group;
mod timer;
pub mod transaction;

/// The key under which a parked request waits for its reply; the caller chooses it and gets it back exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// The partition of `__consumer_offsets` (or of `__transaction_state`) that owns `id`, of `partitions` in total.
///
/// Kafka's own rule, so that either broker finds the other's groups: Java's `String.hashCode` over UTF-16 units, its
/// absolute value (with `i32::MIN` becoming 0), modulo the count. A count below one is taken as one.
pub fn partition_for(id: &str, partitions: i32) -> i32 {
    let hash = id.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    let positive = if hash == i32::MIN { 0 } else { hash.abs() };
    positive % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_those_of_java() {
        // Java: "group".hashCode() == 98629247, "".hashCode() == 0, "polygenelubricants".hashCode() == Integer.MIN_VALUE.
        assert_eq!(partition_for("group", 50), 98_629_247 % 50);
        assert_eq!(partition_for("", 50), 0);
        assert_eq!(partition_for("polygenelubricants", 50), 0);
        // Outside the basic plane two UTF-16 units count: "\u{1F600}".hashCode() == 0xD83D * 31 + 0xDE00.
        assert_eq!(partition_for("\u{1F600}", 1000), (0xD83D * 31 + 0xDE00) % 1000);
        assert_eq!(partition_for("x", 0), 0);
    }
}
