//! Which offset is a key's latest in the part of a log that is not clean yet: the memory that bounds how much one cleaning
//! can take in. Keys are kept as hashes of 128 bits, so that an entry has 24 bytes whatever the key's length; Apache Kafka
//! does the same with MD5. The hash is seeded anew for each map, so that nobody can prepare keys that meet.

use std::hash::{DefaultHasher, Hasher};

/// Bytes of an entry: two words of hash, one of offset.
pub(crate) const ENTRY_BYTES: u64 = 24;

/// A table with open addressing. An empty slot is all zeros, so that memory that is never used is never touched.
#[derive(Debug)]
pub(crate) struct OffsetMap {
    /// The hash's halves, and the offset plus one; 0 there is an empty slot.
    slots: Vec<[u64; 3]>,
    seed: u64,
    entries: usize,
    entries_max: usize,
    latest_offset: i64,
}

impl OffsetMap {
    /// A map of at most `bytes`, filled up to the share `load_factor`, and no larger than `keys` need.
    pub(crate) fn new(bytes: u64, load_factor: f64, keys: u64, seed: u64) -> OffsetMap {
        let load_factor = if load_factor > 0.0 { load_factor.min(1.0) } else { 1.0 };
        let allowed = bytes / ENTRY_BYTES;
        let needed = (keys as f64 / load_factor.min(0.9)).ceil() as u64;
        let needed = needed.saturating_add(1);
        let slots = usize::try_from(allowed.min(needed)).unwrap_or(usize::MAX);
        // One slot stays empty, or a search for what is not there would not end.
        let entries_max = ((slots as f64 * load_factor) as usize).min(slots.saturating_sub(1));
        OffsetMap { slots: vec![[0; 3]; slots], seed, entries: 0, entries_max, latest_offset: -1 }
    }

    /// Notes the offset of a key's record; offsets come in ascending order. False, and nothing is noted, if the key is new
    /// and the map is full.
    pub(crate) fn put(&mut self, key: &[u8], offset: i64) -> bool {
        if self.slots.is_empty() {
            return false;
        }
        let hash = self.hash(key);
        let at = self.find(hash);
        if self.slots[at][2] == 0 {
            if self.entries >= self.entries_max {
                return false;
            }
            self.entries += 1;
        }
        self.slots[at] = [hash[0], hash[1], offset as u64 + 1];
        true
    }

    /// The key's latest offset, if it was noted.
    pub(crate) fn get(&self, key: &[u8]) -> Option<i64> {
        if self.entries == 0 {
            return None;
        }
        match self.slots[self.find(self.hash(key))][2] {
            0 => None,
            offset => Some(offset as i64 - 1),
        }
    }

    /// The slot of this hash, or the empty one where it belongs.
    fn find(&self, hash: [u64; 2]) -> usize {
        let len = self.slots.len();
        // The high half of the product is even over all slots, without a division.
        let mut at = ((u128::from(hash[0]) * len as u128) >> 64) as usize;
        loop {
            let slot = &self.slots[at];
            if slot[2] == 0 || (slot[0] == hash[0] && slot[1] == hash[1]) {
                return at;
            }
            at = if at + 1 == len { 0 } else { at + 1 };
        }
    }

    fn hash(&self, key: &[u8]) -> [u64; 2] {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.seed);
        hasher.write(key);
        let first = hasher.finish();
        // A second pass of its own, for the key's content to decide all 128 bits.
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(!self.seed);
        hasher.write(key);
        [first, hasher.finish()]
    }

    /// Up to which offset the map knows all keys; −1 before the first.
    pub(crate) fn latest_offset(&self) -> i64 {
        self.latest_offset
    }

    pub(crate) fn raise_latest_offset(&mut self, offset: i64) {
        self.latest_offset = self.latest_offset.max(offset);
    }

    /// How full it is, of what it may hold.
    pub(crate) fn utilization(&self) -> f64 {
        self.entries as f64 / self.entries_max.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_latest_offset_of_each_key_and_its_bound() {
        let mut map = OffsetMap::new(1000 * ENTRY_BYTES, 0.9, u64::MAX, 7);
        assert_eq!(map.get(b"a"), None);
        let mut taken = 0;
        for number in 0..2000i64 {
            taken += i64::from(map.put(number.to_string().as_bytes(), number));
        }
        assert_eq!(taken, 900);
        assert!(map.put(b"5", 5000), "a key that it knows needs no place");
        assert_eq!(map.get(b"5"), Some(5000));
        assert!((0..900).filter(|number| *number != 5).all(|at| map.get(at.to_string().as_bytes()) == Some(at)));
        assert!((900..2000).all(|at| map.get(at.to_string().as_bytes()).is_none()));
        assert_eq!(map.utilization(), 1.0);
        assert!(map.put(b"", 0) == map.get(b"").is_some());
    }

    #[test]
    fn is_no_larger_than_it_must_be() {
        let mut map = OffsetMap::new(1 << 40, 0.9, 10, 0);
        assert!(map.slots.len() < 20);
        assert!((0..10i64).all(|number| map.put(&number.to_be_bytes(), number)));
        assert!((0..10i64).all(|number| map.get(&number.to_be_bytes()) == Some(number)));
        for bytes in [0, 1, ENTRY_BYTES, 2 * ENTRY_BYTES] {
            let mut map = OffsetMap::new(bytes, 1.0, 10, 0);
            assert_eq!(map.put(b"a", 0), bytes == 2 * ENTRY_BYTES);
            assert_eq!(map.get(b"b"), None);
            assert!(!map.put(b"c", 0));
        }
    }
}
