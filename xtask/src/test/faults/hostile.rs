//! Peers that are no Kafka clients, or bad ones: they are cut off, and nobody else notices.

use std::io::Write;
use std::time::{Duration, Instant};

use super::{Lab, expect};
use crate::test::broker::{Broker, Home};
use crate::test::raw;

/// What memory a bad peer may cost in MiB, next to what the broker has anyway.
const GROWTH_MIB: u64 = 64;

fn start(lab: &Lab, name: &str) -> Result<Broker, String> {
    let broker = Home::new(&lab.engine, name)?.start()?;
    lab.serves(&broker.bootstrap, "before")?;
    Ok(broker)
}

/// The broker serves others and has not grown.
fn unharmed(lab: &Lab, broker: &Broker, before_mib: u64) -> Result<(), String> {
    let now = broker.resident_mib();
    expect(now <= before_mib + GROWTH_MIB, || format!("memory grew from {before_mib} to {now} MiB"))?;
    lab.serves(&broker.bootstrap, "after")
}

pub fn http(lab: &Lab) -> Result<(), String> {
    let broker = start(lab, "http")?;
    let before = broker.resident_mib();
    raw::closes(&broker.bootstrap, b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/8\r\nAccept: */*\r\n\r\n")?;
    unharmed(lab, &broker, before)
}

/// Random bytes, and random bytes in a frame of the right size behind a header that is half right.
pub fn garbage(lab: &Lab) -> Result<(), String> {
    let broker = start(lab, "garbage")?;
    let before = broker.resident_mib();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..200 {
        let mut bytes: Vec<u8> = (0..200)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            })
            .collect();
        if round % 2 == 0 {
            bytes = raw::frame((bytes[0] % 95).into(), (bytes[1] % 20).into(), &bytes);
            let mut stream = raw::connect(&broker.bootstrap)?;
            stream.write_all(&bytes).ok(); // A body may be valid by chance: an answer is as good as the end.
        } else {
            bytes[0] |= 0x80; // A negative size is refused for sure.
            raw::closes(&broker.bootstrap, &bytes)?;
        }
    }
    unharmed(lab, &broker, before)
}

pub fn huge_frame(lab: &Lab) -> Result<(), String> {
    let broker = start(lab, "huge-frame")?;
    let before = broker.resident_mib();
    let mut bytes = i32::MAX.to_be_bytes().to_vec();
    bytes.extend([0; 100_000]);
    for _ in 0..5 {
        raw::closes(&broker.bootstrap, &bytes)?;
    }
    unharmed(lab, &broker, before)
}

/// Fetch after Fetch of a megabyte, and no answer is read: the broker stops reading, and its memory stays bounded.
pub fn never_reads(lab: &Lab) -> Result<(), String> {
    let broker = start(lab, "never-reads")?;
    lab.go(&["create", &broker.bootstrap, "big", "1"])?;
    let (load, _) = lab.load(&broker.bootstrap, "big", 2000, "never-reads-load")?;
    std::thread::sleep(Duration::from_secs(3));
    lab.finish(load, "never-reads-load")?;
    let before = broker.resident_mib();
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = raw::connect(&broker.bootstrap)?;
        stream.set_write_timeout(Some(Duration::from_millis(200))).map_err(|e| e.to_string())?;
        // 400,000 requests of 63 bytes are 25 MB: more than the sockets hold, so the last writes must block or fail.
        let requests = raw::fetch("big").repeat(1000);
        let blocked = (0..400).any(|_| stream.write_all(&requests).is_err());
        expect(blocked, || "the broker took 400,000 requests of a client that reads no answer".to_owned())?;
        streams.push(stream);
    }
    unharmed(lab, &broker, before)
}

/// 5,000 connections that do nothing after ApiVersions; other clients are served beside them.
pub fn idle_connections(lab: &Lab) -> Result<(), String> {
    raise_open_files()?;
    let broker = start(lab, "idle")?;
    let before = broker.resident_mib();
    let mut streams = Vec::new();
    for n in 0..5000 {
        let mut stream = raw::connect(&broker.bootstrap).map_err(|e| format!("connection {n}: {e}"))?;
        raw::ping(&mut stream).map_err(|e| format!("connection {n}: {e}"))?;
        streams.push(stream);
    }
    unharmed(lab, &broker, before)?;
    for stream in streams.iter_mut().step_by(100) {
        raw::ping(stream)?;
    }
    drop(streams);
    let start = Instant::now();
    broker.stop(Duration::from_secs(10))?;
    expect(start.elapsed() < Duration::from_secs(10), || "a stop after 5,000 connections took too long".to_owned())
}

/// This process and the brokers that it starts need a descriptor for each connection.
fn raise_open_files() -> Result<(), String> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|n| n >= 12_000) {
        return Ok(());
    }
    let wanted = Rlimit { current: Some(limit.maximum.unwrap_or(12_000).min(20_000)), maximum: limit.maximum };
    setrlimit(Resource::Nofile, wanted).map_err(|e| format!("cannot raise the limit of open files to 12,000: {e}"))
}
