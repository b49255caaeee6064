//! SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802), the client's half, without channel binding.
//!
//! As in the Java client names and passwords go as UTF-8 as they are, without SASLprep: the credentials in the cluster were
//! made that way too.

use crate::security::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};
use std::num::NonZeroU32;

/// Fewer iterations than this make a stolen conversation too easy to guess from; Java's limit.
const ITERATIONS_MIN: u32 = 4096;
/// More than this would let a broker keep this client busy: half a second per connection.
const ITERATIONS_MAX: u32 = 1_000_000;

/// Which hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Hash::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Hash::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Hash::Sha256 => hmac::HMAC_SHA256,
            Hash::Sha512 => hmac::HMAC_SHA512,
        }
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Hash::Sha256 => &digest::SHA256,
            Hash::Sha512 => &digest::SHA512,
        }
    }

    fn sign(self, key: &[u8], text: &str) -> hmac::Tag {
        hmac::sign(&hmac::Key::new(self.hmac(), key), text.as_bytes())
    }
}

/// The conversation's first step: what the client says before it has heard anything.
#[derive(Debug)]
pub(crate) struct ClientFirst {
    hash: Hash,
    nonce: String,
    bare: String,
}

impl ClientFirst {
    /// `token` says that the name and the password are a delegation token's id and HMAC (KIP-48).
    pub(crate) fn new(hash: Hash, user: &str, token: bool, nonce: String) -> ClientFirst {
        let name = user.replace('=', "=3D").replace(',', "=2C");
        let extension = if token { ",tokenauth=true" } else { "" };
        let bare = format!("n={name},r={nonce}{extension}");
        ClientFirst { hash, nonce, bare }
    }

    pub(crate) fn message(&self) -> Vec<u8> {
        format!("n,,{}", self.bare).into_bytes()
    }

    /// Proves that the password is known, for what the server said first. Takes some milliseconds of hashing.
    pub(crate) fn answer(self, server_first: &[u8], password: &Secret) -> Result<ClientFinal, String> {
        let server_first = std::str::from_utf8(server_first).map_err(|_| "the server's first message is not text")?;
        let server = ServerFirst::parse(server_first)?;
        if !server.nonce.starts_with(&self.nonce) || server.nonce.len() == self.nonce.len() {
            return Err("the server's nonce does not go on from this client's: it may be an impostor".to_owned());
        }
        if server.iterations.get() < ITERATIONS_MIN {
            return Err(format!("the server asks for {} iterations, fewer than {ITERATIONS_MIN}", server.iterations));
        }
        if server.iterations.get() > ITERATIONS_MAX {
            return Err(format!("the server asks for {} iterations, more than {ITERATIONS_MAX}", server.iterations));
        }
        let hash = self.hash;
        let mut salted = vec![0; hash.digest().output_len()];
        let secret = password.reveal().as_bytes();
        pbkdf2::derive(hash.pbkdf2(), server.iterations, &server.salt, secret, &mut salted);
        let client_key = hash.sign(&salted, "Client Key");
        let stored_key = digest::digest(hash.digest(), client_key.as_ref());
        // "biws" is "n,," in base64: no channel binding.
        let without_proof = format!("c=biws,r={}", server.nonce);
        let auth_message = format!("{},{server_first},{without_proof}", self.bare);
        let signature = hash.sign(stored_key.as_ref(), &auth_message);
        let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        let message = format!("{without_proof},p={}", STANDARD.encode(proof));
        let server_key = hash.sign(&salted, "Server Key");
        Ok(ClientFinal { message, server_key: hmac::Key::new(hash.hmac(), server_key.as_ref()), auth_message })
    }
}

struct ServerFirst<'a> {
    nonce: &'a str,
    salt: Vec<u8>,
    iterations: NonZeroU32,
}

impl ServerFirst<'_> {
    fn parse(message: &str) -> Result<ServerFirst<'_>, String> {
        let malformed = || "the server's first message is not SCRAM's".to_owned();
        if message.starts_with("m=") {
            return Err("the server asks for a SCRAM extension that is not known".to_owned());
        }
        let mut parts = message.split(',');
        let mut field = |name: &str| parts.next().and_then(|part| part.strip_prefix(name)).ok_or_else(malformed);
        let nonce = field("r=")?;
        let salt = STANDARD.decode(field("s=")?).map_err(|_| malformed())?;
        let iterations = field("i=")?.parse().map_err(|_| malformed())?;
        Ok(ServerFirst { nonce, salt, iterations })
    }
}

/// The conversation's last step: the client has proved itself, now the server has to.
pub(crate) struct ClientFinal {
    message: String,
    server_key: hmac::Key,
    auth_message: String,
}

impl ClientFinal {
    pub(crate) fn message(&self) -> Vec<u8> {
        self.message.clone().into_bytes()
    }

    /// Whether the server knows the password as well.
    pub(crate) fn verify(self, server_final: &[u8]) -> Result<(), String> {
        let server_final = std::str::from_utf8(server_final).map_err(|_| "the server's last message is not text")?;
        if let Some(error) = server_final.strip_prefix("e=") {
            return Err(format!("the server refused: {}", error.split(',').next().unwrap_or_default()));
        }
        let signature = server_final.strip_prefix("v=").and_then(|rest| rest.split(',').next());
        let signature = signature.and_then(|text| STANDARD.decode(text).ok());
        let signature = signature.ok_or("the server's last message is not SCRAM's")?;
        hmac::verify(&self.server_key, self.auth_message.as_bytes(), &signature)
            .map_err(|_| "the server does not know the password: it may be an impostor".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677, section 3.
    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const SERVER_FINAL: &[u8] = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn first() -> ClientFirst {
        ClientFirst::new(Hash::Sha256, "user", false, NONCE.to_owned())
    }

    #[test]
    fn the_example_of_rfc_7677() {
        let first = first();
        assert_eq!(first.message(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let last = first.answer(SERVER_FIRST.as_bytes(), &Secret::new("pencil")).unwrap();
        assert_eq!(
            String::from_utf8(last.message()).unwrap(),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        last.verify(SERVER_FINAL).unwrap();
    }

    #[test]
    fn an_impostor_is_found() {
        let answer = |password: &str| first().answer(SERVER_FIRST.as_bytes(), &Secret::new(password)).unwrap();
        // It does not know the password that this client has.
        assert!(answer("pencil2").verify(SERVER_FINAL).unwrap_err().contains("impostor"));
        assert!(answer("pencil").verify(b"v=AAAA").unwrap_err().contains("impostor"));
        assert!(answer("pencil").verify(b"e=unknown-user").unwrap_err().contains("unknown-user"));
        assert!(answer("pencil").verify(b"ok").is_err());
    }

    #[test]
    fn the_servers_first_message_is_checked() {
        for (message, says) in [
            ("r=other,s=AAAA,i=4096", "impostor"),
            ("r=rOprNGfwEbeRWgbNEkqO,s=AAAA,i=4096", "impostor"),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=AAAA,i=4095", "fewer"),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=AAAA,i=4000000000", "more"),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=AAAA,i=0", "not SCRAM"),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=?,i=4096", "not SCRAM"),
            ("m=x,r=rOprNGfwEbeRWgbNEkqOx,s=AAAA,i=4096", "extension"),
            ("", "not SCRAM"),
        ] {
            let error = first().answer(message.as_bytes(), &Secret::new("pencil")).err();
            assert!(error.as_ref().is_some_and(|error| error.contains(says)), "{message}: {error:?}");
        }
    }

    #[test]
    fn names_are_escaped_and_tokens_marked() {
        let first = ClientFirst::new(Hash::Sha512, "a=b,c", true, "n".to_owned());
        assert_eq!(first.message(), b"n,,n=a=3Db=2Cc,r=n,tokenauth=true");
    }
}
