//! Appends, restarts, snapshots, and files that end where they should not.

use crate::{DIR, LOG_DIR, create, open, open_with_broker, options, topic_names};
use ottla_env::{Env, OpenMode};
use ottla_metadata::{MetadataStore, StoreOptions, TOPIC_RESOURCE, controller};
use ottla_model::record_batch::{BatchHeader, BatchIter};
use ottla_protocol::{BeginTransactionRecord, ConfigRecord, EndTransactionRecord, FeatureLevelRecord, NoOpRecord};
use std::path::{Path, PathBuf};
use std::time::Duration;

fn log_file(env: &Env) -> PathBuf {
    let names = env.fs().read_dir(Path::new(LOG_DIR)).unwrap().into_iter().map(|entry| entry.name);
    Path::new(LOG_DIR).join(names.filter(|name| name.ends_with(".log")).max().unwrap())
}

fn cut(env: &Env, path: &Path, len: u64) {
    env.fs().open(path, OpenMode::ReadWrite).unwrap().set_len(len).unwrap();
}

fn checkpoints(env: &Env) -> Vec<String> {
    let entries = env.fs().read_dir(Path::new(LOG_DIR)).unwrap();
    let mut names: Vec<_> = entries.into_iter().map(|it| it.name).filter(|it| it.ends_with(".checkpoint")).collect();
    names.sort();
    names
}

#[test]
fn a_new_cluster() {
    let env = Env::memory();
    let store = open(&env);
    assert_eq!(store.leader_epoch(), 1);
    assert_eq!(store.image().metadata_version(), Some(30));
    // The leader change, and the first records (two features) in their transaction.
    assert_eq!(store.image().offset(), 4);
    assert!(env.fs().exists(Path::new("/data/bootstrap.checkpoint")));
    assert_eq!(checkpoints(&env), ["00000000000000000000-0000000000.checkpoint"]);
    let state = String::from_utf8(env.fs().read(&Path::new(LOG_DIR).join("quorum-state")).unwrap()).unwrap();
    assert!(state.contains(r#""leaderEpoch":1"#) && state.contains(r#""currentVoters":[{"voterId":1}]"#), "{state}");
}

#[test]
fn everything_survives_a_restart() {
    let env = Env::memory();
    let store = open_with_broker(&env);
    let id = create(&store, "a", 3);
    create(&store, "b", 1);
    create(&store, "c", 1);
    store.append(controller::delete_topic(&store.image(), "b").unwrap()).unwrap();
    store.append(vec![controller::set_config(TOPIC_RESOURCE, "a", "retention.ms", Some("5"))]).unwrap();
    store.append(vec![controller::set_config(TOPIC_RESOURCE, "c", "retention.ms", Some("5"))]).unwrap();
    store.append(vec![controller::set_config(TOPIC_RESOURCE, "c", "retention.ms", None)]).unwrap();
    store.append(controller::create_partitions(&store.image(), "c", 4, None, &|_| crate::DIRECTORY).unwrap()).unwrap();
    let (first, record) = controller::allocate_producer_ids(&store.image(), 1, 0).unwrap();
    store.append(vec![record]).unwrap();
    let before = store.image();
    assert_eq!((first, before.next_producer_id()), (0, 1000));
    // Half of the time the log is closed in order, half of the time not.
    store.close().unwrap();
    assert!(store.append(vec![NoOpRecord::default().into()]).is_err());

    for epoch in 2..5 {
        let store = open(&env);
        let image = store.image();
        assert_eq!(store.leader_epoch(), epoch);
        assert_eq!(image.to_records(), before.to_records());
        assert_eq!(topic_names(&store), ["a", "c"]);
        assert_eq!(image.topic_by_id(id).unwrap().partitions.len(), 3);
        assert_eq!(image.topic("c").unwrap().partitions.len(), 4);
        assert_eq!(image.configured(TOPIC_RESOURCE).collect::<Vec<_>>(), ["a"]);
        assert_eq!(controller::allocate_producer_ids(&image, 1, 0).unwrap().0, 1000);
    }
}

#[test]
fn old_images_do_not_change() {
    let store = open_with_broker(&Env::memory());
    let old = store.image();
    create(&store, "a", 1);
    assert!(old.topic("a").is_none());
    assert!(store.image().topic("a").is_some());
}

#[test]
fn a_torn_end_is_cut_off_wherever_it_is() {
    let env = Env::memory();
    let store = open_with_broker(&env);
    let keep = env.fs().file_len(&log_file(&env)).unwrap();
    create(&store, "a", 1);
    let a_len = env.fs().file_len(&log_file(&env)).unwrap();
    create(&store, "b", 1);
    let whole = env.fs().read(&log_file(&env)).unwrap();
    drop(store);
    for len in (keep..whole.len() as u64).step_by(7) {
        let env = Env::memory();
        env.fs().create_dir_all(Path::new(LOG_DIR)).unwrap();
        env.fs().write_atomic(&Path::new(LOG_DIR).join("00000000000000000000.log"), &whole, false).unwrap();
        cut(&env, &log_file(&env), len);
        let store = open(&env);
        let expected: &[&str] = if len < a_len { &[] } else { &["a"] };
        assert_eq!(topic_names(&store), expected, "cut at {len}");
        create(&store, "c", 1);
        drop(store);
        assert_eq!(topic_names(&open(&env)).len(), expected.len() + 1);
    }
}

#[test]
fn snapshots_free_the_log() {
    let env = Env::memory();
    let small = StoreOptions { max_record_bytes_between_snapshots: 1 << 20, ..options() };
    let open = |env: &Env| MetadataStore::open(env, Path::new(DIR), small.clone()).unwrap();
    let store = open(&env);
    let value = "x".repeat(30_000);
    for round in 0..200 {
        let name = format!("key-{}", round % 3);
        store.append(vec![controller::set_config(TOPIC_RESOURCE, "t", &name, Some(&value))]).unwrap();
    }
    let found = checkpoints(&env);
    assert_eq!(found.len(), 2, "{found:?}");
    let logs: u64 = env
        .fs()
        .read_dir(Path::new(LOG_DIR))
        .unwrap()
        .iter()
        .filter(|entry| entry.name.ends_with(".log"))
        .map(|entry| env.fs().file_len(&Path::new(LOG_DIR).join(&entry.name)).unwrap())
        .sum();
    assert!(logs < 4 << 20, "{logs} bytes of log are left");
    let before = store.image();
    drop(store);
    assert_eq!(open(&env).image().to_records(), before.to_records());

    // The latest snapshot is damaged: the one before it and the log do.
    let latest = Path::new(LOG_DIR).join(&found[1]);
    let len = env.fs().file_len(&latest).unwrap();
    cut(&env, &latest, len - 10);
    assert_eq!(open(&env).image().to_records(), before.to_records());
    // Both are: that is the end, and the file is named.
    cut(&env, &Path::new(LOG_DIR).join(&found[0]), 100);
    let error = MetadataStore::open(&env, Path::new(DIR), small).unwrap_err().to_string();
    assert!(error.contains(&found[1]) && error.contains("is damaged"), "{error}");
}

#[test]
fn a_log_that_lost_what_its_snapshot_holds() {
    let env = Env::memory();
    let store = open_with_broker(&env);
    let len = env.fs().file_len(&log_file(&env)).unwrap();
    create(&store, "a", 1);
    let id = store.snapshot().unwrap();
    drop(store);
    cut(&env, &log_file(&env), len);
    let store = open(&env);
    assert_eq!(topic_names(&store), ["a"]);
    // The leader change is the first record after the snapshot.
    assert_eq!(store.image().offset(), id.end_offset);
    create(&store, "b", 1);
    drop(store);
    assert_eq!(topic_names(&open(&env)), ["a", "b"]);
}

#[test]
fn transactions_take_effect_whole() {
    let env = Env::memory();
    let store = open(&env);
    let config = |name: &str| controller::set_config(TOPIC_RESOURCE, "t", name, Some("1"));
    store.append(vec![config("before")]).unwrap();
    // As a crash leaves it: begun, and not ended.
    store.append(vec![BeginTransactionRecord::default().into(), config("in")]).unwrap();
    assert_eq!(store.image().configs(TOPIC_RESOURCE, "t").len(), 1);
    drop(store);

    let store = open(&env);
    assert_eq!(store.image().configs(TOPIC_RESOURCE, "t").keys().collect::<Vec<_>>(), ["before"]);
    store.append(vec![config("after")]).unwrap();
    let whole = vec![BeginTransactionRecord::default().into(), config("x"), EndTransactionRecord::default().into()];
    store.append(whole).unwrap();
    drop(store);
    assert_eq!(open(&env).image().configs(TOPIC_RESOURCE, "t").keys().collect::<Vec<_>>(), ["after", "before", "x"]);
}

#[test]
fn more_than_a_batch_is_a_transaction() {
    let env = Env::memory();
    let large = StoreOptions { max_record_bytes_between_snapshots: 1 << 30, ..options() };
    let open = |env: &Env| MetadataStore::open(env, Path::new(DIR), large.clone()).unwrap();
    let store = open(&env);
    let value = "x".repeat(30_000);
    let config = |n: usize| controller::set_config(TOPIC_RESOURCE, "t", &format!("key-{n:03}"), Some(&value));
    store.append((0..700).map(config).collect()).unwrap();
    let before = store.image();
    assert_eq!(before.configs(TOPIC_RESOURCE, "t").len(), 700);
    drop(store);
    let batches: Vec<BatchHeader> = BatchIter::new(env.fs().read(&log_file(&env)).unwrap().into())
        .map(|batch| batch.unwrap().header)
        .filter(|header| header.length > 1000)
        .collect();
    assert!(batches.len() >= 3 && batches.iter().all(|it| it.length < 9 << 20), "{batches:?}");
    assert_eq!(open(&env).image().to_records(), before.to_records());

    // Without its last batch none of it holds.
    let last = batches.last().unwrap().size_in_bytes() as u64;
    let path = log_file(&env);
    let all: u64 = BatchIter::new(env.fs().read(&path).unwrap().into())
        .map(|batch| batch.unwrap().header)
        .take_while(|header| header.base_offset <= batches.last().unwrap().base_offset)
        .map(|header| header.size_in_bytes() as u64)
        .sum();
    cut(&env, &path, all - last);
    assert!(open(&env).image().configs(TOPIC_RESOURCE, "t").is_empty());
}

#[test]
fn what_cannot_be_applied_is_not_appended() {
    let env = Env::memory();
    let store = open(&env);
    let before = store.image();
    let unknown_topic = ottla_protocol::RemoveTopicRecord::default();
    let error = store.append(vec![NoOpRecord::default().into(), unknown_topic.into()]).unwrap_err();
    assert!(error.to_string().contains("which is gone"), "{error}");
    assert_eq!(store.image().offset(), before.offset());
    store.append(vec![NoOpRecord::default().into()]).unwrap();
    drop(store);
    assert_eq!(open(&env).image().to_records(), before.to_records());
}

#[test]
fn a_newer_metadata_version_is_refused_with_a_sentence() {
    let store = open(&Env::memory());
    let newer = FeatureLevelRecord { name: "metadata.version".into(), feature_level: 34, ..Default::default() };
    assert_eq!(
        store.append(vec![newer.into()]).unwrap_err().to_string(),
        "__cluster_metadata-0: the directory has metadata.version 34; this version of Ottla opens 7 to 33"
    );
}

#[test]
fn kept_records_come_back() {
    let env = Env::memory();
    let store = open(&env);
    let quota = |value, remove| ottla_protocol::ClientQuotaRecord {
        entity: vec![Default::default()],
        key: "producer_byte_rate".into(),
        value,
        remove,
        ..Default::default()
    };
    let scram = ottla_protocol::UserScramCredentialRecord { name: "ann".into(), mechanism: 1, ..Default::default() };
    let acl = ottla_protocol::AccessControlEntryRecord { id: ottla_model::Uuid([3; 16]), ..Default::default() };
    store.append(vec![quota(1.0, false).into(), quota(2.0, false).into(), scram.into(), acl.into()]).unwrap();
    let records = store.image().to_records();
    store.snapshot().unwrap();
    drop(store);
    let store = open(&env);
    assert_eq!(store.image().to_records(), records);
    store.append(vec![quota(0.0, true).into()]).unwrap();
    assert_eq!(store.image().to_records().len(), records.len() - 1);
    let broker_default =
        ConfigRecord { resource_type: 4, name: "x".into(), value: Some("1".into()), ..Default::default() };
    store.append(vec![broker_default.into()]).unwrap();
    assert_eq!(store.image().configs(4, "").len(), 1);
}

#[test]
fn a_thousand_topics_are_quick() {
    let env = Env::memory();
    let store = open_with_broker(&env);
    let started = env.monotonic();
    for n in 0..1000 {
        create(&store, &format!("topic.number_{n}"), 1);
    }
    // 1 s would be plenty in a release build; this is a bound against a cost that grows with the square.
    assert!(env.monotonic() - started < Duration::from_secs(10), "{:?}", env.monotonic() - started);
    drop(store);
    let started = env.monotonic();
    assert_eq!(topic_names(&open(&env)).len(), 1000);
    assert!(env.monotonic() - started < Duration::from_secs(5), "{:?}", env.monotonic() - started);
}
