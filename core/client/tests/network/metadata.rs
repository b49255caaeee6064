//! When metadata is fetched, and from whom when what is known is of no use any more.

use super::script::{Answer, Asked, Script, encode, metadata};
use super::{LONG, client, ms};
use ottla_client::{Error, ErrorCode, ErrorKind};
use ottla_protocol::{ApiKey, ApiVersionsRequest, ApiVersionsResponse, MetadataResponse};
use std::sync::atomic::{AtomicI32, Ordering};

fn metadata_of(nodes: Vec<(i32, i32)>) -> impl Fn(&Asked) -> Answer + Send + Sync {
    move |asked| (asked.api == ApiKey::Metadata).then(|| encode(&metadata(&nodes), asked.version))
}

fn asked(script: &Script) -> usize {
    script.asked(ApiKey::Metadata).len()
}

/// A port that nobody listens on.
async fn dead_port() -> i32 {
    i32::from(tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port())
}

#[tokio::test]
async fn metadata_is_refreshed_by_age_and_not_before() {
    let dead = dead_port().await;
    let (young, old) =
        (Script::start(metadata_of(vec![(1, dead)])).await, Script::start(metadata_of(Vec::new())).await);
    let often = client(&old.address, &[("metadata.max.age.ms", "20")]).unwrap();
    let seldom = client(&young.address, &[("metadata.max.age.ms", "3600000")]).unwrap();
    seldom.ready(LONG).await.unwrap();
    often.ready(LONG).await.unwrap();
    old.until(|script| asked(script) >= 5).await;
    assert_eq!(asked(&young), 1);
    // A dropped client asks no more.
    drop(often);
    old.until(|script| script.ended() == script.accepted()).await;
}

/// A bootstrap server that names one broker, which plays `broker`; the client refreshes all the time.
async fn behind(
    configs: &[(&str, &str)],
    broker: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
) -> (Script, Script, ottla_client::Client) {
    let broker = Script::start(broker).await;
    let first = Script::start(metadata_of(vec![(1, broker.port)])).await;
    let mut all = vec![("metadata.max.age.ms", "10"), ("default.api.timeout.ms", "100")];
    all.extend(configs);
    let client = client(&first.address, &all).unwrap();
    client.ready(LONG).await.unwrap();
    (first, broker, client)
}

#[tokio::test]
async fn without_an_answer_the_bootstrap_servers_are_asked_again_after_the_trigger() {
    let trigger = "metadata.recovery.rebootstrap.trigger.ms";
    let (first, _broker, _client) = behind(&[(trigger, "0")], |_| None).await;
    first.until(|first| asked(first) >= 3).await;
    // The broker at hand takes the whole of each attempt's time, so without the trigger no one else is asked.
    let (first, broker, _client) = behind(&[(trigger, "3600000")], |_| None).await;
    broker.until(|broker| asked(broker) >= 3).await;
    assert_eq!(asked(&first), 1);
    let none = [(trigger, "0"), ("metadata.recovery.strategy", "none")];
    let (first, broker, _client) = behind(&none, |_| None).await;
    broker.until(|broker| asked(broker) >= 3).await;
    assert_eq!(asked(&first), 1);
}

fn rebootstrap_required(asked: &Asked) -> Answer {
    let error_code = ErrorCode::RebootstrapRequired.code();
    let refusal = MetadataResponse { error_code, ..metadata(&[]) };
    (asked.api == ApiKey::Metadata).then(|| encode(&refusal, asked.version))
}

#[tokio::test]
async fn a_broker_may_send_the_client_back() {
    let (first, _broker, _client) = behind(&[], rebootstrap_required).await;
    first.until(|first| asked(first) >= 3).await;
    let none = [("metadata.recovery.strategy", "none")];
    let (first, broker, _client) = behind(&none, rebootstrap_required).await;
    broker.until(|broker| asked(broker) >= 3).await;
    assert_eq!(asked(&first), 1);
}

#[tokio::test]
async fn brokers_that_are_gone_lead_back_unless_that_is_switched_off() {
    let dead = dead_port().await;
    let first = Script::start(metadata_of(vec![(1, dead)])).await;
    let often = ("metadata.max.age.ms", "10");
    let back = client(&first.address, &[often]).unwrap();
    back.ready(LONG).await.unwrap();
    first.until(|first| asked(first) >= 3).await;
    drop(back);
    let first = Script::start(metadata_of(vec![(1, dead)])).await;
    let stays = client(&first.address, &[often, ("metadata.recovery.strategy", "none")]).unwrap();
    stays.ready(LONG).await.unwrap();
    // Any broker will do for this call, and none is left.
    let error = stays.admin().timeout(ms(200)).describe_cluster().await.unwrap_err();
    assert!(error.to_string().contains(&format!("127.0.0.1:{dead}")), "{error}");
    assert_eq!(asked(&first), 1);
}

/// Plays a broker that believes to be another node than it is taken for.
fn misrouted(asked: &Asked) -> Answer {
    if asked.api != ApiKey::ApiVersions || asked.version < 5 || asked.read::<ApiVersionsRequest>().node_id != 1 {
        return None;
    }
    let error_code = ErrorCode::RebootstrapRequired.code();
    Some(encode(&ApiVersionsResponse { error_code, ..Default::default() }, asked.version))
}

#[tokio::test]
async fn a_connection_says_which_node_it_is_meant_for() {
    let (first, broker, _client) = behind(&[], misrouted).await;
    broker.until(|broker| !broker.asked(ApiKey::ApiVersions).is_empty()).await;
    let said: ApiVersionsRequest = broker.asked(ApiKey::ApiVersions)[0].read();
    assert_eq!((said.node_id, said.cluster_id.as_deref()), (1, Some("c")));
    first.until(|first| asked(first) >= 3).await;
    // Bootstrap servers are not known to be any node.
    let said: ApiVersionsRequest = first.asked(ApiKey::ApiVersions)[0].read();
    assert_eq!((said.node_id, said.cluster_id.as_deref()), (-1, None));
    let (_first, broker, _client) = behind(&[("metadata.cluster.check.enable", "false")], misrouted).await;
    broker.until(|broker| !broker.asked(ApiKey::Metadata).is_empty()).await;
    assert!(broker.asked(ApiKey::ApiVersions).iter().all(|asked| asked.version < 5));
}

#[tokio::test]
async fn failed_requests_are_repeated_after_the_retry_backoff() {
    let play = || {
        let left = AtomicI32::new(3);
        move |asked: &Asked| {
            let busy = left.fetch_sub(i32::from(asked.api == ApiKey::Metadata), Ordering::Relaxed) > 0;
            let error_code = if busy { ErrorCode::CoordinatorLoadInProgress.code() } else { 0 };
            let answer = MetadataResponse { error_code, ..metadata(&[]) };
            (asked.api == ApiKey::Metadata).then(|| encode(&answer, asked.version))
        }
    };
    let script = Script::start(play()).await;
    client(&script.address, &[]).unwrap().ready(LONG).await.unwrap();
    assert_eq!(asked(&script), 4);
    let script = Script::start(play()).await;
    let slow = [("retry.backoff.ms", "3600000"), ("retry.backoff.max.ms", "3600000")];
    let error: Error = client(&script.address, &slow).unwrap().ready(ms(200)).await.unwrap_err();
    assert_eq!((error.code(), asked(&script)), (Some(ErrorCode::CoordinatorLoadInProgress), 1));
    // The longest wait bounds the first.
    let script = Script::start(play()).await;
    let bounded = [("retry.backoff.ms", "3600000"), ("retry.backoff.max.ms", "1")];
    client(&script.address, &bounded).unwrap().ready(LONG).await.unwrap();
}

#[tokio::test]
async fn names_that_cannot_be_resolved_are_a_mistake_unless_time_is_given() {
    let servers = "no-such-host.invalid:9092";
    let error = client(servers, &[]).unwrap().ready(LONG).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains("no-such-host.invalid"), "{error}");
    let patient = [("bootstrap.resolve.timeout.ms", "3600000")];
    let error = client(servers, &patient).unwrap().ready(ms(300)).await.unwrap_err();
    assert!(error.is_retriable(), "{error}");
    // One good name is enough.
    let script = Script::start(metadata_of(Vec::new())).await;
    client(&format!("{servers},{}", script.address), &[]).unwrap().ready(LONG).await.unwrap();
}
