//! Randomness: getrandom(2) on Linux. Elsewhere, the keys that the standard library draws from the operating system for its
//! hash maps, hashed with a counter: good for ids and jitter, not for secrets (TLS and SCRAM have their own source).

#[cfg(target_os = "linux")]
pub(crate) fn u64() -> u64 {
    let mut bytes = [0u8; 8];
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            // A kernel before 3.17, or a sandbox that forbids the call.
            Err(_) => return hashed(),
        }
    }
    u64::from_ne_bytes(bytes)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn u64() -> u64 {
    hashed()
}

fn hashed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    RandomState::new().hash_one(COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// A stream of numbers that its seed decides (SplitMix64): the same on every computer. Not for secrets.
pub(crate) struct Seeded(u64);

impl Seeded {
    pub(crate) fn new(seed: u64) -> Seeded {
        Seeded(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    /// The first numbers of SplitMix64 from 1234567, as its author's own program prints them.
    #[test]
    fn seeded_numbers_are_splitmix() {
        let mut seeded = super::Seeded::new(1_234_567);
        let first = [seeded.next(), seeded.next(), seeded.next()];
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn draws_differ() {
        let draws: std::collections::BTreeSet<u64> = (0..1000).flat_map(|_| [super::u64(), super::hashed()]).collect();
        assert_eq!(draws.len(), 2000);
    }
}
