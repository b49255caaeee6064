use super::*;
use crate::file::Traffic;
use crate::format::ENTRY_PREFIX_BYTES;
use ottla_protocol::ApiVersionsRequest;

fn frame(client_id: &str) -> Frame {
    let header = RequestHeader {
        request_api_key: ApiKey::ApiVersions.code(),
        request_api_version: 3,
        correlation_id: 1,
        client_id: Some(client_id.into()),
        ..Default::default()
    };
    let mut writer = ottla_protocol::Writer::new();
    header.encode(&mut writer, 2).unwrap();
    ApiVersionsRequest::default().encode(&mut writer, 3).unwrap();
    writer.into_frame()
}

fn event(frame: Frame) -> Event {
    Event::Request { connection: 1, in_process: true, listener: "INPROC".into(), frame }
}

fn recording(fs: &Fs, options: RecordOptions) -> Recording {
    let path = Path::new("/recorded");
    let file = fs.open(path, OpenMode::CreateNew).unwrap();
    start_on(&Env::memory(), file, path, "cluster", &options).unwrap()
}

fn entries(fs: &Fs) -> Vec<Entry> {
    Traffic::open_in(fs, Path::new("/recorded")).unwrap().entries().map(Result::unwrap).collect()
}

#[tokio::test]
async fn all_is_there_when_it_is_finished() {
    let fs = Fs::memory();
    let recording = recording(&fs, RecordOptions::default());
    for _ in 0..3 {
        recording.recorder().push(event(frame("one")));
    }
    let recorder = recording.recorder().clone();
    let recorded = recording.finish().await.unwrap();
    assert_eq!((recorded.entries, recorded.bytes), (3, fs.file_len(Path::new("/recorded")).unwrap()));
    recorder.push(event(frame("too late")));
    let entries = entries(&fs);
    assert!(matches!(entries.last(), Some(Entry::End { entries: 3, .. })));
    let Entry::Request(request) = &entries[0] else { panic!("a request") };
    assert_eq!(
        (request.client_id.as_deref(), request.api(), request.api_version),
        (Some("one"), Some(ApiKey::ApiVersions), 3)
    );
}

#[tokio::test]
async fn a_full_queue_ends_the_recording_and_the_loss_is_counted() {
    let fs = Fs::memory();
    let options = RecordOptions { queue_bytes: 2 * (frame("x").len() + ENTRY_COST), ..Default::default() };
    let recording = recording(&fs, options);
    // The task has not had its turn yet: it runs on this thread.
    for _ in 0..5 {
        recording.recorder().push(event(frame("x")));
    }
    assert_eq!(recording.gap(), Some(Gap::QueueFull));
    tokio::task::yield_now().await;
    recording.recorder().push(event(frame("x")));
    let error = recording.finish().await.unwrap_err();
    assert_eq!(error, TrafficError::Incomplete { gap: Gap::QueueFull, entries: 2, lost: 4 });
    let entries = entries(&fs);
    assert_eq!(entries.len(), 3);
    assert!(matches!(entries.last(), Some(Entry::Gap { gap: Gap::QueueFull, .. })));
}

#[tokio::test]
async fn the_file_grows_to_its_limit_and_not_beyond() {
    let fs = Fs::memory();
    let recording = recording(&fs, RecordOptions { size_max: 400, ..Default::default() });
    for _ in 0..100 {
        recording.recorder().push(event(frame("x")));
    }
    let TrafficError::Incomplete { gap: Gap::SizeMax, entries: written, lost } = recording.finish().await.unwrap_err()
    else {
        panic!("it has reached its size")
    };
    assert_eq!(written + lost, 100);
    let entries = entries(&fs);
    assert_eq!(entries.len() as u64, written + 1);
    assert!(matches!(entries.last(), Some(Entry::Gap { gap: Gap::SizeMax, .. })));
    let mark = Content::Entry(entries.last().unwrap().clone()).to_bytes().len() as u64;
    assert!(fs.file_len(Path::new("/recorded")).unwrap() <= 400 + mark);
}

#[tokio::test]
async fn a_disk_that_refuses_ends_the_recording_with_its_reason() {
    let fs = Fs::memory();
    // A file that may not be written refuses as one on a full disk does.
    let (path, env) = (Path::new("/refused"), Env::memory());
    fs.open(path, OpenMode::CreateNew).unwrap();
    let recorder = Arc::new(Recorder {
        env: env.clone(),
        path: path.to_owned(),
        queue_bytes: 1000,
        state: Mutex::default(),
        pushed: Notify::new(),
    });
    let file = fs.open(path, OpenMode::Read).unwrap();
    let (tell, done) = watch::channel(None);
    let writer = Writer { file, written: 0, size_max: 1000, entries: 0, secret: HashSet::new() };
    let task = env.spawn("traffic recorder", run(recorder.clone(), env.clone(), writer, tell));
    let recording = Recording { recorder, done, _task: task };
    recording.recorder().push(event(frame("x")));
    recording.recorder().push(event(frame("x")));
    let error = recording.finish().await.unwrap_err();
    let TrafficError::Incomplete { gap: Gap::Disk(reason), entries: 0, lost: 2 } = &error else { panic!("{error}") };
    assert!(reason.contains("reading only"), "{reason}");
    assert_eq!(fs.file_len(path).unwrap(), 0);
}

#[test]
fn tokens_without_a_header_and_unknown_frames_leave_nothing() {
    // A PLAIN token of a user whose name looks like an api key, and one that is the start of nothing.
    for token in [&b"\0\x13\0\x05\0\0\0\x01\0\x0csecret-passw"[..], b"\0alice\0secret-passw", b"", b"x"] {
        let frame = Frame::from(Bytes::copy_from_slice(token));
        let written = Content::Entry(entry_of(0, event(frame)).unwrap()).to_bytes();
        assert!(!written.windows(6).any(|window| window == b"secret"), "{token:?}");
        let Content::Entry(Entry::Request(request)) = Content::parse(written.slice(ENTRY_PREFIX_BYTES..)).unwrap()
        else {
            panic!("a request")
        };
        assert_eq!((request.body, request.api_key), (Err(Withheld::Unreadable), -1));
    }
}
