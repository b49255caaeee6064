//! What people get wrong: addresses, ports, protocols, names, permissions. Each ends within the configured time in an
//! error that says so. TLS and SASL have more of it in tests/security, clusters without automatic topics in `crate::cluster`.

use super::scenarios;
use crate::context::{Admin, Consumer, Context, Outcome, Producer, Wrong};
use crate::protocol::admin::NewTopic;
use crate::protocol::producer::Outgoing;
use crate::protocol::{AdminCommand, ConsumerCommand, Each, Failure, FailureKind, Partition, ProducerCommand, Reply};
use crate::{check, same};
use std::net::TcpListener;
use std::time::Duration;

scenarios! { "mistakes":
    @calm nobody_listens;
    @calm no_such_host;
    @calm a_port_that_does_not_answer;
    @calm not_a_kafka_port;
    some_bootstrap_servers_are_dead [Groups];
    @calm plaintext_to_a_tls_port [Tls];
    @calm tls_to_a_plaintext_port [Tls];
    @calm a_certificate_that_is_not_trusted [Tls];
    all_over_tls [Tls, Groups];
    @calm a_wrong_password [Sasl];
    @calm operations_that_are_denied [Sasl, Acls, Groups, Transactions];
}

/// How long a client may take, all in all, by what [`SHORT`] says.
const PATIENCE: Duration = Duration::from_secs(15);

/// Limits of two to three seconds.
const SHORT: [(&str, &str); 5] = [
    ("request.timeout.ms", "2000"),
    ("default.api.timeout.ms", "2500"),
    ("max.block.ms", "2500"),
    ("delivery.timeout.ms", "3000"),
    ("allow.auto.create.topics", "false"),
];

/// What only some kinds of clients know.
fn known_to(kind: &str, name: &str) -> bool {
    match name {
        "max.block.ms" | "delivery.timeout.ms" => kind == "producer",
        "allow.auto.create.topics" => kind == "consumer",
        _ => true,
    }
}

fn configs<'a>(kind: &str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    SHORT.iter().chain(more).filter(|(name, _)| known_to(kind, name)).copied().collect()
}

/// The failure of something that is to fail in time.
async fn fails<T>(cx: &Context, what: &str, asked: impl Future<Output = Result<T, Failure>>) -> Outcome<Failure> {
    match cx.env().timeout(PATIENCE, asked).await {
        Err(_) => Err(Wrong(format!("{what} goes on after {} s, its limit is three", PATIENCE.as_secs()))),
        Ok(Ok(_)) => Err(Wrong(format!("{what} works"))),
        Ok(Err(failure)) => Ok(failure),
    }
}

/// What producer, consumer and admin say when they are opened with `more` and asked for something, by their names. Some
/// clients see a mistake when they are made.
async fn all_fail(cx: &Context, more: &[(&str, &str)]) -> Outcome<Vec<(&'static str, Failure)>> {
    let topic = cx.name("t");
    let producing = async {
        let producer = cx.try_producer(&configs("producer", more)).await?;
        let sent = producer.ask(ProducerCommand::Send { records: vec![Outgoing::value(&topic, "v")] }).await;
        close(&producer).await;
        match sent? {
            Reply::Sent(mut sent) => match sent.pop() {
                Some(Each::Error(failure)) => Err(failure),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    };
    let consuming = async {
        let consumer = cx.try_consumer(&configs("consumer", more)).await?;
        let partitions = vec![Partition::new(&topic, 0)];
        let asked = consumer.ask(ConsumerCommand::EndOffsets { partitions }).await;
        let _ = consumer.ask(ConsumerCommand::Close { timeout_ms: 1000, leave: None }).await;
        asked.map(drop)
    };
    let administering = async {
        let admin = cx.try_admin(&configs("admin", more)).await?;
        let asked = admin.ask(AdminCommand::ListTopics).await;
        let _ = admin.ask(AdminCommand::Close).await;
        asked.map(drop)
    };
    let (producer, consumer, admin) = tokio::join!(
        fails(cx, "a send", producing),
        fails(cx, "a question for offsets", consuming),
        fails(cx, "a question for topics", administering)
    );
    Ok(vec![("producer", producer?), ("consumer", consumer?), ("admin", admin?)])
}

async fn close(producer: &Producer) {
    let _ = producer.ask(ProducerCommand::Close { timeout_ms: 1000 }).await;
}

/// All three say these words, and none calls it a bug.
async fn all_say(cx: &Context, more: &[(&str, &str)], words: &[&str]) -> Outcome {
    for (client, failure) in all_fail(cx, more).await? {
        let missing: Vec<_> = words.iter().filter(|word| !failure.message.contains(**word)).collect();
        check!(missing.is_empty(), "the {client} does not say {missing:?}: {failure}");
        check!(failure.kind != FailureKind::Internal, "the {client}: {failure}");
    }
    Ok(())
}

/// An address where nobody listens; free now, and of the kind that is not given out by itself.
fn dead() -> &'static str {
    "127.0.0.1:1"
}

async fn nobody_listens(cx: Context) -> Outcome {
    all_say(&cx, &[("bootstrap.servers", dead())], &[dead(), "refused"]).await
}

async fn no_such_host(cx: Context) -> Outcome {
    all_say(&cx, &[("bootstrap.servers", "no-such-host.invalid:9092")], &["no-such-host.invalid"]).await
}

fn listener() -> Outcome<(TcpListener, String)> {
    let bound = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr().map(|address| (it, address)));
    let (listener, address) = bound.map_err(|error| format!("no port: {error}"))?;
    Ok((listener, address.to_string()))
}

/// The connection is made, by the operating system, and then nothing comes.
async fn a_port_that_does_not_answer(cx: Context) -> Outcome {
    let (_listener, address) = listener()?;
    all_say(&cx, &[("bootstrap.servers", &address)], &[&address, "not answer"]).await
}

/// Somebody answers, in another language.
async fn not_a_kafka_port(cx: Context) -> Outcome {
    let (listener, address) = listener()?;
    listener.set_nonblocking(true).map_err(|error| error.to_string())?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(|error| error.to_string())?;
    let env = cx.env().clone();
    let answering = env.spawn("not kafka", async move {
        use tokio::io::AsyncWriteExt;
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await.ok();
        }
    });
    let said = all_say(&cx, &[("bootstrap.servers", &address)], &[&address, "Kafka"]).await;
    answering.abort();
    said
}

/// One that lives is enough, wherever it stands in the list.
async fn some_bootstrap_servers_are_dead(cx: Context) -> Outcome {
    let topic = cx.topic("t", 1).await?;
    let (_silent, silent) = listener()?;
    let alive = cx.addresses().get("PLAINTEXT").cloned().unwrap_or_default();
    let lists = [format!("{},{alive}", dead()), format!("{alive},{}", dead()), format!("{},{silent},{alive}", dead())];
    for servers in &lists {
        let servers = ("bootstrap.servers", servers.as_str());
        let setup = ("socket.connection.setup.timeout.ms", "1000");
        let producer = cx.producer(&[servers, setup]).await?;
        producer.write(vec![Outgoing::value(&topic, "v")]).await?;
        producer.close().await?;
        let admin = cx.admin_with(&[servers, setup]).await?;
        check!(admin.names().await?.contains(&topic), "the topic is not listed through {servers:?}");
        admin.close().await?;
        let group = cx.name("g");
        let member = cx.member(&group, &[servers, setup]).await?;
        member.subscribe(&topic).await?;
        same!(member.read(1).await?.len(), 1, "the record of this round");
        member.commit().await?;
        member.close().await?;
    }
    Ok(())
}

fn tls(cx: &Context) -> Outcome<(String, String)> {
    let address = cx.addresses().get("SSL").cloned().ok_or("there is no SSL listener")?;
    Ok((address, cx.broker().tls_ca().ok_or("there is no certificate")?.to_owned()))
}

async fn plaintext_to_a_tls_port(cx: Context) -> Outcome {
    let (address, _) = tls(&cx)?;
    all_say(&cx, &[("bootstrap.servers", &address)], &[&address, "TLS"]).await
}

async fn tls_to_a_plaintext_port(cx: Context) -> Outcome {
    let (_, certificate) = tls(&cx)?;
    let plain = cx.addresses().get("PLAINTEXT").cloned().unwrap_or_default();
    let more = [
        ("bootstrap.servers", plain.as_str()),
        ("security.protocol", "SSL"),
        ("ssl.truststore.location", certificate.as_str()),
        ("ssl.truststore.type", "PEM"),
    ];
    all_say(&cx, &more, &[&plain, "TLS"]).await
}

async fn a_certificate_that_is_not_trusted(cx: Context) -> Outcome {
    let (address, _) = tls(&cx)?;
    for (client, failure) in all_fail(&cx, &[("bootstrap.servers", &address), ("security.protocol", "SSL")]).await? {
        same!(failure.kind, FailureKind::Auth, "what the {client} says of a certificate of its own making: {failure}");
    }
    Ok(())
}

/// The same work as without.
async fn all_over_tls(cx: Context) -> Outcome {
    let (address, certificate) = tls(&cx)?;
    let topic = cx.topic("t", 2).await?;
    let over = [
        ("bootstrap.servers", address.as_str()),
        ("security.protocol", "SSL"),
        ("ssl.truststore.location", certificate.as_str()),
        ("ssl.truststore.type", "PEM"),
    ];
    let producer = cx.producer(&over).await?;
    producer.write((0..100).map(|i: i32| Outgoing::value(&topic, i.to_string()).to(i % 2)).collect()).await?;
    producer.close().await?;
    let member = cx.member(&cx.name("g"), &over).await?;
    member.subscribe(&topic).await?;
    let read = member.read(100).await?;
    let of_first: Vec<String> = read.iter().filter(|it| it.partition == 0).map(|it| it.text()).collect();
    same!(of_first, (0..100).step_by(2).map(|i| i.to_string()).collect::<Vec<_>>(), "the records of partition 0");
    member.commit().await?;
    member.close().await?;
    Ok(())
}

/// `alice`, as the SASL listener knows her.
fn alice(password: &str) -> String {
    format!(
        "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"alice\" password=\"{password}\";"
    )
}

fn login<'a>(address: &'a str, jaas: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("bootstrap.servers", address),
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.jaas.config", jaas),
    ]
}

async fn a_wrong_password(cx: Context) -> Outcome {
    let address = cx.addresses().get("SASL_PLAINTEXT").cloned().ok_or("there is no SASL listener")?;
    let jaas = alice("not-hers");
    for (client, failure) in all_fail(&cx, &login(&address, &jaas)).await? {
        same!(failure.kind, FailureKind::Auth, "what the {client} says of a wrong password: {failure}");
        check!(!failure.message.contains("not-hers"), "the {client} shows the password: {failure}");
    }
    Ok(())
}

/// Whoever may do nothing is told what was denied, by name: at once, not when some time is over.
async fn operations_that_are_denied(cx: Context) -> Outcome {
    let address = cx.addresses().get("SASL_PLAINTEXT").cloned().ok_or("there is no SASL listener")?;
    let (jaas, topic, group, id) = (alice("alice-secret"), cx.topic("t", 1).await?, cx.name("g"), cx.name("x"));
    let who = login(&address, &jaas);
    let denied = |what: &str, failure: &Failure, code: &str, name: &str| -> Outcome {
        check!(failure.is(code) && failure.kind == FailureKind::Auth, "{what}: expected {code}, found {failure}");
        check!(failure.message.contains(name), "{what}: {name} is not named: {failure}");
        Ok(())
    };

    let producer = cx.producer(&who).await?;
    let refused = producer.refused(Outgoing::value(&topic, "v")).await?;
    denied("a send", &refused, "TOPIC_AUTHORIZATION_FAILED", &topic)?;
    close(&producer).await;

    let mut transactional = who.clone();
    transactional.push(("transactional.id", &id));
    let producer = cx.producer(&transactional).await?;
    let failure = fails(&cx, "a transaction", producer.ask(ProducerCommand::InitTransactions)).await?;
    denied("a transaction", &failure, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", &id)?;
    close(&producer).await;

    let mut reading = who.clone();
    reading.push(("auto.offset.reset", "earliest"));
    let reader = cx.consumer(&reading).await?;
    reader.assign(&topic, &[0]).await?;
    let failure = fails(&cx, "a poll", first_failure(&reader)).await?;
    denied("a poll", &failure, "TOPIC_AUTHORIZATION_FAILED", &topic)?;
    let _ = reader.ask(ConsumerCommand::Close { timeout_ms: 1000, leave: None }).await;

    let member = cx.member(&group, &who).await?;
    member.subscribe(&topic).await?;
    let failure = fails(&cx, "joining", first_failure(&member)).await?;
    let of_group = failure.is("GROUP_AUTHORIZATION_FAILED");
    let (code, name) =
        if of_group { ("GROUP_AUTHORIZATION_FAILED", &group) } else { ("TOPIC_AUTHORIZATION_FAILED", &topic) };
    denied("joining", &failure, code, name)?;
    let _ = member.ask(ConsumerCommand::Close { timeout_ms: 1000, leave: None }).await;

    let admin = cx.admin_with(&who).await?;
    denied_to_admin(&admin, &topic, denied).await?;
    admin.close().await
}

async fn denied_to_admin(
    admin: &Admin,
    topic: &str,
    denied: impl Fn(&str, &Failure, &str, &str) -> Outcome,
) -> Outcome {
    let another = format!("{topic}-another");
    let new = NewTopic { name: another.clone(), partitions: Some(1), ..NewTopic::default() };
    match &admin.results(AdminCommand::CreateTopics { topics: vec![new], validate_only: false }).await?[0] {
        Each::Error(failure) => denied("making a topic", failure, "TOPIC_AUTHORIZATION_FAILED", &another)?,
        Each::Ok(()) => return Err("alice has made a topic".into()),
    }
    match &admin.results(AdminCommand::DeleteTopics { topics: vec![topic.to_owned()] }).await?[0] {
        Each::Error(failure) => denied("deleting a topic", failure, "TOPIC_AUTHORIZATION_FAILED", topic)?,
        Each::Ok(()) => return Err("alice has deleted a topic".into()),
    }
    check!(!admin.names().await?.contains(&topic.to_owned()), "alice sees a topic that she may not see");
    Ok(())
}

/// Polls until a poll fails.
async fn first_failure(consumer: &Consumer) -> Result<(), Failure> {
    loop {
        consumer.ask(ConsumerCommand::Poll { timeout_ms: 200 }).await?;
    }
}
