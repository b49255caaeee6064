//! How a client secures a connection: TLS, SASL, both or neither, under Kafka's config names.
//!
//! [`SecurityOptions`] is what the user said, [`Security`] what was made of it once, at the client's start: key stores
//! read, cipher suites found, credentials parsed. Every connection of the client shares it.
//! Deliberately not here: Kerberos (GSSAPI), the JDK's security providers, and the broker's side.

mod der;
mod jks;
mod stores;
mod tls;

pub use tls::TlsOptions;
pub(crate) use tls::{TlsClient, provider, server_name, trusted};

use crate::sasl::{Sasl, SaslOptions};
use ottla_env::Env;
use std::fmt;
use std::sync::Arc;

/// A password, a key or a token. It is never shown: `Debug` says only that there is one.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

/// `security.protocol`: whether there is TLS and whether there is SASL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SecurityProtocol {
    /// Neither.
    #[default]
    Plaintext,
    /// TLS; who the client is says its certificate, if it has one.
    Ssl,
    /// SASL without encryption.
    SaslPlaintext,
    /// SASL inside TLS.
    SaslSsl,
}

impl SecurityProtocol {
    /// Kafka's name, in any case.
    pub fn parse(name: &str) -> Option<SecurityProtocol> {
        let all = [
            SecurityProtocol::Plaintext,
            SecurityProtocol::Ssl,
            SecurityProtocol::SaslPlaintext,
            SecurityProtocol::SaslSsl,
        ];
        all.into_iter().find(|protocol| protocol.name().eq_ignore_ascii_case(name))
    }

    /// Kafka's name: `SASL_SSL`.
    pub fn name(self) -> &'static str {
        match self {
            SecurityProtocol::Plaintext => "PLAINTEXT",
            SecurityProtocol::Ssl => "SSL",
            SecurityProtocol::SaslPlaintext => "SASL_PLAINTEXT",
            SecurityProtocol::SaslSsl => "SASL_SSL",
        }
    }

    fn has_tls(self) -> bool {
        matches!(self, SecurityProtocol::Ssl | SecurityProtocol::SaslSsl)
    }

    fn has_sasl(self) -> bool {
        matches!(self, SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl)
    }
}

/// What the user said about security.
#[derive(Debug, Clone, Default)]
pub struct SecurityOptions {
    /// `security.protocol`.
    pub protocol: SecurityProtocol,
    /// `ssl.*`; without effect unless the protocol has TLS.
    pub tls: TlsOptions,
    /// `sasl.*`; without effect unless the protocol has SASL.
    pub sasl: SaslOptions,
}

/// What a client's connections need to be secure; made once, shared by all of them.
#[derive(Debug, Clone, Default)]
pub struct Security {
    pub(crate) tls: Option<TlsClient>,
    pub(crate) sasl: Option<Arc<Sasl>>,
}

impl Security {
    /// Reads the key stores and credentials that `options` name.
    ///
    /// # Errors
    /// A sentence that names the config and says what to do.
    pub fn new(env: &Env, options: &SecurityOptions) -> Result<Security, String> {
        let tls = options.protocol.has_tls().then(|| TlsClient::new(env, &options.tls)).transpose()?;
        let sasl = match options.protocol.has_sasl() {
            true => Some(Arc::new(Sasl::new(env, &options.sasl, &options.tls)?)),
            false => None,
        };
        Ok(Security { tls, sasl })
    }

    /// Whether connections authenticate by SASL, for which [`crate::ClientConnection::authenticate`] has to be called.
    pub fn has_sasl(&self) -> bool {
        self.sasl.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let mut options = SecurityOptions::default();
        options.tls.key_password = Some(Secret::new("swordfish"));
        options.tls.keystore_key = Some(Secret::new("swordfish"));
        options.sasl.jaas_config = Some(Secret::new("x required password=\"swordfish\";"));
        assert!(!format!("{options:?}").contains("swordfish"));
    }

    #[test]
    fn protocols_by_name() {
        assert_eq!(SecurityProtocol::parse("sasl_ssl"), Some(SecurityProtocol::SaslSsl));
        assert_eq!(SecurityProtocol::parse("TLS"), None);
    }
}
