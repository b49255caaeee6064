//! Bytes on a socket, for what no client library does: the few requests that the fault tests need, written by hand.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

pub fn connect(bootstrap: &str) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(bootstrap).map_err(|e| format!("cannot connect to {bootstrap}: {e}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(|e| e.to_string())?;
    stream.set_write_timeout(Some(Duration::from_secs(2))).map_err(|e| e.to_string())?;
    Ok(stream)
}

/// A frame with request header v1: api key, version, correlation id 1, client id "raw".
pub fn frame(api_key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend((13 + body.len() as i32).to_be_bytes());
    bytes.extend(api_key.to_be_bytes());
    bytes.extend(version.to_be_bytes());
    bytes.extend(1i32.to_be_bytes());
    bytes.extend(3i16.to_be_bytes());
    bytes.extend(b"raw");
    bytes.extend(body);
    bytes
}

/// ApiVersions v0.
pub fn api_versions() -> Vec<u8> {
    frame(18, 0, &[])
}

/// Fetch v4 of partition 0 from offset 0, up to 1 MiB, without waiting.
pub fn fetch(topic: &str) -> Vec<u8> {
    let mut body = Vec::new();
    for field in [-1i32, 0, 1, 1 << 20] {
        body.extend(field.to_be_bytes()); // replica id, max wait, min bytes, max bytes
    }
    body.push(0); // read uncommitted
    body.extend(1i32.to_be_bytes());
    body.extend((topic.len() as i16).to_be_bytes());
    body.extend(topic.as_bytes());
    body.extend(1i32.to_be_bytes());
    body.extend(0i32.to_be_bytes());
    body.extend(0i64.to_be_bytes());
    body.extend((1i32 << 20).to_be_bytes());
    frame(1, 4, &body)
}

/// Sends ApiVersions and reads the whole answer.
pub fn ping(stream: &mut TcpStream) -> Result<(), String> {
    let mut exchange = || -> std::io::Result<()> {
        stream.write_all(&api_versions())?;
        let mut size = [0; 4];
        stream.read_exact(&mut size)?;
        let mut body = vec![0; u32::from_be_bytes(size) as usize];
        stream.read_exact(&mut body)
    };
    exchange().map_err(|e| format!("no answer to ApiVersions: {e}"))
}

/// Sends bytes and waits until the broker has closed the connection.
pub fn closes(bootstrap: &str, bytes: &[u8]) -> Result<(), String> {
    let mut stream = connect(bootstrap)?;
    stream.set_read_timeout(Some(Duration::from_millis(500))).map_err(|e| e.to_string())?;
    let start = Instant::now();
    stream.write_all(bytes).ok();
    let mut buffer = [0; 4096];
    while start.elapsed() < Duration::from_secs(10) {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => return Ok(()),
            Ok(_) => {}
        }
    }
    Err("the connection was still open after 10 s".to_owned())
}
