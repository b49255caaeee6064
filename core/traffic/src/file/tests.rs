use super::*;
use crate::error::Gap;
use crate::format::{Outcome, RecordedAnswer, RecordedRequest, Withheld};
use bytes::Bytes;

fn request(body: Result<&'static [u8], Withheld>) -> Entry {
    Entry::Request(RecordedRequest {
        time_ms: 1000,
        connection: 7,
        in_process: true,
        api_key: 18,
        api_version: 3,
        correlation_id: -5,
        client_id: Some("ä client".into()),
        listener: "INPROC".into(),
        size: 3,
        body: body.map(Bytes::from_static),
    })
}

fn entries() -> Vec<Entry> {
    let answer = |outcome, body: Result<&'static [u8], Withheld>| {
        let body = body.map(Bytes::from_static);
        Entry::Answer(RecordedAnswer { time_ms: 1002, connection: 7, outcome, size: 4, body })
    };
    vec![
        request(Ok(b"abc")),
        answer(Outcome::Answered, Ok(b"defg")),
        request(Err(Withheld::Secret)),
        answer(Outcome::Answered, Err(Withheld::Secret)),
        request(Err(Withheld::Unreadable)),
        answer(Outcome::Closed, Ok(b"")),
        answer(Outcome::Nothing, Ok(b"")),
        answer(Outcome::Silence, Ok(b"")),
        Entry::Closed { time_ms: 1003, connection: 7 },
    ]
}

fn begin() -> Vec<u8> {
    let begin = Begin { time_ms: 999, cluster_id: "a-cluster".into(), software: "a test".into() };
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_be_bytes());
    bytes.extend(Content::Begin(begin).to_bytes());
    bytes
}

fn file_of(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = begin();
    entries.iter().for_each(|entry| bytes.extend(Content::Entry(entry.clone()).to_bytes()));
    bytes
}

fn open(bytes: &[u8]) -> Result<Traffic, TrafficError> {
    let fs = Fs::memory();
    let path = Path::new("/recorded");
    fs.open(path, OpenMode::CreateNew).unwrap().write_at(0, &[Bytes::copy_from_slice(bytes)]).unwrap();
    Traffic::open_in(&fs, path)
}

fn ended() -> Vec<Entry> {
    let mut all = entries();
    all.push(Entry::End { time_ms: 1004, entries: all.len() as u64 });
    all
}

#[test]
fn what_was_written_is_read() {
    let traffic = open(&file_of(&ended())).unwrap();
    assert_eq!((traffic.started_ms(), traffic.cluster_id()), (999, "a-cluster"));
    assert_eq!(traffic.software().as_str(), "a test");
    let read: Vec<Entry> = traffic.entries().map(Result::unwrap).collect();
    assert_eq!(read, ended());
    for gap in [Gap::QueueFull, Gap::SizeMax, Gap::Disk("no space left".to_owned())] {
        let last = Entry::Gap { time_ms: 1004, gap };
        let read: Vec<Entry> =
            open(&file_of(std::slice::from_ref(&last))).unwrap().entries().map(Result::unwrap).collect();
        assert_eq!(read, [last], "a gap ends a recording");
    }
}

/// The layout that the module's head draws, byte by byte: whoever has a file can read it in a year.
#[test]
fn the_layout_is_the_documented_one() {
    let bytes = Content::Entry(request(Ok(b"abc"))).to_bytes();
    let mut content = vec![1];
    content.extend(1000i64.to_be_bytes());
    content.extend(7i64.to_be_bytes());
    content.push(1);
    content.extend([0, 18, 0, 3, 0xff, 0xff, 0xff, 0xfb]);
    content.extend([0, 9]);
    content.extend("ä client".as_bytes());
    content.extend([0, 6]);
    content.extend(b"INPROC");
    content.extend([0, 0, 0, 3]);
    content.extend(b"abc");
    let mut expected = (content.len() as u32).to_be_bytes().to_vec();
    expected.extend(crc32c(&content).to_be_bytes());
    expected.extend(content);
    assert_eq!(&bytes[..], &expected[..]);
}

#[test]
fn a_file_that_ends_anywhere_has_a_readable_beginning() {
    let (whole, all) = (file_of(&ended()), ended());
    for length in 0..whole.len() {
        let Ok(traffic) = open(&whole[..length]) else {
            assert!(length < begin().len(), "{length} bytes have a beginning");
            continue;
        };
        let read: Vec<_> = traffic.entries().collect();
        let (last, before) = read.split_last().expect("at least the error");
        assert!(matches!(last, Err(TrafficError::Truncated { .. })), "{length} bytes end with {last:?}");
        let before: Vec<Entry> = before.iter().cloned().map(Result::unwrap).collect();
        assert_eq!(before, all[..before.len()]);
        assert_eq!(file_of(&before).len(), length.min(file_of(&before).len()), "no whole entry is left out");
    }
}

#[test]
fn a_wrong_byte_is_found_wherever_it_is() {
    let (whole, all) = (file_of(&ended()), ended());
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x41;
        let Ok(traffic) = open(&damaged) else { continue };
        let read: Vec<_> = traffic.entries().collect();
        let (last, before) = read.split_last().expect("at least the error");
        let error = last.as_ref().expect_err("the damage is found");
        assert!(matches!(error, TrafficError::Corrupt { .. } | TrafficError::Truncated { .. }), "{error}");
        let before: Vec<Entry> = before.iter().cloned().map(Result::unwrap).collect();
        assert_eq!(before, all[..before.len()], "byte {at}");
    }
}

#[test]
fn a_length_that_lies_allocates_nothing() {
    for (length, is_corrupt) in [(u32::MAX, true), (ENTRY_BYTES_MAX as u32, false), (100, false)] {
        let mut bytes = begin();
        bytes.extend(length.to_be_bytes());
        bytes.extend([0; 20]);
        let mut entries = open(&bytes).unwrap().entries();
        let error = entries.next().unwrap().unwrap_err();
        assert_eq!(matches!(error, TrafficError::Corrupt { .. }), is_corrupt, "{error}");
        assert!(entries.next().is_none(), "nothing comes after an error");
    }
}

#[test]
fn what_is_no_recording_is_refused_in_words() {
    for bytes in [&b""[..], b"OTTLA", b"PK\x03\x04 something else entirely"] {
        let error = open(bytes).unwrap_err().to_string();
        assert!(error.contains("no recording of traffic"), "{error}");
    }
    let mut newer = begin();
    newer[9] = 9;
    let error = open(&newer).unwrap_err().to_string();
    assert!(error.contains("version 9"), "{error}");
    let counted = Entry::End { time_ms: 0, entries: 3 };
    let error = open(&file_of(&[counted])).unwrap().entries().next().unwrap().unwrap_err();
    assert!(error.to_string().contains("3 entries were written and 0 are here"), "{error}");
}
