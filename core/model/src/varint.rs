//! Variable-length integers: seven bits a byte, lowest first; signed ones zigzagged. Used inside records (signed) and in
//! flexible protocol versions (unsigned). Decoding is bounded: five bytes for 32 bits, ten for 64.

use std::fmt;

/// Why a varint could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VarintError {
    /// The bytes end inside the number.
    Truncated,
    /// More bytes than the type can have, or bits beyond it.
    TooLong,
}

impl fmt::Display for VarintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            VarintError::Truncated => "the bytes end inside a varint",
            VarintError::TooLong => "a varint is longer than its type",
        })
    }
}

impl std::error::Error for VarintError {}

/// Reads an unsigned 32-bit varint; returns it and the number of bytes it took.
#[inline]
pub fn read_u32(bytes: &[u8]) -> Result<(u32, usize), VarintError> {
    // One byte is by far the most frequent length.
    if let Some(&first) = bytes.first()
        && first < 0x80
    {
        return Ok((u32::from(first), 1));
    }
    let mut value = 0u32;
    for (position, &byte) in bytes.iter().enumerate().take(5) {
        if position == 4 && byte > 0x0f {
            return Err(VarintError::TooLong);
        }
        value |= u32::from(byte & 0x7f) << (7 * position);
        if byte < 0x80 {
            return Ok((value, position + 1));
        }
    }
    Err(if bytes.len() < 5 { VarintError::Truncated } else { VarintError::TooLong })
}

/// Reads an unsigned 64-bit varint; returns it and the number of bytes it took.
#[inline]
pub fn read_u64(bytes: &[u8]) -> Result<(u64, usize), VarintError> {
    if let Some(&first) = bytes.first()
        && first < 0x80
    {
        return Ok((u64::from(first), 1));
    }
    let mut value = 0u64;
    for (position, &byte) in bytes.iter().enumerate().take(10) {
        if position == 9 && byte > 0x01 {
            return Err(VarintError::TooLong);
        }
        value |= u64::from(byte & 0x7f) << (7 * position);
        if byte < 0x80 {
            return Ok((value, position + 1));
        }
    }
    Err(if bytes.len() < 10 { VarintError::Truncated } else { VarintError::TooLong })
}

/// Reads a zigzagged 32-bit varint; returns it and the number of bytes it took.
#[inline]
pub fn read_i32(bytes: &[u8]) -> Result<(i32, usize), VarintError> {
    let (raw, size) = read_u32(bytes)?;
    Ok(((raw >> 1) as i32 ^ -((raw & 1) as i32), size))
}

/// Reads a zigzagged 64-bit varint; returns it and the number of bytes it took.
#[inline]
pub fn read_i64(bytes: &[u8]) -> Result<(i64, usize), VarintError> {
    let (raw, size) = read_u64(bytes)?;
    Ok(((raw >> 1) as i64 ^ -((raw & 1) as i64), size))
}

/// Appends an unsigned 32-bit varint.
#[inline]
pub fn write_u32(out: &mut Vec<u8>, value: u32) {
    write_u64(out, u64::from(value));
}

/// Appends an unsigned 64-bit varint.
#[inline]
pub fn write_u64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a zigzagged 32-bit varint.
#[inline]
pub fn write_i32(out: &mut Vec<u8>, value: i32) {
    write_u64(out, u64::from(zigzag32(value)));
}

/// Appends a zigzagged 64-bit varint.
#[inline]
pub fn write_i64(out: &mut Vec<u8>, value: i64) {
    write_u64(out, zigzag64(value));
}

/// The bytes that `write_u64` takes for this value, 1 to 10.
#[inline]
pub fn size_u64(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// The bytes that `write_u32` takes for this value, 1 to 5.
#[inline]
pub fn size_u32(value: u32) -> usize {
    size_u64(u64::from(value))
}

/// The bytes that `write_i32` takes for this value, 1 to 5.
#[inline]
pub fn size_i32(value: i32) -> usize {
    size_u64(u64::from(zigzag32(value)))
}

/// The bytes that `write_i64` takes for this value, 1 to 10.
#[inline]
pub fn size_i64(value: i64) -> usize {
    size_u64(zigzag64(value))
}

fn zigzag32(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)) as u32
}

fn zigzag64(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_edge_goes_round() {
        let mut values = vec![0i64, i64::MIN, i64::MAX];
        for bit in 0..63 {
            values.extend([1 << bit, (1 << bit) - 1, -(1 << bit), -(1 << bit) - 1]);
        }
        for value in values {
            let mut out = Vec::new();
            write_i64(&mut out, value);
            assert_eq!(out.len(), size_i64(value), "{value}");
            assert_eq!(read_i64(&out), Ok((value, out.len())));
            out.clear();
            write_u64(&mut out, value as u64);
            assert_eq!(out.len(), size_u64(value as u64));
            assert_eq!(read_u64(&out), Ok((value as u64, out.len())));
            assert_eq!(read_u64(&out[..out.len() - 1]), Err(VarintError::Truncated));
            let narrow = value as i32;
            out.clear();
            write_i32(&mut out, narrow);
            assert_eq!(out.len(), size_i32(narrow));
            assert_eq!(read_i32(&out), Ok((narrow, out.len())));
            out.clear();
            write_u32(&mut out, narrow as u32);
            assert_eq!(out.len(), size_u32(narrow as u32));
            assert_eq!(read_u32(&out), Ok((narrow as u32, out.len())));
        }
    }

    #[test]
    fn too_many_bytes_are_refused() {
        assert_eq!(read_u32(&[0xff; 8]), Err(VarintError::TooLong));
        assert_eq!(read_u32(&[0xff, 0xff, 0xff, 0xff, 0x1f]), Err(VarintError::TooLong));
        assert_eq!(read_u64(&[0xff; 16]), Err(VarintError::TooLong));
        assert_eq!(read_u32(&[]), Err(VarintError::Truncated));
    }
}
