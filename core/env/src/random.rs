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

#[cfg(test)]
mod tests {
    #[test]
    fn draws_differ() {
        let draws: std::collections::BTreeSet<u64> = (0..1000).flat_map(|_| [super::u64(), super::hashed()]).collect();
        assert_eq!(draws.len(), 2000);
    }
}
