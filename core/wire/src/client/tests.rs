//! Connections to sockets that a test plays.

use super::*;
use ottla_protocol::ApiVersionsRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(10);

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

async fn dial(address: &str) -> ClientConnection {
    let options =
        ConnectOptions { client_id: Str::from("test"), connect_timeout: LONG, in_flight_max: 2, ..Default::default() };
    ClientConnection::connect(&Env::real(), address, &options).await.unwrap()
}

/// Reads one request and gives its correlation id.
async fn read_request(socket: &mut TcpStream) -> i32 {
    let size = socket.read_i32().await.unwrap() as usize;
    let mut frame = vec![0; size];
    socket.read_exact(&mut frame).await.unwrap();
    i32::from_be_bytes(frame[4..8].try_into().unwrap())
}

/// Answers ApiVersions 0 with an empty list and this error code.
async fn answer(socket: &mut TcpStream, id: i32, code: i16) {
    let mut frame = 10i32.to_be_bytes().to_vec();
    frame.extend(id.to_be_bytes());
    frame.extend(code.to_be_bytes());
    frame.extend(0i32.to_be_bytes());
    socket.write_all(&frame).await.unwrap();
}

#[tokio::test]
async fn a_request_that_timed_out_is_forgotten() {
    let (listener, address) = listen().await;
    let connection = dial(&address).await;
    let (mut socket, _) = listener.accept().await.unwrap();
    let request = ApiVersionsRequest::default();
    let late = connection.request(&request, 0, SHORT).await;
    assert!(matches!(late, Err(ClientError::Timeout { .. })), "{late:?}");
    assert!(connection.inner.waiting.by_id.lock().is_empty());
    // So is one whose future was dropped.
    let pending = connection.start(&request, 0).await.unwrap();
    assert_eq!(connection.inner.waiting.by_id.lock().len(), 1);
    drop(pending);
    assert!(connection.inner.waiting.by_id.lock().is_empty());
    // Their answers come late and go nowhere; the permits are back, and the next request gets its own answer.
    let third = connection.start(&request, 0).await.unwrap();
    for code in [1, 2, 3] {
        let id = read_request(&mut socket).await;
        answer(&mut socket, id, code).await;
    }
    assert_eq!(third.wait(LONG).await.unwrap().error_code, 3);
}

#[tokio::test]
async fn answers_find_their_requests_in_any_order() {
    let (listener, address) = listen().await;
    let connection = dial(&address).await;
    let (mut socket, _) = listener.accept().await.unwrap();
    let request = ApiVersionsRequest::default();
    let first = connection.start(&request, 0).await.unwrap();
    let second = connection.start(&request, 0).await.unwrap();
    let ids = [read_request(&mut socket).await, read_request(&mut socket).await];
    answer(&mut socket, ids[1], 12).await;
    answer(&mut socket, ids[0], 11).await;
    assert_eq!(first.wait(LONG).await.unwrap().error_code, 11);
    assert_eq!(second.wait(LONG).await.unwrap().error_code, 12);
}

#[tokio::test]
async fn a_peer_of_another_protocol_is_named() {
    for (said, name) in [(&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "HTTP"), (&[0x15, 3, 3, 0, 2, 2, 10], "TLS")] {
        let (listener, address) = listen().await;
        let connection = dial(&address).await;
        let (mut socket, _) = listener.accept().await.unwrap();
        let pending = connection.start(&ApiVersionsRequest::default(), 0).await.unwrap();
        socket.write_all(said).await.unwrap();
        match pending.wait(LONG).await {
            Err(ClientError::Disconnected(reason)) => assert!(reason.contains(name), "{reason}"),
            other => panic!("{other:?}"),
        }
        assert!(connection.is_closed());
    }
}

#[tokio::test]
async fn closing_fails_what_is_outstanding_and_what_comes_after() {
    let (listener, address) = listen().await;
    let connection = dial(&address).await;
    let (_socket, _) = listener.accept().await.unwrap();
    let request = ApiVersionsRequest::default();
    let pending = connection.start(&request, 0).await.unwrap();
    connection.close();
    assert!(matches!(pending.wait(LONG).await, Err(ClientError::Disconnected(_))));
    assert!(matches!(connection.start(&request, 0).await, Err(ClientError::Disconnected(_))));
}

#[tokio::test]
async fn a_dropped_connection_still_sends_what_was_queued() {
    let (listener, address) = listen().await;
    let connection = dial(&address).await;
    let (mut socket, _) = listener.accept().await.unwrap();
    for _ in 0..2 {
        connection.send(&ApiVersionsRequest::default(), 0).await.unwrap();
    }
    drop(connection);
    read_request(&mut socket).await;
    read_request(&mut socket).await;
    assert_eq!(socket.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_refused_connection_names_the_address() {
    let (listener, address) = listen().await;
    drop(listener);
    let options =
        ConnectOptions { client_id: Str::from("test"), connect_timeout: LONG, in_flight_max: 1, ..Default::default() };
    let error = ClientConnection::connect(&Env::real(), &address, &options).await.unwrap_err();
    assert!(error.to_string().contains(&address), "{error}");
}
