//! The client's security against Apache Kafka: `ottla-security DIR LISTENER=host:port... [FILTER]`, where DIR has the keys.

mod cases;

use ottla_client::{
    Client, ClientOptions, ConfigAlteration, ConfigResource, Configs, Env, Error, ErrorKind, ProducerOptions,
    ProducerRecord, Scope,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long something that works may take.
const LIMIT: Duration = Duration::from_secs(30);

/// What a case expects.
enum Expect {
    /// A record is written.
    Works,
    /// The session is renewed while requests go on.
    Renews,
    /// The cluster's plugin gets what it asks for, until the client says that it was the last.
    Pushes,
    /// It ends with this kind of error and all of these words.
    Fails(ErrorKind, &'static [&'static str]),
}

struct Case {
    name: &'static str,
    /// The listener to dial, or an address.
    listener: &'static str,
    /// Kafka's names; `DIR` in a value is the folder of the keys.
    configs: Vec<(&'static str, String)>,
    expect: Expect,
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().expect("the folder of the keys");
    let (mut listeners, mut filter) = (BTreeMap::new(), String::new());
    for argument in arguments {
        match argument.split_once('=') {
            Some((name, address)) => drop(listeners.insert(name.to_owned(), address.to_owned())),
            None => filter = argument,
        }
    }
    let mut failed = false;
    for case in cases::all().into_iter().filter(|case| case.name.contains(&filter)) {
        let reason = play(&case, &dir, &listeners).await.err();
        failed |= reason.is_some();
        match reason {
            None => println!("ok {}", case.name),
            Some(reason) => println!("FAIL {} {}", case.name, reason.replace('\n', " ")),
        }
    }
    std::process::exit(i32::from(failed));
}

async fn play(case: &Case, dir: &str, listeners: &BTreeMap<String, String>) -> Result<(), String> {
    let address = listeners.get(case.listener).cloned().unwrap_or_else(|| {
        // "SSL@localhost": that listener's port by another name.
        match case.listener.split_once('@').and_then(|(name, host)| Some((listeners.get(name)?, host))) {
            Some((address, host)) => format!("{host}:{}", address.rsplit(':').next().unwrap_or_default()),
            None => case.listener.to_owned(),
        }
    });
    let mut pairs = vec![("bootstrap.servers", address), ("default.api.timeout.ms", "20000".to_owned())];
    pairs.extend(case.configs.iter().map(|(name, value)| (*name, value.replace("DIR", dir))));
    let outcome = match &case.expect {
        Expect::Works => write(pairs).await,
        Expect::Renews => renew(pairs).await,
        Expect::Pushes => push(pairs, dir).await,
        Expect::Fails(..) => open(pairs, Duration::from_secs(5)).await.map(drop),
    };
    match (&case.expect, outcome) {
        (Expect::Works | Expect::Renews | Expect::Pushes, outcome) => outcome.map_err(|error| error.to_string()),
        (Expect::Fails(..), Ok(())) => Err("it works".to_owned()),
        (Expect::Fails(kind, words), Err(error)) => {
            let message = error.to_string();
            let missing: Vec<_> = words.iter().filter(|word| !message.contains(**word)).collect();
            match missing.is_empty() && error.kind() == *kind {
                true if message.contains("-secret") => Err(format!("it shows a secret: {message}")),
                true => Ok(()),
                false => Err(format!("{:?} instead of {kind:?}, without {missing:?}: {message}", error.kind())),
            }
        }
    }
}

/// A client that has reached the cluster; what may pass is tried again for `limit`.
async fn open(pairs: Vec<(&'static str, String)>, limit: Duration) -> Result<Client, Error> {
    let (configs, _) = Configs::parse(Scope::Admin, pairs)?;
    let options = ClientOptions::from_configs(&configs);
    let client = Client::new(Env::real(), options)?;
    client.ready(limit).await?;
    Ok(client)
}

/// Writes records that do not fit into one TLS record.
async fn write(pairs: Vec<(&'static str, String)>) -> Result<(), Error> {
    let client = open(pairs, LIMIT).await?;
    let producer = client.producer(ProducerOptions::default())?;
    let value = vec![b'x'; 100_000];
    for _ in 0..5 {
        producer.send(ProducerRecord::new("security", None, Some(&value))).await?.wait().await?;
    }
    producer.close(LIMIT).await?;
    client.close();
    Ok(())
}

async fn renew(pairs: Vec<(&'static str, String)>) -> Result<(), Error> {
    let client = open(pairs, LIMIT).await?;
    let admin = client.admin();
    let renewed = || {
        let metrics = admin.metrics();
        let found = metrics.iter().find(|m| m.name.name == "successful-reauthentication-total");
        found.and_then(|metric| metric.value.as_f64()).unwrap_or_default()
    };
    // Each second asks, as a session is renewed by what is sent. The broker would end a session that was not.
    for _ in 0..60 {
        client.ready(LIMIT).await?;
        admin.describe_cluster().await?;
        if renewed() >= 2.0 {
            client.close();
            return Ok(());
        }
        Env::real().sleep(Duration::from_millis(500)).await;
    }
    panic!("the session was renewed {} times in 30 s", renewed());
}

async fn push(pairs: Vec<(&'static str, String)>, dir: &str) -> Result<(), Error> {
    let client = open(pairs.clone(), LIMIT).await?;
    let subscription = [
        ConfigAlteration::set("interval.ms", "200"),
        ConfigAlteration::set(
            "metrics",
            "org.apache.kafka.admin.client.request.,org.apache.kafka.admin.client.connection.",
        ),
    ];
    client.admin().alter_configs(&ConfigResource::ClientMetrics("security".to_owned()), &subscription).await?;
    client.shutdown().await;
    // A client from now on finds the subscription.
    let client = open(pairs, LIMIT).await?;
    let id = client.client_instance_id(LIMIT).await?;
    let log = std::path::Path::new(dir).join("telemetry.log");
    let lines = |kind: &str| {
        let text = Env::real().fs().read(&log).unwrap_or_default();
        let wanted = format!("{id} {kind} ");
        String::from_utf8_lossy(&text)
            .lines()
            .filter(|line| line.starts_with(&wanted))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    for _ in 0..150 {
        if lines("push").len() >= 2 {
            break;
        }
        Env::real().sleep(Duration::from_millis(200)).await;
    }
    client.shutdown().await;
    let (pushes, last) = (lines("push"), lines("last"));
    assert!(pushes.len() >= 2 && last.len() == 1, "{pushes:?} {last:?}");
    for name in ["org.apache.kafka.admin.client.request.total", "org.apache.kafka.admin.client.connection.count"] {
        assert!(pushes.iter().chain(&last).all(|line| line.contains(name)), "{name}: {pushes:?} {last:?}");
    }
    assert!(pushes.iter().all(|line| !line.contains("incoming.byte")), "{pushes:?}");
    Ok(())
}
