//! What a person reads when the address is wrong: one sentence that says so, within the time that was allowed.

use ottla::client::{Client, ClientOptions, Env, Error, ErrorKind};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const ALLOWED: Duration = Duration::from_millis(700);

/// What [`Client::ready`] says of this address, and that it does in time.
async fn refused(address: &str) -> Error {
    let env = Env::real();
    let client = Client::new(env.clone(), ClientOptions::new(address)).expect("the address is well formed");
    let started = env.monotonic();
    let error = client.ready(ALLOWED).await.expect_err("no broker is there");
    let took = env.monotonic() - started;
    assert!(took < ALLOWED * 3, "{took:?}");
    error
}

/// Listens and does `with` to each connection.
async fn server<F: Future<Output = ()> + Send>(with: impl Fn(TcpStream) -> F + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    Env::real().spawn("server", async move {
        while let Ok((socket, _)) = listener.accept().await {
            with(socket).await;
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    drop(listener);
    let error = refused(&address).await;
    assert_eq!(error.kind(), ErrorKind::Retriable);
    assert!(error.message().contains(&format!("cannot connect to {address}")), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tls_port() {
    // A TLS server answers what is not a handshake with a fatal alert (unexpected_message).
    let address = server(|mut socket| async move {
        let _ = socket.read(&mut [0; 1024]).await;
        let _ = socket.write_all(&[0x15, 3, 3, 0, 2, 2, 10]).await;
        let _ = socket.shutdown().await;
    })
    .await;
    let error = refused(&address).await;
    assert!(error.message().contains("speaks TLS, not Kafka"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_hangs_up() {
    let address = server(|mut socket| async move {
        let _ = socket.read(&mut [0; 1024]).await;
    })
    .await;
    let error = refused(&address).await;
    assert!(error.message().contains("is this a TLS listener"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_says_nothing() {
    let held = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let address = server(move |socket| {
        held.lock().expect("not poisoned").push(socket);
        std::future::ready(())
    })
    .await;
    let error = refused(&address).await;
    assert!(error.message().contains("is a Kafka listener on this port"), "{error}");
}

#[tokio::test]
async fn addresses_that_cannot_be_meant() {
    for (address, says) in [("", "is empty"), ("localhost", "expected host:port"), ("a:1,b:x", "\"b:x\"")] {
        let error = Client::new(Env::real(), ClientOptions::new(address)).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains(says), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_broker_is_asked_again_in_its_own_version() {
    // KIP-511: the refusal comes in version 0, whatever was asked, and names the versions that are served.
    let address = server(|mut socket| async move {
        for (code, ranges) in [(35i16, &[(18i16, 0i16, 2i16)][..]), (0, &[(18, 0, 2), (3, 0, 1)])] {
            let Ok(size) = socket.read_i32().await else { return };
            let mut frame = vec![0; size as usize];
            let Ok(_) = socket.read_exact(&mut frame).await else { return };
            let version = i16::from_be_bytes([frame[2], frame[3]]);
            assert!(code == 35 || version == 2, "{version}");
            let mut body = frame[4..8].to_vec();
            body.extend(code.to_be_bytes());
            body.extend((ranges.len() as i32).to_be_bytes());
            for (key, lowest, highest) in ranges {
                [key, lowest, highest].iter().for_each(|part| body.extend(part.to_be_bytes()));
            }
            if code == 0 {
                body.extend(0i32.to_be_bytes());
            }
            let mut answer = (body.len() as i32).to_be_bytes().to_vec();
            answer.extend(body);
            let Ok(()) = socket.write_all(&answer).await else { return };
        }
        // The next request is Metadata 1, which this client cannot fill in; its mistake must name both sides' versions.
        let _ = socket.read(&mut [0; 1024]).await;
    })
    .await;
    let error = refused(&address).await;
    assert!(!error.message().contains("UNSUPPORTED_VERSION"), "{error}");
}
