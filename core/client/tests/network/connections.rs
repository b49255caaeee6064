//! How connections are made, what they say of the client, and when they end.

use super::script::{Answer, Asked, Script, encode, metadata};
use super::{LONG, client, ms};
use ottla_client::{Client, ErrorKind};
use ottla_protocol::{ApiKey, SaslHandshakeResponse};
use tokio::net::TcpListener;

fn quiet(asked: &Asked) -> Answer {
    (asked.api == ApiKey::Metadata).then(|| encode(&metadata(&[]), asked.version))
}

/// A metric of the client's connections, of all nodes together.
fn metric(client: &Client, name: &str) -> f64 {
    let found =
        client.admin().metrics().into_iter().find(|m| m.name.name == name && m.name.group == "admin-client-metrics");
    found.unwrap_or_else(|| panic!("no {name}")).value.as_f64().unwrap()
}

#[tokio::test]
async fn requests_carry_the_client_id() {
    let script = Script::start(quiet).await;
    client(&script.address, &[("client.id", "flights")]).unwrap().ready(LONG).await.unwrap();
    client(&script.address, &[]).unwrap().ready(LONG).await.unwrap();
    let ids: Vec<String> = script.asked(ApiKey::Metadata).into_iter().map(|asked| asked.client_id).collect();
    assert_eq!(ids, ["flights", "ottla"]);
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_made_again_when_needed() {
    let script = Script::start(quiet).await;
    let idle = client(&script.address, &[("connections.max.idle.ms", "30")]).unwrap();
    idle.ready(LONG).await.unwrap();
    script.until(|script| script.ended() == 1).await;
    let kept = client(&script.address, &[("connections.max.idle.ms", "-1")]).unwrap();
    kept.ready(LONG).await.unwrap();
    // The bytes that the other connection waits for do not come, and it is still there when they would be late.
    let _ = idle.admin().timeout(ms(100)).describe_cluster().await;
    assert_eq!(metric(&kept, "connection-count"), 1.0);
    assert!(metric(&idle, "connection-creation-total") >= 2.0);
    assert!(metric(&idle, "connection-close-total") >= 1.0);
}

#[tokio::test]
async fn a_silent_broker_costs_the_request_timeout() {
    let script = Script::start(|_| None).await;
    let brief = client(&script.address, &[("request.timeout.ms", "50")]).unwrap();
    let error = brief.ready(ms(200)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("Metadata within 50 ms"), "{error}");
    assert!(script.asked(ApiKey::Metadata).len() > 1, "it was asked again on a new connection");
}

#[tokio::test]
async fn a_call_has_the_default_limit_unless_it_is_given_another() {
    let script = Script::start(|_| None).await;
    let admin = client(&script.address, &[("default.api.timeout.ms", "50")]).unwrap().admin();
    let error = admin.list_topics().await.unwrap_err();
    assert!(error.kind() == ErrorKind::Timeout || error.is_retriable(), "{error}");
    // A call with a limit of its own outlasts it: the same client gets its answer.
    let script = Script::start(quiet).await;
    let patient = client(&script.address, &[("default.api.timeout.ms", "0")]).unwrap();
    assert!(patient.admin().list_topics().await.is_err());
    patient.admin().timeout(LONG).list_topics().await.unwrap();
}

#[tokio::test]
async fn setting_up_a_connection_has_a_limit_that_grows() {
    // It accepts, and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let within = |error: ottla_client::Error| {
        let text = error.to_string();
        let (_, rest) = text.split_once("within ").unwrap_or_else(|| panic!("{text}"));
        rest.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let configs = |max| [("socket.connection.setup.timeout.ms", "40"), ("socket.connection.setup.timeout.max.ms", max)];
    let fixed = client(&address, &configs("40")).unwrap();
    assert!(within(fixed.ready(ms(200)).await.unwrap_err()) <= 40);
    let growing = client(&address, &configs("60000")).unwrap();
    // 40, then about 80, 160, 320: each attempt's own limit, until one is cut short by the call's.
    assert!(within(growing.ready(ms(900)).await.unwrap_err()) > 60);
}

#[tokio::test]
async fn a_broker_that_hangs_up_is_dialled_again_after_the_reconnect_backoff() {
    async fn hang_up() -> (String, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let count = std::sync::Arc::<std::sync::atomic::AtomicUsize>::default();
        let counted = count.clone();
        ottla_client::Env::real().spawn("hangs up", async move {
            while let Ok((socket, _)) = listener.accept().await {
                counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                drop(socket);
            }
        });
        (address, count)
    }
    let (address, count) = hang_up().await;
    client(&address, &[]).unwrap().ready(ms(300)).await.unwrap_err();
    assert!(count.load(std::sync::atomic::Ordering::Relaxed) > 2);
    let slow = [("reconnect.backoff.ms", "3600000"), ("reconnect.backoff.max.ms", "3600000")];
    let (address, count) = hang_up().await;
    client(&address, &slow).unwrap().ready(ms(300)).await.unwrap_err();
    assert_eq!(count.load(std::sync::atomic::Ordering::Relaxed), 1);
    let bounded = [("reconnect.backoff.ms", "3600000"), ("reconnect.backoff.max.ms", "1")];
    let (address, count) = hang_up().await;
    client(&address, &bounded).unwrap().ready(ms(300)).await.unwrap_err();
    assert!(count.load(std::sync::atomic::Ordering::Relaxed) > 2);
}

#[tokio::test]
async fn all_addresses_of_a_name_are_tried() {
    // localhost is ::1 and 127.0.0.1; only one of them has a listener.
    let script = Script::start(quiet).await;
    let servers = format!("localhost:{}", script.port);
    client(&servers, &[]).unwrap().ready(LONG).await.unwrap();
    let canonical = [("client.dns.lookup", "resolve_canonical_bootstrap_servers_only")];
    let error = client(&servers, &canonical).unwrap_err();
    assert!(error.to_string().contains("use_all_dns_ips"), "{error}");
}

#[tokio::test]
async fn connections_are_measured() {
    let script = Script::start(quiet).await;
    let node = script.port;
    let first = Script::start(move |asked: &Asked| {
        (asked.api == ApiKey::Metadata).then(|| encode(&metadata(&[(7, node)]), asked.version))
    })
    .await;
    let measured = client(&first.address, &[("metadata.max.age.ms", "10")]).unwrap();
    measured.ready(LONG).await.unwrap();
    script.until(|script| script.asked(ApiKey::Metadata).len() >= 2).await;
    assert!(metric(&measured, "request-total") >= 4.0);
    assert!(metric(&measured, "outgoing-byte-total") > 50.0 && metric(&measured, "incoming-byte-total") > 50.0);
    let metrics = measured.admin().metrics();
    let of_node = |name: &str| {
        let found = metrics.iter().find(|m| m.name.group == "admin-client-node-metrics" && m.name.name == name);
        let found = found.unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(found.name.tags["node-id"], "node-7");
        found.value.as_f64().unwrap()
    };
    assert!(of_node("request-total") >= 2.0 && of_node("request-latency-max") >= 0.0);
}

#[tokio::test]
async fn a_window_of_metrics_is_as_long_as_configured() {
    let rate = |configs: [(&'static str, &'static str); 2]| async move {
        let script = Script::start(quiet).await;
        let measured = client(&script.address, &configs).unwrap();
        measured.ready(LONG).await.unwrap();
        metric(&measured, "connection-creation-rate")
    };
    let window = "metrics.sample.window.ms";
    let samples = "metrics.num.samples";
    // One connection in at least (samples - 1) windows.
    let long = rate([(window, "1000000"), (samples, "3")]).await;
    assert!(long <= 1.0 / 2000.0 && long > 1.0 / 4000.0, "{long}");
    let short = rate([(window, "100000"), (samples, "2")]).await;
    assert!(short <= 1.0 / 100.0 && short > 1.0 / 300.0, "{short}");
}

#[tokio::test]
async fn refused_credentials_are_final_and_counted() {
    let script = Script::start(|asked: &Asked| {
        let refusal = SaslHandshakeResponse { error_code: 33, mechanisms: vec!["GSSAPI".into()], ..Default::default() };
        (asked.api == ApiKey::SaslHandshake).then(|| encode(&refusal, asked.version))
    })
    .await;
    let configs = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.jaas.config", "x.PlainLoginModule required username=u password=swordfish;"),
    ];
    let refused = client(&script.address, &configs).unwrap();
    let error = refused.ready(LONG).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth);
    assert!(error.is_fatal() && error.to_string().contains("it offers GSSAPI"), "{error}");
    assert_eq!(script.accepted(), 1);
    assert_eq!(metric(&refused, "failed-authentication-total"), 1.0);
    assert!(!format!("{refused:?}").contains("swordfish"));
}
