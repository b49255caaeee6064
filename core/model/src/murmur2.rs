//! The hash that Kafka's default partitioner uses for keys: murmur2, 32 bits, with Kafka's seed.

/// Hashes a key as Java's `Utils.murmur2` does.
pub fn murmur2(key: &[u8]) -> i32 {
    const M: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    let mut hash = SEED ^ key.len() as u32;
    let mut words = key.chunks_exact(4);
    for word in words.by_ref() {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        k = k.wrapping_mul(M);
        k ^= k >> 24;
        k = k.wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (position, &byte) in rest.iter().enumerate() {
            hash ^= u32::from(byte) << (8 * position);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    (hash ^ (hash >> 15)) as i32
}

/// Clears the sign bit, as Java's `Utils.toPositive` does (which is not the absolute value).
pub fn to_positive(hash: i32) -> i32 {
    hash & 0x7fff_ffff
}

/// The partition of a record with this key among `partitions` (at least 1).
pub fn partition_for_key(key: &[u8], partitions: i32) -> i32 {
    to_positive(murmur2(key)) % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_javas() {
        // Printed by org.apache.kafka.common.utils.Utils.murmur2.
        for (key, hash) in [
            ("", 275646681),
            ("a", -1563381124),
            ("ab", 316155434),
            ("abc", 479470107),
            ("AA", 426800181),
            ("UA", -624396550),
            ("WN", -1086799845),
            ("foobar", -790332482),
            ("a-little-bit-long-string", -985981536),
            ("éü漢字", 358546114),
        ] {
            assert_eq!(murmur2(key.as_bytes()), hash, "{key}");
        }
    }
}
