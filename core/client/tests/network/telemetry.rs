//! Metrics that the cluster asks for (KIP-714).

use super::script::{Answer, Asked, Script, encode, metadata};
use super::{LONG, client};
use ottla_client::{ErrorKind, Uuid};
use ottla_model::{Compression, decompress};
use ottla_protocol::{
    ApiKey, GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse, PushTelemetryRequest,
    PushTelemetryResponse,
};
use std::sync::atomic::{AtomicI32, Ordering};

const ID: Uuid = Uuid([7; 16]);

fn subscription(wanted: &str) -> GetTelemetrySubscriptionsResponse {
    GetTelemetrySubscriptionsResponse {
        client_instance_id: ID,
        subscription_id: 42,
        accepted_compression_types: vec![99, 4, 1],
        push_interval_ms: 20,
        telemetry_max_bytes: 1 << 20,
        delta_temporality: true,
        requested_metrics: vec![wanted.into()],
        ..Default::default()
    }
}

fn play(asked: &Asked, wanted: &str, refusal: i16) -> Answer {
    match asked.api {
        ApiKey::Metadata => Some(encode(&metadata(&[]), asked.version)),
        ApiKey::GetTelemetrySubscriptions => Some(encode(&subscription(wanted), asked.version)),
        ApiKey::PushTelemetry => {
            Some(encode(&PushTelemetryResponse { error_code: refusal, ..Default::default() }, asked.version))
        }
        _ => None,
    }
}

fn pushes(script: &Script) -> Vec<PushTelemetryRequest> {
    script.asked(ApiKey::PushTelemetry).iter().map(Asked::read).collect()
}

const PUSH: (&str, &str) = ("enable.metrics.push", "true");

#[tokio::test]
async fn what_is_asked_for_is_pushed_until_the_last_push() {
    let script = Script::start(|asked: &Asked| play(asked, "org.apache.kafka.admin.client.request.total", 0)).await;
    let pushing = client(&script.address, &[PUSH]).unwrap();
    assert_eq!(pushing.client_instance_id(LONG).await.unwrap(), ID);
    script.until(|script| pushes(script).len() >= 3).await;
    pushing.shutdown().await;
    let pushed = pushes(&script);
    let (last, earlier) = pushed.split_last().unwrap();
    assert!(last.terminating && earlier.iter().all(|push| !push.terminating));
    for push in &pushed {
        // The first codec of the cluster's list that exists.
        assert_eq!((push.client_instance_id, push.subscription_id, push.compression_type), (ID, 42, 4));
        let metrics = decompress(Compression::Zstd, &push.metrics, 1 << 20).unwrap();
        let text = String::from_utf8_lossy(&metrics);
        assert!(text.contains("org.apache.kafka.admin.client.request.total"), "{text}");
        assert!(text.contains("client_id") && !text.contains("connection.count"), "{text}");
    }
    let first: GetTelemetrySubscriptionsRequest = script.asked(ApiKey::GetTelemetrySubscriptions)[0].read();
    assert!(first.client_instance_id.is_zero());
}

#[tokio::test]
async fn a_lost_subscription_is_asked_for_again_under_the_same_id() {
    let left = AtomicI32::new(1);
    let script = Script::start(move |asked: &Asked| {
        // UNKNOWN_SUBSCRIPTION_ID, once.
        let lost = asked.api == ApiKey::PushTelemetry && left.fetch_sub(1, Ordering::Relaxed) > 0;
        play(asked, "*", if lost { 117 } else { 0 })
    })
    .await;
    let pushing = client(&script.address, &[PUSH]).unwrap();
    pushing.ready(LONG).await.unwrap();
    script.until(|script| pushes(script).len() >= 3).await;
    let asked: Vec<GetTelemetrySubscriptionsRequest> =
        script.asked(ApiKey::GetTelemetrySubscriptions).iter().map(Asked::read).collect();
    assert_eq!(asked.iter().map(|asked| asked.client_instance_id).collect::<Vec<_>>(), [Uuid::ZERO, ID]);
}

#[tokio::test]
async fn a_refusal_for_good_ends_it() {
    let script = Script::start(|asked: &Asked| play(asked, "*", 42)).await;
    let pushing = client(&script.address, &[PUSH, ("metadata.max.age.ms", "5")]).unwrap();
    pushing.ready(LONG).await.unwrap();
    script.until(|script| !pushes(script).is_empty()).await;
    let then = script.asked(ApiKey::Metadata).len();
    script.until(|script| script.asked(ApiKey::Metadata).len() > then + 20).await;
    assert_eq!(pushes(&script).len(), 1);
    pushing.shutdown().await;
    assert_eq!(pushes(&script).len(), 1);
}

#[tokio::test]
async fn switched_off_nothing_is_asked() {
    let script = Script::start(|asked: &Asked| play(asked, "*", 0)).await;
    let silent = client(&script.address, &[("enable.metrics.push", "false"), ("metadata.max.age.ms", "5")]).unwrap();
    silent.ready(LONG).await.unwrap();
    script.until(|script| script.asked(ApiKey::Metadata).len() > 20).await;
    assert!(script.asked(ApiKey::GetTelemetrySubscriptions).is_empty());
    let error = silent.client_instance_id(LONG).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}
