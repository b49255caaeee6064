//! Java's own key store format, JKS, which is what `ssl.keystore.type` and `ssl.truststore.type` are by default.
//!
//! Since Java 9 keytool writes PKCS12 even so; this reads the files from before. Certificates are stored plainly, private
//! keys under a key stream of repeated SHA-1, the whole under a SHA-1 with the password in front. The format is from the
//! 1990s and protects little; nothing here writes it.

use super::der::element;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// The first four bytes of such a file.
pub(super) const MAGIC: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];
const SHA1: usize = 20;

/// What a store holds.
#[derive(Debug, Default)]
pub(super) struct Jks {
    /// Certificates that are trusted.
    pub(super) trusted: Vec<CertificateDer<'static>>,
    /// Private keys, still locked, each with its certificate chain.
    pub(super) keys: Vec<(Vec<u8>, Vec<CertificateDer<'static>>)>,
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], String> {
        let (head, rest) = self.0.split_at_checked(len).ok_or("the key store ends too early")?;
        self.0 = rest;
        Ok(head)
    }

    fn u32(&mut self) -> Result<u32, String> {
        let bytes = self.take(4)?.first_chunk::<4>().expect("four were taken");
        Ok(u32::from_be_bytes(*bytes))
    }

    fn text(&mut self) -> Result<(), String> {
        let bytes = self.take(2)?.first_chunk::<2>().expect("two were taken");
        self.take(u16::from_be_bytes(*bytes).into()).map(|_| ())
    }

    fn blob(&mut self) -> Result<&'a [u8], String> {
        let len = self.u32()? as usize;
        self.take(len)
    }

    fn certificate(&mut self, version: u32) -> Result<CertificateDer<'static>, String> {
        if version == 2 {
            self.text()?;
        }
        Ok(CertificateDer::from(self.blob()?.to_vec()))
    }
}

/// Reads a store. Without a password its integrity is not checked, as in Java.
pub(super) fn read(file: &[u8], password: Option<&str>) -> Result<Jks, String> {
    let content_len = file.len().checked_sub(SHA1).ok_or("the key store ends too early")?;
    let (content, digest) = file.split_at(content_len);
    if let Some(password) = password {
        let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
        context.update(&utf16(password));
        context.update(b"Mighty Aphrodite");
        context.update(content);
        if context.finish().as_ref() != digest {
            return Err("the password is wrong, or the file was changed".to_owned());
        }
    }
    let mut cursor = Cursor(content);
    cursor.take(MAGIC.len())?;
    let version = cursor.u32()?;
    if !(1..=2).contains(&version) {
        return Err(format!("version {version} of the JKS format is not known"));
    }
    let mut store = Jks::default();
    for _ in 0..cursor.u32()? {
        let tag = cursor.u32()?;
        cursor.text()?;
        cursor.take(8)?;
        match tag {
            1 => {
                let key = cursor.blob()?.to_vec();
                let mut chain = Vec::new();
                for _ in 0..cursor.u32()? {
                    chain.push(cursor.certificate(version)?);
                }
                store.keys.push((key, chain));
            }
            2 => store.trusted.push(cursor.certificate(version)?),
            other => return Err(format!("an entry of kind {other}, which JKS does not have")),
        }
    }
    Ok(store)
}

/// Unlocks a private key of a store: PKCS8.
pub(super) fn unlock(locked: &[u8], password: &str) -> Result<PrivateKeyDer<'static>, String> {
    let damaged = || "the private key is not as Java writes it".to_owned();
    // SEQUENCE { SEQUENCE { the algorithm }, OCTET STRING }
    let (outer, _) = element(locked, 0x30).ok_or_else(damaged)?;
    let (_, rest) = element(outer, 0x30).ok_or_else(damaged)?;
    let (protected, _) = element(rest, 0x04).ok_or_else(damaged)?;
    let key_len = protected.len().checked_sub(2 * SHA1).ok_or_else(damaged)?;
    let (salt, rest) = protected.split_at(SHA1);
    let (key, check) = rest.split_at(key_len);
    let password = utf16(password);
    let sha1 = |more: &[u8]| {
        let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
        context.update(&password);
        context.update(more);
        context.finish()
    };
    let mut stream = sha1(salt);
    let mut plain = Vec::with_capacity(key_len);
    for block in key.chunks(SHA1) {
        plain.extend(block.iter().zip(stream.as_ref()).map(|(a, b)| a ^ b));
        stream = sha1(stream.as_ref());
    }
    if sha1(&plain).as_ref() != check {
        return Err("the key's password is wrong".to_owned());
    }
    Ok(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(plain)))
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}
