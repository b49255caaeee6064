//! TLS of client connections against a server in this process.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use ottla_env::Env;
use ottla_protocol::{ApiVersionsRequest, SaslAuthenticateRequest};
use ottla_wire::{ClientConnection, ClientError, ConnectOptions, Secret, Security, SecurityOptions, SecurityProtocol};
use ottla_wire::{TlsOptions, Traffic};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

const LONG: Duration = Duration::from_secs(10);

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for `name`, and its key.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}

/// A server that answers each frame with its own content; with `clients` it wants their certificates.
async fn serve(pem: (String, String), clients: Option<&Authority>) -> u16 {
    use rustls::pki_types::pem::PemObject;
    let chain = vec![CertificateDer::from_pem_slice(pem.0.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(pem.1.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(rustls::ALL_VERSIONS).unwrap();
    let builder = match clients {
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.0.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let acceptor = TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    Env::real().spawn("tls server", async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            Env::real().spawn("tls connection", answer(acceptor.clone(), socket));
        }
    });
    port
}

/// Correlation id and an empty list: enough of an answer to ApiVersions 0, and behind it as much as was asked.
async fn answer(acceptor: TlsAcceptor, socket: TcpStream) {
    let Ok(mut stream) = acceptor.accept(socket).await else { return };
    while let Ok(size) = stream.read_i32().await {
        let mut frame = vec![0; size as usize];
        stream.read_exact(&mut frame).await.unwrap();
        let mut answer = frame[4..8].to_vec();
        answer.extend([0; 6]);
        answer.extend(&frame);
        stream.write_i32(answer.len() as i32).await.unwrap();
        stream.write_all(&answer).await.unwrap();
        stream.flush().await.unwrap();
    }
}

async fn connect(
    address: &str,
    tls: TlsOptions,
    traffic: Option<Arc<dyn Traffic>>,
) -> Result<ClientConnection, ClientError> {
    let options = SecurityOptions { protocol: SecurityProtocol::Ssl, tls, ..SecurityOptions::default() };
    let security = Arc::new(Security::new(&Env::real(), &options).unwrap());
    let options = ConnectOptions { connect_timeout: LONG, security, traffic, ..ConnectOptions::default() };
    ClientConnection::connect(&Env::real(), address, &options).await
}

fn trusting(authority: &Authority) -> TlsOptions {
    TlsOptions {
        truststore_type: "PEM".to_owned(),
        truststore_certificates: Some(Secret::new(authority.pem())),
        ..TlsOptions::default()
    }
}

#[derive(Debug, Default)]
struct Count {
    sent: AtomicUsize,
    received: AtomicUsize,
    answers: AtomicUsize,
}

impl Traffic for Count {
    fn opened(&self) {}

    fn sent(&self, bytes: usize, _now: Duration) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    fn received(&self, bytes: usize, latency: Option<Duration>, _now: Duration) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
        self.answers.fetch_add(usize::from(latency.is_some()), Ordering::Relaxed);
    }

    fn authenticated(&self, _again: bool, _well: bool, _took: Duration) {}

    fn closed(&self) {}
}

#[tokio::test]
async fn frames_of_all_sizes_pass_and_are_counted() {
    let authority = Authority::new("one");
    let port = serve(authority.issue("localhost"), None).await;
    let count = Arc::new(Count::default());
    let connection = connect(&format!("localhost:{port}"), trusting(&authority), Some(count.clone())).await.unwrap();
    connection.request(&ApiVersionsRequest::default(), 0, LONG).await.unwrap();
    // More than TLS puts into one record, and more than a socket takes at once.
    for size in [1, 16 * 1024, 16 * 1024 + 1, 3_000_000] {
        let request = SaslAuthenticateRequest { auth_bytes: vec![7; size].into(), ..Default::default() };
        let pending = connection.start(&request, 0).await.unwrap();
        let frame = pending.frame(LONG).await.unwrap();
        assert!(frame.len() > size && frame[frame.len() - size..].iter().all(|byte| *byte == 7));
    }
    assert!(count.sent.load(Ordering::Relaxed) > 3_000_000);
    assert!(count.received.load(Ordering::Relaxed) > 3_000_000);
    assert_eq!(count.answers.load(Ordering::Relaxed), 5);
}

async fn refused(address: &str, tls: TlsOptions) -> String {
    match connect(address, tls, None).await {
        Err(ClientError::Security(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_servers_certificate_is_said() {
    let (authority, other) = (Authority::new("one"), Authority::new("other"));
    let port = serve(authority.issue("localhost"), None).await;
    let reason = refused(&format!("localhost:{port}"), trusting(&other)).await;
    assert!(reason.contains("unknown issuer") && reason.contains("ssl.truststore.location"), "{reason}");
    let address = format!("127.0.0.1:{port}");
    let reason = refused(&address, trusting(&authority)).await;
    assert!(reason.contains("another name") && reason.contains("127.0.0.1"), "{reason}");
    let unchecked = TlsOptions { endpoint_identification_algorithm: String::new(), ..trusting(&authority) };
    connect(&address, unchecked, None).await.unwrap();
    // The same name with another key is another issuer.
    let namesake = refused(&format!("localhost:{port}"), trusting(&Authority::new("one"))).await;
    assert!(namesake.contains("unknown issuer"), "{namesake}");
    // Whoever issued it is still asked for.
    let unchecked = TlsOptions { endpoint_identification_algorithm: String::new(), ..trusting(&other) };
    assert!(refused(&address, unchecked).await.contains("unknown issuer"));
}

#[tokio::test]
async fn an_authority_in_the_trust_store_may_be_the_server_itself() {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pinned = Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap());
    let port = serve((pinned.pem(), pinned.0.key().serialize_pem()), None).await;
    connect(&format!("localhost:{port}"), trusting(&pinned), None).await.unwrap();
    let reason = refused(&format!("127.0.0.1:{port}"), trusting(&pinned)).await;
    assert!(reason.contains("another name"), "{reason}");
}

#[tokio::test]
async fn a_client_shows_its_certificate_or_is_told_that_it_needs_one() {
    let authority = Authority::new("one");
    let port = serve(authority.issue("localhost"), Some(&authority)).await;
    let address = format!("localhost:{port}");
    let (chain, key) = authority.issue("client");
    let known = TlsOptions {
        keystore_type: "PEM".to_owned(),
        keystore_certificate_chain: Some(Secret::new(chain)),
        keystore_key: Some(Secret::new(key)),
        ..trusting(&authority)
    };
    let connection = connect(&address, known.clone(), None).await.unwrap();
    connection.request(&ApiVersionsRequest::default(), 0, LONG).await.unwrap();
    // With TLS 1.2 the refusal is part of the handshake, with TLS 1.3 it comes after it.
    let old = TlsOptions { enabled_protocols: vec!["TLSv1.2".to_owned()], ..trusting(&authority) };
    assert!(refused(&address, old).await.contains("ssl.keystore.location"));
    let connection = connect(&address, trusting(&authority), None).await.unwrap();
    match connection.request(&ApiVersionsRequest::default(), 0, LONG).await {
        Err(ClientError::Security(reason)) => assert!(reason.contains("ssl.keystore.location"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert!(!format!("{known:?}").contains("PRIVATE"), "{known:?}");
}

#[tokio::test]
async fn a_listener_without_tls_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    Env::real().spawn("plain server", async move {
        for greeting in [&b""[..], b"220 mail.example.org ESMTP\r\n"] {
            let (mut socket, _) = listener.accept().await.unwrap();
            socket.read_u8().await.unwrap();
            socket.write_all(greeting).await.unwrap();
        }
    });
    let tls = trusting(&Authority::new("one"));
    // Kafka's plaintext listener takes the greeting for a frame that is too large, and closes.
    let error = connect(&address, tls.clone(), None).await.unwrap_err().to_string();
    assert!(error.contains("is this a TLS listener?"), "{error}");
    let reason = refused(&address, tls).await;
    assert!(reason.contains("does not speak TLS"), "{reason}");
}

#[test]
fn settings_that_cannot_be_used_are_named() {
    let authority = Authority::new("one");
    let good = trusting(&authority);
    let set = |change: fn(&mut TlsOptions)| {
        let mut tls = good.clone();
        change(&mut tls);
        let options = SecurityOptions { protocol: SecurityProtocol::Ssl, tls, ..SecurityOptions::default() };
        Security::new(&Env::memory(), &options).unwrap_err()
    };
    assert!(set(|tls| tls.cipher_suites = vec!["TLS_NULL".to_owned()]).contains("ssl.cipher.suites: TLS_NULL"));
    assert!(set(|tls| tls.enabled_protocols = vec!["TLSv1".to_owned()]).contains("ssl.enabled.protocols: TLSv1"));
    assert!(set(|tls| tls.endpoint_identification_algorithm = "x".to_owned()).contains("identification"));
    assert!(set(|tls| tls.truststore_type = "JKS".to_owned()).contains("ssl.truststore.type=PEM"));
    assert!(set(|tls| tls.truststore_certificates = Some(Secret::new("x"))).contains("BEGIN CERTIFICATE"));
    assert!(set(|tls| tls.keystore_key = Some(Secret::new("x"))).contains("ssl.keystore.type=PEM"));
    assert!(set(|tls| tls.keystore_location = Some("/none".to_owned())).contains("/none"));
    // A suite of TLS 1.3 alone leaves nothing for TLS 1.2.
    let both = set(|tls| {
        tls.cipher_suites = vec!["TLS_AES_128_GCM_SHA256".to_owned()];
        tls.enabled_protocols = vec!["TLSv1.2".to_owned()];
    });
    assert!(both.contains("do not go together"), "{both}");
}
