//! What the sticky assignors tell the leader beside the subscription, and what it makes of that.

use super::super::{Subscription, java};
use super::{Had, NO_GENERATION};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use ottla_model::TopicPartition;
use std::collections::HashMap;
use std::sync::Arc;

/// Version 1: the partitions by topic, the topics in the order of Java's hash map, and the generation.
pub(super) fn encode_sticky(partitions: &[TopicPartition], generation: i32) -> Bytes {
    let mut by_topic: HashMap<&str, Vec<i32>> = HashMap::new();
    let mut order = java::HashSet::new();
    for partition in partitions {
        order.insert_first(java::string_hash(&partition.topic), &*partition.topic);
        by_topic.entry(&partition.topic).or_default().push(partition.partition);
    }
    let mut out = BytesMut::new();
    out.put_i32(by_topic.len() as i32);
    for topic in order.iter() {
        // A topic name has at most 249 bytes.
        out.put_i16(topic.len() as i16);
        out.put_slice(topic.as_bytes());
        out.put_i32(by_topic[topic].len() as i32);
        by_topic[topic].iter().for_each(|index| out.put_i32(*index));
    }
    out.put_i32(generation);
    out.freeze()
}

pub(super) fn encode_cooperative(generation: i32) -> Bytes {
    Bytes::copy_from_slice(&generation.to_be_bytes())
}

/// What a member of the eager `sticky` had: all from its user data. What cannot be read counts as nothing.
pub(super) fn of_sticky(subscription: &Subscription) -> Had {
    let nothing = |generation| Had { partitions: Vec::new(), generation };
    match subscription.user_data.as_deref() {
        None | Some([]) => nothing(None),
        Some(bytes) => read_sticky(bytes).unwrap_or_else(|| nothing(Some(NO_GENERATION))),
    }
}

/// What a member of `cooperative-sticky` has: the owned partitions of its subscription, and their generation from there or,
/// before KIP-792, from the user data.
pub(super) fn of_cooperative(subscription: &Subscription) -> Had {
    let user_data = || {
        let mut bytes = subscription.user_data.as_deref()?;
        Some(bytes.try_get_i32().unwrap_or(NO_GENERATION))
    };
    Had { partitions: subscription.owned_partitions.clone(), generation: subscription.generation_id.or_else(user_data) }
}

fn read_sticky(mut bytes: &[u8]) -> Option<Had> {
    let bytes = &mut bytes;
    let topics = count(bytes)?;
    let mut partitions = Vec::new();
    for _ in 0..topics {
        let length = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
        let topic: Arc<str> = Arc::from(String::from_utf8_lossy(bytes.get(..length)?));
        bytes.advance(length);
        for _ in 0..count(bytes)? {
            partitions.push(TopicPartition::new(topic.clone(), bytes.try_get_i32().ok()?));
        }
    }
    // Version 0 ends here; so does a generation that was cut off.
    Some(Had { partitions, generation: bytes.try_get_i32().ok() })
}

/// The length of an array, of which every element takes a byte or more.
fn count(bytes: &mut &[u8]) -> Option<usize> {
    let count = usize::try_from(bytes.try_get_i32().ok()?).ok()?;
    Some(count).filter(|count| *count <= bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn had(user_data: Option<&[u8]>) -> Had {
        let user_data = user_data.map(Bytes::copy_from_slice);
        of_sticky(&Subscription { user_data, ..Subscription::default() })
    }

    #[test]
    fn sticky_reads_both_versions_and_ignores_what_it_cannot_read() {
        let partitions = [TopicPartition::new("b", 1), TopicPartition::new("a", 0), TopicPartition::new("b", 0)];
        let bytes = encode_sticky(&partitions, 7);
        assert_eq!(bytes.len(), 4 + (2 + 1 + 4 + 4) + (2 + 1 + 4 + 8) + 4);
        let expected = [TopicPartition::new("a", 0), TopicPartition::new("b", 1), TopicPartition::new("b", 0)];
        let read = had(Some(&bytes));
        assert_eq!((&read.partitions[..], read.generation), (&expected[..], Some(7)));
        let read = had(Some(&bytes[..bytes.len() - 4]));
        assert_eq!((&read.partitions[..], read.generation), (&expected[..], None));
        for cut in 1..bytes.len() - 4 {
            let read = had(Some(&bytes[..cut]));
            assert_eq!((read.partitions.len(), read.generation), (0, Some(-1)), "cut after {cut} bytes");
        }
        assert_eq!(had(Some(&[])).generation, None);
        assert_eq!(had(None).generation, None);
        // Counts that the bytes cannot hold ask for no memory.
        assert_eq!(had(Some(&[0x7f, 0xff, 0xff, 0xff])).generation, Some(-1));
    }

    #[test]
    fn cooperative_prefers_the_generation_of_the_protocol() {
        let of = |generation_id, user_data: Option<&'static [u8]>| {
            let user_data = user_data.map(Bytes::from_static);
            of_cooperative(&Subscription { generation_id, user_data, ..Subscription::default() }).generation
        };
        assert_eq!(of(Some(3), Some(&[0, 0, 0, 9])), Some(3));
        assert_eq!(of(None, Some(&[0, 0, 0, 9])), Some(9));
        assert_eq!(of(None, Some(&[0, 9])), Some(-1));
        assert_eq!(of(None, None), None);
    }
}
