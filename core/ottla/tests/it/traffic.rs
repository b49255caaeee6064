//! Traffic recorded from real clients, and replayed against other brokers.
//!
//! Goal: a replay against a broker that does the same differs in nothing and leaves the same data, although every id is
//! another; one against a broker that does not says where.

use crate::client_group::{member, poll_until, settled};
use crate::raw::Raw;
use crate::support::{Folder, PATIENCE, create_topic, on_tcp, produce};
use ottla::client::{
    Client, ClientOptions, ConfigAlteration, ConfigResource, Env, GroupMetadata, NewTopic, OffsetAndMetadata, Producer,
    ProducerRecord, TopicPartition,
};
use ottla::faults::{ApiKey, ErrorCode};
use ottla::traffic::{
    Entry, Gap, Outcome, RecordOptions, RecordedRequest, ReplayOptions, ReplayReport, Speed, Target, Traffic,
    TrafficError, Withheld,
};
use ottla::{Broker, Error, VirtualClock};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// A file of its own in a folder that goes with the result.
#[allow(clippy::disallowed_methods)] // A test's own folder, outside the engine.
fn file() -> (Folder, PathBuf) {
    let folder = Folder::new();
    std::fs::create_dir_all(&folder.0).expect("the folder for temporary files");
    let path = folder.0.join("session.traffic");
    (folder, path)
}

#[allow(clippy::disallowed_methods)]
fn bytes_of(path: &PathBuf) -> Vec<u8> {
    std::fs::read(path).expect("it was recorded")
}

#[allow(clippy::disallowed_methods)]
fn write(path: &PathBuf, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("there is room");
}

async fn fresh() -> Broker {
    Broker::builder().start().await.expect("a broker in memory starts")
}

fn dial(address: &str) -> Client {
    Client::new(Env::real(), ClientOptions::new(address)).expect("well formed")
}

fn record<'a>(topic: &'a str, partition: i32, value: &'a str) -> ProducerRecord<'a> {
    ProducerRecord { partition: Some(partition), ..ProducerRecord::new(topic, None, Some(value.as_bytes())) }
}

/// What real programs do: topics, idempotent and transactional producers, a group that rebalances, admins.
pub async fn session(address: &str) {
    let client = dial(address);
    create_topic(&client, "orders", 2).await;
    create_topic(&client, "paid", 1).await;
    let producer = Producer::from_configs(Env::real(), [("bootstrap.servers", address)]).expect("well formed");
    for round in 0..3 {
        for partition in 0..2 {
            let taken = producer.send(record("orders", partition, &format!("{round}-{partition}"))).await;
            taken.expect("taken").wait().await.expect("acknowledged");
        }
    }
    transactions(address).await;
    group(&client).await;
    administration(&client).await;
    client.shutdown().await;
}

async fn transactions(address: &str) {
    let configs = [("bootstrap.servers", address), ("transactional.id", "tx"), ("retry.backoff.ms", "5")];
    for epoch in 0..2 {
        let producer = Producer::from_configs(Env::real(), configs).expect("well formed");
        producer.init_transactions().await.expect("the coordinator answers");
        for commit in [true, false] {
            producer.begin_transaction().expect("ready");
            let value = format!("{epoch}-{commit}");
            producer.send(record("paid", 0, &value)).await.expect("taken").wait().await.expect("acknowledged");
            let offset = BTreeMap::from([(TopicPartition::new("orders", 0), OffsetAndMetadata::from(epoch))]);
            let group = GroupMetadata {
                group_id: "outside".to_owned(),
                generation_id: -1,
                member_id: String::new(),
                group_instance_id: None,
            };
            producer.send_offsets_to_transaction(&offset, &group).await.expect("taken");
            match commit {
                true => producer.commit_transaction().await.expect("committed"),
                false => producer.abort_transaction().await.expect("aborted"),
            }
        }
        producer.close(PATIENCE).await.expect("closes");
    }
}

async fn group(client: &Client) {
    let mut values = Vec::new();
    let one = member(client, "readers", &[]);
    one.subscribe(["orders"]).expect("a name");
    poll_until(&[&one], &mut values, |values| values.len() == 6).await;
    one.commit_sync().await.expect("committed");
    let two = member(client, "readers", &[]);
    two.subscribe(["orders"]).expect("a name");
    let (first, second) = (&one, &two);
    poll_until(&[first, second], &mut values, |_| settled(&[first, second], 2)).await;
    produce(client, "orders", (0..4).map(|i| format!("late-{i}"))).await;
    poll_until(&[first, second], &mut values, |values| values.len() == 10).await;
    one.commit_sync().await.expect("committed");
    two.commit_sync().await.expect("committed");
    two.close(PATIENCE).await.expect("leaves");
    one.close(PATIENCE).await.expect("leaves");
}

async fn administration(client: &Client) {
    let admin = client.admin();
    let topic = ConfigResource::Topic("orders".to_owned());
    admin.alter_configs(&topic, &[ConfigAlteration::set("retention.ms", "-1")]).await.expect("altered");
    admin.describe_configs(&topic).await.expect("described");
    admin.create_partitions("orders", 3).await.expect("grown");
    admin.describe_cluster().await.expect("described");
    let doomed = NewTopic::new("doomed", 1);
    let created = admin.create_topics(&[doomed], false).await.expect("answered");
    let id = created[0].as_ref().expect("created").id;
    admin.delete_topics_by_id(&[id]).await.get(&id).expect("answered").as_ref().expect("deleted");
}

/// Partitions with their values.
async fn data(broker: &Broker) -> Vec<Vec<String>> {
    let raw = Raw::connect(broker.inproc_address(), "reader").await;
    let mut all = Vec::new();
    for (topic, partition) in [("orders", 0), ("orders", 1), ("orders", 2), ("paid", 0)] {
        all.push(raw.values(topic, partition).await);
    }
    all
}

fn same(report: &ReplayReport) {
    assert!(report.is_same(), "{report}");
    assert_eq!((report.skipped, report.same), (0, report.requests - report.not_compared), "{report}");
    assert!(report.not_compared <= 8, "what waited when the recording ended: {report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_the_same_on_a_fresh_broker() {
    for in_process in [true, false] {
        let (_folder, path) = file();
        let broker = on_tcp().await;
        let recording = broker.record_traffic(&path).expect("a new file");
        let address = if in_process { broker.inproc_address().to_owned() } else { broker.bootstrap_servers() };
        session(&address).await;
        let recorded = recording.finish().await.expect("all of it");
        let traffic = Traffic::open(&path).expect("a recording");
        assert_eq!(traffic.cluster_id(), broker.cluster_id());
        let entries: Vec<Entry> = traffic.entries().map(|entry| entry.expect("sound")).collect();
        assert_eq!(entries.len() as u64, recorded.entries + 1, "and the end");
        let requests: Vec<&RecordedRequest> =
            entries.iter().filter_map(|it| if let Entry::Request(it) = it { Some(it) } else { None }).collect();
        assert!(requests.iter().all(|request| request.in_process == in_process && request.body.is_ok()));
        let apis: std::collections::BTreeSet<_> = requests.iter().filter_map(|request| request.api()).collect();
        for api in [
            ApiKey::Produce,
            ApiKey::Fetch,
            ApiKey::JoinGroup,
            ApiKey::SyncGroup,
            ApiKey::OffsetCommit,
            ApiKey::TxnOffsetCommit,
            ApiKey::EndTxn,
            ApiKey::DeleteTopics,
        ] {
            assert!(apis.contains(&api), "{api} was used");
        }

        // A fresh broker makes up other ids for everything: the first producer ids are taken, so that these differ too.
        let fresh = on_tcp().await;
        take_ids(&fresh).await;
        let report = traffic.replay(&fresh).await.expect("it is there");
        assert_eq!(report.requests, requests.len() as u64);
        same(&report);
        assert_eq!(data(&fresh).await, data(&broker).await);

        // And over a connection, where nobody sees when a request is taken up.
        let other = on_tcp().await;
        let report = traffic.replay(other.bootstrap_servers()).await.expect("it is there");
        same(&report);
        assert_eq!(data(&other).await, data(&broker).await);
        for broker in [broker, fresh, other] {
            broker.close().await.expect("closes");
        }
    }
}

/// Has some producers get their ids.
async fn take_ids(broker: &Broker) {
    let raw = Raw::connect(broker.inproc_address(), "taker").await;
    for _ in 0..3 {
        let request = ottla_protocol::InitProducerIdRequest { transactional_id: None, ..Default::default() };
        let answer = raw.ask(request, 4).await.expect("answered");
        assert_eq!(answer.error_code, 0);
    }
}

/// A recording of a few requests of one raw client: a topic, two records, and what is in it.
async fn small(path: &PathBuf) {
    let broker = Broker::builder().record_traffic(path).start().await.expect("starts");
    let raw = Raw::connect(broker.inproc_address(), "raw").await;
    raw.create_topic("t", 2).await;
    raw.produce("t", &[0, 1], "a").await.expect("answered");
    assert_eq!(raw.values("t", 1).await, ["a"]);
    broker.close().await.expect("all of it is in the file");
}

fn paths(report: &ReplayReport) -> Vec<(ApiKey, &str, &str, &str)> {
    let rows = report.differences.iter();
    rows.map(|it| (it.api, it.path.as_str(), it.recorded.as_str(), it.replayed.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_broker_answers_otherwise_is_named() {
    let (_folder, path) = file();
    small(&path).await;
    let traffic = Traffic::open(&path).expect("a recording");
    same(&traffic.replay(&fresh().await).await.expect("it is there"));

    // A fault of one partition.
    let faulty = fresh().await;
    let full = faulty.faults().on(ApiKey::Produce).topic("t").partition(1).error(ErrorCode::KafkaStorageError);
    let full = full.expect("possible");
    let report = traffic.replay(&faulty).await.expect("it is there");
    assert_eq!(full.fired(), 1);
    let expected = [
        (ApiKey::Produce, "responses[t].partition_responses[1].error_code", "0", "56"),
        (ApiKey::Produce, "responses[t].partition_responses[1].base_offset", "0", "-1"),
        (ApiKey::Produce, "responses[t].partition_responses[1].log_start_offset", "0", "-1"),
    ];
    assert_eq!(paths(&report)[..3], expected, "{report}");
    let fetched = report.differences.iter().find(|it| it.api == ApiKey::Fetch).expect("it is not there to be read");
    assert!(fetched.path.starts_with("responses[0].partitions[1].") || fetched.path.contains("[t]"), "{report}");
    let text = report.to_string();
    assert!(text.contains("responses[t].partition_responses[1].error_code: was 0, is 56"), "{text}");

    // Another config: the records are too large.
    let strict = Broker::builder().config("message.max.bytes", "10").start().await.expect("starts");
    let report = traffic.replay(&strict).await.expect("it is there");
    let too_large = (ApiKey::Produce, "responses[t].partition_responses[0].error_code", "0", "10");
    assert!(paths(&report).contains(&too_large), "{report}");
    let config = (ApiKey::CreateTopics, "topics[t].configs[max.message.bytes].value", "\"1048588\"", "\"10\"");
    assert_eq!(paths(&report)[0], config, "{report}");

    // A broker that hangs up, and one that says nothing.
    let rude = fresh().await;
    rude.faults().on(ApiKey::Produce).disconnect().expect("possible");
    let report = traffic.replay(&rude).await.expect("it is there");
    let (api, path, recorded, replayed) = paths(&report)[0];
    assert_eq!((api, path, recorded), (ApiKey::Produce, "", "an answer"));
    assert!(replayed.contains("disconnected"), "{report}");
    let silent = fresh().await;
    silent.faults().on(ApiKey::Produce).lose_answer(ottla::faults::LostAnswer::Silence).expect("possible");
    let options = ReplayOptions { request_timeout: Duration::from_millis(50), ..Default::default() };
    let report = traffic.replay_with(&silent, options).await.expect("it is there");
    assert!(paths(&report)[0].3.contains("no answer to Produce within"), "{report}");

    // No more of it than was asked for.
    let options = ReplayOptions { differences_max: 1, ..Default::default() };
    let report = traffic.replay_with(&strict, options).await.expect("it is there");
    assert!(report.differences.len() == 1 && report.more_differences > 0, "{report}");
    let nobody = traffic.replay("127.0.0.1:1").await.expect_err("nobody is there");
    assert!(matches!(&nobody, TrafficError::Target(reason) if reason.contains("127.0.0.1:1")), "{nobody}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_of_a_recording_is_replayed_and_the_rest_is_said() {
    let (_folder, path) = file();
    small(&path).await;
    let whole = bytes_of(&path);
    let all = Traffic::open(&path).expect("a recording").entries().count();
    for (damage, says) in [("cut", "ends early"), ("flip", "is damaged")] {
        let mut bytes = whole.clone();
        match damage {
            "cut" => bytes.truncate(whole.len() - 100),
            _ => bytes[whole.len() - 100] ^= 1,
        }
        write(&path, &bytes);
        let traffic = Traffic::open(&path).expect("its beginning is sound");
        let entries: Vec<_> = traffic.entries().collect();
        assert!(entries.len() > 5 && entries.len() < all);
        assert!(entries.last().expect("some").is_err() && entries[..entries.len() - 1].iter().all(Result::is_ok));
        let report = traffic.replay(&fresh().await).await.expect("it is there");
        assert!(report.different == 0 && report.same > 0 && !report.is_same(), "{report}");
        let reason = report.incomplete.expect("it is not whole");
        assert!(reason.contains(says), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_that_ends_early_says_so_and_the_broker_goes_on() {
    let (_folder, path) = file();
    let options = RecordOptions { queue_bytes: 2000, ..RecordOptions::default() };
    let builder = Broker::builder().record_traffic_with(&path, options);
    let broker = builder.start().await.expect("starts");
    let raw = Raw::connect(broker.inproc_address(), "raw").await;
    raw.create_topic("t", 1).await;
    let busy = broker.record_traffic(path.with_extension("second")).expect_err("one at a time");
    assert!(matches!(busy, TrafficError::Busy { .. }), "{busy}");
    // Larger than the queue alone.
    raw.produce("t", &[0], &"x".repeat(4000)).await.expect("answered");
    for value in ["b", "c"] {
        raw.produce("t", &[0], value).await.expect("answered");
    }
    assert_eq!(raw.values("t", 0).await.len(), 3);
    // The next one may begin, and the first one still tells of its end.
    let second = broker.record_traffic(path.with_extension("second")).expect("the first one is over");
    raw.produce("t", &[0], "d").await.expect("answered");
    second.finish().await.expect("all of it");
    let error = broker.close().await.expect_err("the recording is not whole");
    let Error::Traffic(TrafficError::Incomplete { gap: Gap::QueueFull, lost, .. }) = &error else { panic!("{error}") };
    assert!(*lost >= 6, "{error}");
    let traffic = Traffic::open(&path).expect("its beginning is there");
    let last = traffic.entries().last().expect("the mark").expect("sound");
    assert!(matches!(last, Entry::Gap { gap: Gap::QueueFull, .. }));
    let report = traffic.replay(&fresh().await).await.expect("it is there");
    assert!(report.incomplete.as_ref().is_some_and(|reason| reason.contains("queue_bytes")), "{report}");

    // A file that exists is not written over.
    let taken = Broker::builder().record_traffic(&path).start().await.expect_err("it exists");
    assert!(taken.to_string().contains("choose another name"), "{taken}");
}

/// Requests with secrets have their place, and no byte of theirs is in the file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_not_written() {
    use ottla_protocol::{
        alter_user_scram_credentials_request as scram, incremental_alter_configs_request as alter, *,
    };
    const SECRET: &[u8] = b"open-sesame";
    let (_folder, path) = file();
    let broker = fresh().await;
    let recording = broker.record_traffic(&path).expect("a new file");
    let connect = async || Raw::connect(broker.inproc_address(), "raw").await;
    let config = |name: &str| {
        let value = Some(std::str::from_utf8(SECRET).expect("text").into());
        let config = alter::AlterableConfig { name: name.into(), value, ..Default::default() };
        let (resource_type, configs) = (4, vec![config]);
        let resource = alter::AlterConfigsResource { resource_type, configs, ..Default::default() };
        IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() }
    };
    // Whether the broker serves them makes no difference: some of these end the connection.
    let raw = connect().await;
    let _ = raw.ask(config("listener.name.outside.ssl.keystore.password"), 1).await;
    let _ = raw.ask(config("sasl.jaas.config"), 1).await;
    let _ = raw.ask(config("log.retention.ms"), 1).await;
    let token = SaslAuthenticateRequest { auth_bytes: SECRET.into(), ..Default::default() };
    let _ = connect().await.ask(token, 2).await;
    let upsertion = scram::ScramCredentialUpsertion {
        name: "alice".into(),
        mechanism: 1,
        iterations: 4096,
        salt: SECRET.into(),
        salted_password: SECRET.into(),
        ..Default::default()
    };
    let upsertion = AlterUserScramCredentialsRequest { upsertions: vec![upsertion], ..Default::default() };
    let _ = connect().await.ask(upsertion, 0).await;
    let renewal = RenewDelegationTokenRequest { hmac: SECRET.into(), ..Default::default() };
    let _ = connect().await.ask(renewal, 2).await;
    recording.finish().await.expect("all of it");

    let mut secret = 0;
    for entry in Traffic::open(&path).expect("a recording").entries() {
        if let Entry::Request(request) = entry.expect("sound") {
            secret += u32::from(request.body == Err(Withheld::Secret));
            assert!(request.body.is_err() || request.api() == Some(ApiKey::IncrementalAlterConfigs));
        }
    }
    assert_eq!(secret, 5);
    let bytes = bytes_of(&path);
    let found = bytes.windows(SECRET.len()).filter(|window| *window == SECRET).count();
    // That of log.retention.ms, which is none, and what the broker says about it: the search would find one.
    assert_eq!(found, 2);
    let report = Traffic::open(&path).expect("a recording").replay(&broker).await.expect("it is there");
    assert_eq!((report.skipped, report.same), (5, 1), "{report}");
}

/// An hour passes in the recording and in the replay, and not for the test.
#[tokio::test]
async fn a_recorded_pace_is_kept_on_a_virtual_clock() {
    const HOUR: Duration = Duration::from_secs(3600);
    let (_folder, path) = file();
    let clock = VirtualClock::new();
    let broker = Broker::builder().virtual_clock(&clock).record_traffic(&path).start().await.expect("starts");
    let ask = async |address: &str, env: &Env| {
        let client = Client::new(env.clone(), ClientOptions::new(address)).expect("well formed");
        create_topic(&client, "t", 1).await;
        clock.advance(HOUR).await.expect("comes to rest");
        create_topic(&client, "u", 1).await;
        client.close();
    };
    ask(broker.inproc_address(), &broker.env()).await;
    clock.settle().await.expect("comes to rest");
    broker.close().await.expect("closes");

    let later = VirtualClock::new();
    let broker = Broker::builder().virtual_clock(&later).start().await.expect("starts");
    let again = path.with_extension("again");
    let recording = broker.record_traffic(&again).expect("a new file");
    let traffic = Traffic::open(&path).expect("a recording");
    let options = ReplayOptions { speed: Speed::Recorded, ..Default::default() };
    let (report, moved) = tokio::join!(traffic.replay_with(&broker, options), async {
        later.advance(HOUR / 2).await?;
        let raw = Raw::connect(broker.inproc_address(), "looker").await;
        let all = raw.ask(ottla_protocol::MetadataRequest { topics: None, ..Default::default() }, 9);
        let half = all.await.expect("answered").topics.len();
        later.advance(HOUR).await?;
        Ok::<_, ottla::ClockError>(half)
    });
    let report = report.expect("it is there");
    same(&report);
    assert_eq!(moved.expect("comes to rest"), 1, "the second topic is not there after half an hour");
    recording.finish().await.expect("all of it");
    let created = |path: &PathBuf| -> Vec<i64> {
        let entries = Traffic::open(path).expect("a recording").entries().map(|entry| entry.expect("sound"));
        let requests = entries.filter_map(|it| if let Entry::Request(it) = it { Some(it) } else { None });
        requests.filter(|it| it.api() == Some(ApiKey::CreateTopics)).map(|it| it.time_ms).collect()
    };
    let gap = |times: Vec<i64>| times[1] - times[0];
    assert_eq!(gap(created(&again)), gap(created(&path)));
    assert!(gap(created(&path)) >= HOUR.as_millis() as i64);
    broker.close().await.expect("closes");
}

/// acks=0 has no answer, a fault may end a connection, and what was being waited for is not compared.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_without_answers_have_their_outcome() {
    let (_folder, path) = file();
    let broker = fresh().await;
    let raw = Raw::connect(broker.inproc_address(), "raw").await;
    raw.create_topic("t", 1).await;
    let recording = broker.record_traffic(&path).expect("a new file");
    let mut silent = crate::raw::produce("t", &[0], "a");
    silent.acks = 0;
    raw.0.send(&silent, 9).await.expect("sent");
    raw.produce("t", &[0], "b").await.expect("answered");
    let fault = broker.faults().on(ApiKey::Produce).times(1).disconnect().expect("possible");
    raw.produce("t", &[0], "c").await.expect_err("the broker hangs up");
    drop(fault);
    recording.finish().await.expect("all of it");
    let outcomes: Vec<Outcome> = Traffic::open(&path)
        .expect("a recording")
        .entries()
        .filter_map(|entry| if let Entry::Answer(answer) = entry.expect("sound") { Some(answer.outcome) } else { None })
        .collect();
    assert_eq!(outcomes, [Outcome::Nothing, Outcome::Answered, Outcome::Closed]);

    let target = fresh().await;
    let raw = Raw::connect(target.inproc_address(), "raw").await;
    raw.create_topic("t", 1).await;
    let report = Traffic::open(&path).expect("a recording").replay(Target::from(&target)).await.expect("it is there");
    assert_eq!((report.same, report.different), (2, 1), "{report}");
    let row = (ApiKey::Produce, "", "the connection was closed", "an answer");
    assert_eq!(paths(&report), [row], "there is no fault here");
    assert_eq!(raw.values("t", 0).await, ["a", "b", "c"]);
}

/// A broker that is not ready yet is asked again, as a client would, where that is wanted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_not_ready_is_asked_again() {
    let (_folder, path) = file();
    let broker = Broker::builder().record_traffic(&path).start().await.expect("starts");
    let raw = Raw::connect(broker.inproc_address(), "raw").await;
    raw.create_topic("t", 2).await;
    assert_eq!(raw.find_coordinator("g").await, 0);
    assert_eq!(raw.commit("g", "t", 3).await, 0);
    raw.produce("t", &[0, 1], "a").await.expect("answered");
    broker.close().await.expect("all of it");
    let traffic = Traffic::open(&path).expect("a recording");
    let target = async || {
        let target = fresh().await;
        let faults = target.faults();
        let twice = faults.on(ApiKey::OffsetCommit).times(2).error(ErrorCode::NotCoordinator).expect("possible");
        // What one of two partitions has written must not be written twice.
        let half = faults.on(ApiKey::Produce).topic("t").partition(1).times(1).error(ErrorCode::NotLeaderOrFollower);
        (target, twice, half.expect("possible"))
    };
    let (patient, twice, half) = target().await;
    let options = ReplayOptions { retry: Some(PATIENCE), ..Default::default() };
    let report = traffic.replay_with(&patient, options).await.expect("it is there");
    assert_eq!((twice.fired(), half.fired(), report.retries), (2, 1, 2), "{report}");
    assert_eq!(report.different, 1, "{report}");
    assert!(report.differences.iter().all(|it| it.api == ApiKey::Produce), "{report}");
    let raw = Raw::connect(patient.inproc_address(), "raw").await;
    assert_eq!((raw.committed("g", "t").await, raw.values("t", 0).await), (3, vec!["a".to_owned()]));

    // By default an embedded one is not: whoever sets a fault wants to see it.
    let (strict, twice, _half) = target().await;
    let report = traffic.replay(&strict).await.expect("it is there");
    assert_eq!((twice.fired(), report.different, report.retries), (1, 2, 0), "{report}");
}

/// In a simulation too, whatever its seed makes of it.
#[test]
fn a_simulated_session_is_replayed_in_a_simulation() {
    for seed in 0..3 {
        let (_folder, path) = file();
        let replayed = ottla::Simulation::new(seed).run(async |sim| {
            let broker = sim.broker().record_traffic(&path).start().await?;
            let client = sim.client(&broker)?;
            create_topic(&client, "t", 1).await;
            produce(&client, "t", (0..20).map(|i| i.to_string())).await;
            client.shutdown().await;
            broker.close().await?;
            let fresh = sim.broker().start().await?;
            let report = Traffic::open(&path)?.replay(&fresh).await?;
            fresh.close().await?;
            Ok(report)
        });
        let report = replayed.expect("the simulation comes to its end");
        assert!(report.requests >= 4, "{report}");
        same(&report);
    }
}
