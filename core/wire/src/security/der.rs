//! As much DER as key stores need beyond what their libraries do.

/// OID 1.2.840.10045.2.1, an elliptic curve's key, as an element.
const EC_PUBLIC_KEY: [u8; 9] = [0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

/// The content of the element with this tag at the start of `bytes`, and what follows it.
pub(super) fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    if found != tag {
        return None;
    }
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |len, digit| len << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(len)
}

fn write(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let len: usize = contents.iter().map(|content| content.len()).sum();
    let mut out = vec![tag];
    match len {
        0..=0x7f => out.push(len as u8),
        0x80..=0xff => out.extend([0x81, len as u8]),
        // Keys are shorter than 64 KiB.
        _ => out.extend([0x82, (len >> 8) as u8, len as u8]),
    }
    contents.iter().for_each(|content| out.extend_from_slice(content));
    out
}

/// The public key's bits in a SubjectPublicKeyInfo.
pub(super) fn public_key(spki: &[u8]) -> Option<&[u8]> {
    let (content, _) = element(spki, 0x30)?;
    let (_, rest) = element(content, 0x30)?;
    let (bits, _) = element(rest, 0x03)?;
    // The first byte says how many bits of the last one are unused: none in a key.
    bits.strip_prefix(&[0])
}

/// An elliptic curve's private key in PKCS8 with its public key put in, which Java leaves out and ring wants. `None` when
/// it is another kind of key, or has it.
pub(super) fn with_public_key(pkcs8: &[u8], public: &[u8]) -> Option<Vec<u8>> {
    let (content, _) = element(pkcs8, 0x30)?;
    let (_, rest) = element(content, 0x02)?;
    let (algorithm, rest) = element(rest, 0x30)?;
    if !algorithm.starts_with(&EC_PUBLIC_KEY) {
        return None;
    }
    let (key, _) = element(rest, 0x04)?;
    let (key, _) = element(key, 0x30)?;
    let (_, rest) = element(key, 0x02)?;
    let (private, rest) = element(rest, 0x04)?;
    let after_curve = element(rest, 0xa0).map_or(rest, |(_, rest)| rest);
    if after_curve.first() == Some(&0xa1) {
        return None;
    }
    let bits = write(0x03, &[&[0], public]);
    let key = write(0x30, &[&[0x02, 1, 1], &write(0x04, &[private]), &write(0xa1, &[&bits])]);
    Some(write(0x30, &[&[0x02, 1, 0], &write(0x30, &[algorithm]), &write(0x04, &[&key])]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair};

    #[test]
    fn a_key_as_java_writes_it_becomes_one_that_ring_reads() {
        for algorithm in [&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1_SIGNING] {
            let whole = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).unwrap();
            let read = |key: &[u8]| EcdsaKeyPair::from_pkcs8(algorithm, key, &SystemRandom::new());
            let public = read(whole.as_ref()).unwrap().public_key().as_ref().to_vec();
            assert_eq!(with_public_key(whole.as_ref(), &public), None, "it has it");
            // Take the public key out, as keytool leaves it.
            let (content, _) = element(whole.as_ref(), 0x30).unwrap();
            let (_, rest) = element(content, 0x02).unwrap();
            let (kind, rest) = element(rest, 0x30).unwrap();
            let (key, _) = element(element(rest, 0x04).unwrap().0, 0x30).unwrap();
            let (private, _) = element(element(key, 0x02).unwrap().1, 0x04).unwrap();
            let key = write(0x30, &[&[0x02, 1, 1], &write(0x04, &[private])]);
            let java = write(0x30, &[&[0x02, 1, 0], &write(0x30, &[kind]), &write(0x04, &[&key])]);
            assert!(read(&java).is_err());
            let mended = with_public_key(&java, &public).unwrap();
            assert_eq!(read(&mended).unwrap().public_key().as_ref(), public);
        }
    }

    #[test]
    fn what_is_not_der_is_nothing() {
        for bytes in
            [&b""[..], &[0x30], &[0x30, 5, 1], &[0x30, 0x85, 1, 1, 1, 1, 1], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]]
        {
            assert_eq!(element(bytes, 0x30), None);
            assert_eq!(with_public_key(bytes, &[4]), None);
            assert_eq!(public_key(bytes), None);
        }
    }
}
