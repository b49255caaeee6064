//! TLS on the client's side, by rustls: trust, the client's own certificate, and failures in sentences.

use super::{Secret, stores};
use crate::client::ClientError;
use ottla_env::Env;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// `ssl.*`, under Kafka's names and with its defaults.
#[derive(Debug, Clone)]
pub struct TlsOptions {
    /// `ssl.enabled.protocols`: `TLSv1.2`, `TLSv1.3`.
    pub enabled_protocols: Vec<String>,
    /// `ssl.cipher.suites`: IANA's names, as Java's; empty is all that are considered good.
    pub cipher_suites: Vec<String>,
    /// `ssl.endpoint.identification.algorithm`: `https`, or empty to not compare the broker's name.
    pub endpoint_identification_algorithm: String,
    /// `ssl.truststore.type`: `JKS`, `PKCS12` or `PEM`.
    pub truststore_type: String,
    /// `ssl.truststore.location`; without it and without certificates the system's roots are trusted.
    pub truststore_location: Option<String>,
    /// `ssl.truststore.password`.
    pub truststore_password: Option<Secret>,
    /// `ssl.truststore.certificates`: PEM.
    pub truststore_certificates: Option<Secret>,
    /// `ssl.keystore.type`: `JKS`, `PKCS12` or `PEM`.
    pub keystore_type: String,
    /// `ssl.keystore.location`: the client's own certificate chain and key.
    pub keystore_location: Option<String>,
    /// `ssl.keystore.password`.
    pub keystore_password: Option<Secret>,
    /// `ssl.keystore.key`: PEM.
    pub keystore_key: Option<Secret>,
    /// `ssl.keystore.certificate.chain`: PEM.
    pub keystore_certificate_chain: Option<Secret>,
    /// `ssl.key.password`.
    pub key_password: Option<Secret>,
}

impl Default for TlsOptions {
    fn default() -> TlsOptions {
        TlsOptions {
            enabled_protocols: vec!["TLSv1.2".to_owned(), "TLSv1.3".to_owned()],
            cipher_suites: Vec::new(),
            endpoint_identification_algorithm: "https".to_owned(),
            truststore_type: "JKS".to_owned(),
            truststore_location: None,
            truststore_password: None,
            truststore_certificates: None,
            keystore_type: "JKS".to_owned(),
            keystore_location: None,
            keystore_password: None,
            keystore_key: None,
            keystore_certificate_chain: None,
            key_password: None,
        }
    }
}

/// What every TLS connection of a client is made with.
#[derive(Debug, Clone)]
pub(crate) struct TlsClient {
    config: Arc<ClientConfig>,
    /// Whether the client has a certificate to show.
    has_identity: bool,
}

impl TlsClient {
    pub(crate) fn new(env: &Env, options: &TlsOptions) -> Result<TlsClient, String> {
        let provider = Arc::new(provider(options)?);
        let verifier = Verifier::new(env, options, provider.clone())?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions(options)?)
            .map_err(|error| format!("ssl.enabled.protocols and ssl.cipher.suites do not go together: {error}"))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let identity = stores::identity(env, options)?;
        let has_identity = identity.is_some();
        let config = match identity {
            Some((chain, key)) => builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| format!("the key and the certificate of ssl.keystore.* cannot be used: {error}"))?,
            None => builder.with_no_client_auth(),
        };
        Ok(TlsClient { config: Arc::new(config), has_identity })
    }

    /// The handshake as a client of `server`.
    pub(crate) async fn handshake(
        &self,
        socket: TcpStream,
        server: ServerName<'static>,
    ) -> io::Result<TlsStream<TcpStream>> {
        TlsConnector::from(self.config.clone()).connect(server, socket).await
    }

    /// What a failed handshake with `address` means.
    pub(crate) fn explain(&self, address: &str, error: &io::Error) -> ClientError {
        match sentence(error, self.has_identity) {
            Some(reason) => ClientError::Security(format!("{address}: {reason}")),
            // Kafka's plaintext listener takes a TLS greeting for a frame that is too large, and hangs up.
            None => ClientError::Connect {
                address: address.to_owned(),
                reason: format!(
                    "the TLS handshake failed ({error}); is this a TLS listener? security.protocol says that it is"
                ),
            },
        }
    }

    /// As [`TlsClient::explain`] for an established connection: with TLS 1.3 a broker refuses a client after it.
    pub(crate) fn refusal(&self, error: &io::Error) -> Option<String> {
        sentence(error, self.has_identity)
    }
}

/// The certificates that TLS outside of Kafka's protocol (a token endpoint) trusts; `None` is the system's.
pub(crate) fn trusted(env: &Env, options: &TlsOptions) -> Result<Vec<CertificateDer<'static>>, String> {
    match stores::trusted(env, options)? {
        Some(certificates) => Ok(certificates),
        None => {
            let found = rustls_native_certs::load_native_certs();
            match found.certs.is_empty() {
                false => Ok(found.certs),
                true => {
                    let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
                    Err(format!("this system has no trusted certificates{why}; set ssl.truststore.location"))
                }
            }
        }
    }
}

/// The cryptography of TLS, limited to the suites that are configured.
pub(crate) fn provider(options: &TlsOptions) -> Result<CryptoProvider, String> {
    let mut provider = ring::default_provider();
    if options.cipher_suites.is_empty() {
        return Ok(provider);
    }
    // rustls marks those of TLS 1.3 in its names, IANA and Java do not.
    let name = |suite: &rustls::SupportedCipherSuite| format!("{:?}", suite.suite()).replace("TLS13_", "TLS_");
    let known: Vec<String> = provider.cipher_suites.iter().map(name).collect();
    if let Some(unknown) = options.cipher_suites.iter().find(|wanted| !known.contains(wanted)) {
        return Err(format!("ssl.cipher.suites: {unknown} is not offered; there are {}", known.join(", ")));
    }
    provider.cipher_suites.retain(|suite| options.cipher_suites.contains(&name(suite)));
    Ok(provider)
}

fn versions(options: &TlsOptions) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
    let version = |name: &String| match name.as_str() {
        "TLSv1.3" => Ok(&rustls::version::TLS13),
        "TLSv1.2" => Ok(&rustls::version::TLS12),
        other => Err(format!("ssl.enabled.protocols: {other} is not offered; there are TLSv1.2 and TLSv1.3")),
    };
    options.enabled_protocols.iter().map(version).collect()
}

/// The name to check the broker's certificate for: the host of `host:port`.
pub(crate) fn server_name(address: &str) -> Result<ServerName<'static>, String> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(host.to_owned()).map_err(|_| format!("{host} is not a host name that TLS can check"))
}

/// webpki's rules with two of Java's liberties: a certificate that is itself in the trust store is trusted even if it
/// says that it is an authority (`openssl req -x509` makes such), and the name may be left unchecked.
#[derive(Debug)]
struct Verifier {
    roots: Arc<RootCertStore>,
    inner: Arc<WebPkiServerVerifier>,
    pinned: Vec<CertificateDer<'static>>,
    check_name: bool,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn new(env: &Env, options: &TlsOptions, provider: Arc<CryptoProvider>) -> Result<Verifier, String> {
        let check_name = match options.endpoint_identification_algorithm.trim() {
            "" => false,
            name if name.eq_ignore_ascii_case("https") => true,
            other => {
                return Err(format!("ssl.endpoint.identification.algorithm: {other} is neither https nor empty"));
            }
        };
        let certificates = trusted(env, options)?;
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(certificates.iter().cloned());
        if added == 0 {
            return Err("ssl.truststore.*: none of its certificates can be used".to_owned());
        }
        let roots = Arc::new(roots);
        let inner = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|error| format!("ssl.truststore.*: {error}"))?;
        Ok(Verifier { roots, inner, pinned: certificates, check_name, provider })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        let chained = rustls::client::verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots,
            intermediates,
            now,
            algorithms,
        );
        match chained {
            Ok(()) => {}
            // webpki looks at the dates before it finds that an authority is used as a server.
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(_)))
                if self.pinned.iter().any(|pinned| pinned == end_entity) => {}
            Err(error) => return Err(error),
        }
        if self.check_name {
            rustls::client::verify_server_name(&certificate, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// What TLS refused and what to do; `None` for errors of the socket beneath.
fn sentence(error: &io::Error, has_identity: bool) -> Option<String> {
    use rustls::Error;
    let tls = error.get_ref()?.downcast_ref::<Error>()?;
    let said = match tls {
        Error::InvalidCertificate(reason) => certificate(reason),
        Error::InvalidMessage(_) => {
            "the broker does not speak TLS; is this a PLAINTEXT listener? security.protocol says that it is TLS"
                .to_owned()
        }
        Error::AlertReceived(AlertDescription::ProtocolVersion) | Error::PeerIncompatible(_) => {
            format!("there is no TLS version or cipher that both sides accept; see ssl.enabled.protocols ({tls})")
        }
        Error::AlertReceived(AlertDescription::HandshakeFailure) if has_identity => {
            format!("the broker refused the TLS handshake; see ssl.cipher.suites ({tls})")
        }
        Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::HandshakeFailure,
        ) if !has_identity => {
            format!("the broker wants a certificate of this client; set ssl.keystore.location ({tls})")
        }
        Error::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied,
        ) => format!("the broker does not accept the certificate of ssl.keystore.* ({tls})"),
        other => format!("TLS failed: {other}"),
    };
    Some(said)
}

fn certificate(reason: &CertificateError) -> String {
    match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("the broker's certificate has expired ({reason})")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("the broker's certificate is not valid yet; is this clock right? ({reason})")
        }
        // An issuer that was made anew under the same name is another one.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "the broker's certificate is from an unknown issuer; put the issuer's \
             certificate into the file of ssl.truststore.location"
                .to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => format!(
            "the broker's certificate is for another name ({reason}); an empty ssl.endpoint.identification.algorithm \
             leaves the name unchecked"
        ),
        CertificateError::Revoked => "the broker's certificate was revoked".to_owned(),
        other => format!("the broker's certificate cannot be used: {other}"),
    }
}
