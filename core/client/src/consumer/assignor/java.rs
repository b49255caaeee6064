//! What of Java shows through in its assignors' results: the hash codes of strings and partitions, the order of strings,
//! and the order in which a `HashMap` iterates.
//!
//! A `HashMap` iterates bucket by bucket, within a bucket in the order of insertion, and grows by doubling, which keeps
//! that order. One thing is left out: from nine keys on, a bucket of a table of at least 64 buckets turns into a tree,
//! whose root comes first. With the hash codes of real names and ids so many keys do not meet in one bucket.

use std::cmp::Ordering;

/// `String.hashCode`.
pub(super) fn string_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// `TopicPartition.hashCode`, given the hash code of the topic.
pub(super) fn partition_hash(topic_hash: i32, partition: i32) -> i32 {
    31i32.wrapping_add(partition).wrapping_mul(31).wrapping_add(topic_hash)
}

/// `String.compareTo`: by UTF-16 units, which differs from Rust's order only beyond U+D7FF.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    if a.is_ascii() && b.is_ascii() { a.cmp(b) } else { a.encode_utf16().cmp(b.encode_utf16()) }
}

/// `new HashSet<>()`, for its order. Keys come with their hash code.
#[derive(Debug, Clone)]
pub(super) struct HashSet<K> {
    buckets: Vec<Vec<(i32, K)>>,
    len: usize,
}

const INITIAL_BUCKETS: usize = 16;
/// A bucket that would get longer makes a small table grow.
const BUCKET_MAX: usize = 8;
/// A table of so many buckets turns long buckets into trees instead.
const TREE_BUCKETS: usize = 64;

impl<K: Eq> HashSet<K> {
    pub(super) fn new() -> HashSet<K> {
        HashSet { buckets: Vec::new(), len: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// False when the key is there already; it keeps its place then.
    pub(super) fn insert(&mut self, hash: i32, key: K) -> bool {
        if self.buckets.is_empty() {
            self.buckets.resize_with(INITIAL_BUCKETS, Vec::new);
        }
        let count = self.buckets.len();
        let bucket = &mut self.buckets[index(hash, count)];
        if bucket.iter().any(|(_, other)| *other == key) {
            return false;
        }
        bucket.push((hash, key));
        if bucket.len() > BUCKET_MAX && count < TREE_BUCKETS {
            self.grow();
        }
        self.len += 1;
        if self.is_over_full() {
            self.grow();
        }
        true
    }

    /// Java's load factor of 0.75.
    fn is_over_full(&self) -> bool {
        self.len > self.buckets.len() / 4 * 3
    }

    /// `computeIfAbsent` of a map: a new key goes to the front of its bucket, and the table grows one key later.
    pub(super) fn insert_first(&mut self, hash: i32, key: K) {
        if self.buckets.is_empty() {
            self.buckets.resize_with(INITIAL_BUCKETS, Vec::new);
        } else if self.is_over_full() {
            self.grow();
        }
        let count = self.buckets.len();
        let bucket = &mut self.buckets[index(hash, count)];
        if bucket.iter().any(|(_, other)| *other == key) {
            return;
        }
        bucket.insert(0, (hash, key));
        if bucket.len() >= BUCKET_MAX && count < TREE_BUCKETS {
            self.grow();
        }
        self.len += 1;
    }

    pub(super) fn remove(&mut self, hash: i32, key: &K) {
        if self.buckets.is_empty() {
            return;
        }
        let count = self.buckets.len();
        let bucket = &mut self.buckets[index(hash, count)];
        if let Some(at) = bucket.iter().position(|(_, other)| other == key) {
            bucket.remove(at);
            self.len -= 1;
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &K> {
        self.buckets.iter().flatten().map(|(_, key)| key)
    }

    fn grow(&mut self) {
        let count = self.buckets.len() * 2;
        let old = std::mem::replace(&mut self.buckets, Vec::with_capacity(count));
        self.buckets.resize_with(count, Vec::new);
        for (hash, key) in old.into_iter().flatten() {
            self.buckets[index(hash, count)].push((hash, key));
        }
    }
}

fn index(hash: i32, buckets: usize) -> usize {
    let hash = hash as u32;
    (hash ^ (hash >> 16)) as usize & (buckets - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_codes_are_javas() {
        assert_eq!(string_hash("flights"), -771814909);
        assert_eq!(string_hash("Aa"), string_hash("BB"));
        assert_eq!(string_hash("grüße-𝄞"), 347391072);
        assert_eq!(partition_hash(string_hash("flights"), 3), -771813855);
    }

    #[test]
    fn strings_compare_by_utf16_units() {
        // A surrogate pair is below U+FFFD in UTF-16 and above it in UTF-8.
        assert_eq!(compare("\u{1d11e}", "\u{fffd}"), Ordering::Less);
        assert_eq!(compare("a", "ab"), Ordering::Less);
    }

    #[test]
    fn growing_keeps_the_order_within_a_bucket_and_removing_keeps_the_size() {
        let mut set = HashSet::new();
        for key in [48, 32, 16, 0, 1] {
            assert!(set.insert(key, key));
        }
        assert!(!set.insert(16, 16));
        assert_eq!(set.iter().copied().collect::<Vec<_>>(), [48, 32, 16, 0, 1]);
        for key in 2..=9 {
            set.insert(key, key);
        }
        // Thirteen keys: 32 buckets.
        assert_eq!(set.iter().copied().take(6).collect::<Vec<_>>(), [32, 0, 1, 2, 3, 4]);
        for key in 2..=9 {
            set.remove(key, &key);
        }
        assert_eq!(set.iter().copied().collect::<Vec<_>>(), [32, 0, 1, 48, 16]);
    }

    #[test]
    fn computing_puts_new_keys_first_and_grows_later() {
        let mut set = HashSet::new();
        for key in [48, 32, 16, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9] {
            set.insert_first(key, key);
        }
        assert_eq!(set.iter().copied().take(5).collect::<Vec<_>>(), [0, 16, 32, 48, 1]);
        set.insert_first(9, 9);
        assert_eq!(set.iter().copied().take(3).collect::<Vec<_>>(), [0, 32, 1]);
        let mut set = HashSet::new();
        for key in 0..8 {
            set.insert_first(key * 16, key);
        }
        assert_eq!(set.iter().copied().collect::<Vec<_>>(), [6, 4, 2, 0, 7, 5, 3, 1]);
    }

    #[test]
    fn a_long_bucket_makes_a_small_table_grow() {
        let mut set = HashSet::new();
        for key in 0..9 {
            set.insert(key * 16, key);
        }
        assert_eq!(set.iter().copied().collect::<Vec<_>>(), [0, 2, 4, 6, 8, 1, 3, 5, 7]);
    }
}
