//! Kafka's hash of keys, against what the Java client gives: data/murmur2.txt has a key in hex and its hash on each line,
//! as printed by org.apache.kafka.common.utils.Utils.murmur2 of kafka-clients 4.3.1. Keys are empty, of every length to 64
//! and some beyond, random bytes, and text in several scripts.

use ottla_model::{murmur2, partition_for_key};

const VECTORS: &str = include_str!("../data/murmur2.txt");

#[test]
fn hashes_and_partitions_are_javas() {
    let mut count = 0;
    for line in VECTORS.lines() {
        let (hex, hash) = line.split_once(' ').expect("a key and a hash");
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
        let key: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        let hash: i32 = hash.parse().expect("a number");
        assert_eq!(murmur2(&key), hash, "{hex}");
        for partitions in [1, 2, 7, 100] {
            assert_eq!(partition_for_key(&key, partitions), (hash & i32::MAX) % partitions, "{hex} of {partitions}");
        }
        count += 1;
    }
    assert!(count > 300, "{count}");
}
