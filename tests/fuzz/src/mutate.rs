//! Seeded randomness and the ways in which an input is spoilt.

/// SplitMix64: small, fast, and the same everywhere.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is at least 1.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound as u64) as usize
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// Random bytes; many are small, as lengths and counts are.
pub fn noise(random: &mut Random, length: usize) -> Vec<u8> {
    let small = random.below(3) > 0;
    (0..length)
        .map(|_| {
            let byte = random.bits() as u8;
            if small && random.below(4) > 0 { byte & 3 } else { byte }
        })
        .collect()
}

fn varint(mut value: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// Spoils an input in one to four places.
pub fn mutate(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        match random.below(9) {
            0 => bytes.truncate(at),
            1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            2 if at < bytes.len() => bytes[at] = random.bits() as u8,
            3 if at < bytes.len() => bytes[at] = *random.pick(&[0, 1, 2, 0x7f, 0x80, 0xff]),
            4 => {
                let length = random.below(8);
                let extra = noise(random, length);
                bytes.splice(at..at, extra);
            }
            5 => {
                let end = at + random.below(bytes.len() - at + 1);
                bytes.drain(at..end);
            }
            6 => {
                let value = *random.pick(&[i32::MAX, i32::MIN, -1, -2, 0x10000, 0x7fff, 255]);
                let end = (at + 4).min(bytes.len());
                bytes.splice(at..end, value.to_be_bytes());
            }
            7 if !other.is_empty() => {
                let start = random.below(other.len());
                let piece = other[start..].iter().copied().take(64).collect::<Vec<_>>();
                bytes.splice(at..at, piece);
            }
            _ => crowd(random, bytes, at),
        }
    }
}

/// Puts a large count at a place and small bytes behind it: an array of as many elements as the bytes could hold.
fn crowd(random: &mut Random, bytes: &mut Vec<u8>, at: usize) {
    let room = *random.pick(&[16, 100, 1000, 10_000]);
    let count = (room / (1 + random.below(24))) as u32;
    let count = if random.below(2) == 0 { varint(count + 1) } else { count.to_be_bytes().to_vec() };
    let replaced = if random.below(2) == 0 { (at + count.len()).min(bytes.len()) } else { at };
    bytes.splice(at..replaced, count);
    let filler = *random.pick(&[0, 0, 1, 1, 2, 0xff]);
    let keep = random.below(2) == 0;
    let place = if keep { bytes.len() } else { (at + 5).min(bytes.len()) };
    bytes.splice(place..place, std::iter::repeat_n(filler, room));
}
