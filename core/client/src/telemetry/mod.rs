//! Metrics that the cluster asks for (KIP-714): which ones and how often it says in a subscription, and the client pushes
//! them, the last time when it closes. `enable.metrics.push` switches it off.
//!
//! One client is one instance, whatever producers and consumers it has. A broker without a plugin that takes metrics does
//! not serve the APIs, which ends this quietly. Nothing here fails a call of the user's.

mod otlp;

use crate::client::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::{Metric, MetricName};
use crate::retry::Deadline;
use bytes::Bytes;
use otlp::{Point, Temporality};
use ottla_env::{Env, Task};
use ottla_model::{Compression, ErrorCode, Uuid, compress};
use ottla_protocol::get_telemetry_subscriptions_request::GetTelemetrySubscriptionsRequest;
use ottla_protocol::get_telemetry_subscriptions_response::GetTelemetrySubscriptionsResponse;
use ottla_protocol::push_telemetry_request::PushTelemetryRequest;
use ottla_protocol::push_telemetry_response::PushTelemetryResponse;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The interval when the cluster names none, Java's.
const INTERVAL: Duration = Duration::from_secs(300);
/// How long the last push may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// Pushes a client's metrics.
#[derive(Debug)]
pub(crate) struct Telemetry {
    task: Task,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The instance's id once the cluster has given one; an error once it is clear that it gives none.
    id: watch::Sender<Option<std::result::Result<Uuid, Error>>>,
    /// The subscription in force.
    session: Mutex<Option<Session>>,
}

#[derive(Debug, Clone)]
struct Session {
    id: Uuid,
    subscription: i32,
    compression: Compression,
    max_bytes: usize,
    temporality: Temporality,
    /// Prefixes of names; empty is none, and a single `*` is all.
    wanted: Vec<String>,
    interval: Duration,
    /// The sums of the last push and when it was, nanoseconds since 1970.
    last: Arc<BTreeMap<MetricName, f64>>,
    pushed_at: u64,
}

/// What to do after an answer.
enum Next {
    /// Push after the interval.
    Wait,
    /// Ask for the subscription again, at once.
    Renew,
    /// The cluster does not want this client's metrics.
    Stop(Error),
}

impl Telemetry {
    /// Starts pushing for `client`, in a task that ends with [`Telemetry::stop`] or when the client is dropped.
    pub(crate) fn start(client: &Client) -> Telemetry {
        let shared = Arc::new(Shared { id: watch::channel(None).0, session: Mutex::default() });
        let task = client.env().spawn("telemetry", run(client.weak(), client.env().clone(), shared.clone()));
        Telemetry { task, shared }
    }

    /// The instance's id, waiting for it until `deadline`.
    pub(crate) async fn id(&self, env: &Env, deadline: &Deadline) -> Result<Uuid> {
        let mut id = self.shared.id.subscribe();
        let wait = async {
            match id.wait_for(Option::is_some).await {
                Ok(found) => found.clone().unwrap_or_else(|| Err(Error::closed())),
                Err(_) => Err(Error::closed()),
            }
        };
        let left = deadline.left(env).unwrap_or_default();
        env.timeout(left, wait).await.unwrap_or_else(|_| {
            let limit = deadline.limit.as_millis();
            Err(Error::new(ErrorKind::Timeout, format!("the cluster gave no client instance id within {limit} ms")))
        })
    }

    /// Ends the task. Gives the last push, if the cluster wants one, to be sent on a connection that is still open.
    pub(crate) fn stop(&self, client: &Client) -> Option<(PushTelemetryRequest, Duration)> {
        self.task.abort();
        let session = self.shared.session.lock().take()?;
        let (request, _) = push(client, &session, true)?;
        Some((request, FAREWELL))
    }

    /// Ends the task without a word.
    pub(crate) fn abort(&self) {
        self.task.abort();
    }
}

async fn run(client: crate::client::WeakClient, env: Env, shared: Arc<Shared>) {
    let mut id = Uuid::ZERO;
    loop {
        let subscribed = match client.upgrade() {
            Some(client) => subscribe(&client, id).await,
            None => return,
        };
        let mut session = match subscribed {
            Ok(session) => session,
            Err((next, pause)) => {
                if let Next::Stop(error) = next {
                    tracing::debug!(%error, "metrics are not pushed");
                    shared.id.send_replace(Some(Err(error)));
                    return;
                }
                env.sleep(pause).await;
                continue;
            }
        };
        id = session.id;
        shared.id.send_replace(Some(Ok(id)));
        if let Some(known) = shared.session.lock().take() {
            (session.last, session.pushed_at) = (known.last, known.pushed_at);
        }
        *shared.session.lock() = Some(session.clone());
        // The first push comes after half to one and a half intervals, so that clients do not come in step.
        let mut pause = session.interval.mul_f64(0.5 + (env.random_u64() % 1001) as f64 / 1000.0);
        loop {
            env.sleep(pause).await;
            pause = session.interval;
            if session.wanted.is_empty() {
                break;
            }
            let Some(client) = client.upgrade() else { return };
            match push_once(&client, &shared, &mut session).await {
                Next::Wait => {}
                Next::Renew => break,
                Next::Stop(error) => {
                    tracing::debug!(%error, "the cluster does not want this client's metrics");
                    shared.session.lock().take();
                    return;
                }
            }
        }
    }
}

async fn subscribe(client: &Client, id: Uuid) -> std::result::Result<Session, (Next, Duration)> {
    let request = GetTelemetrySubscriptionsRequest { client_instance_id: id, ..Default::default() };
    let asked: Result<GetTelemetrySubscriptionsResponse> = client.any(&request, &client.deadline()).await;
    let response = match asked {
        Ok(response) => response,
        Err(error) if error.is_retriable() => return Err((Next::Renew, client.options().retry_backoff_max)),
        Err(error) => return Err((Next::Stop(error), Duration::ZERO)),
    };
    let interval = u64::try_from(response.push_interval_ms).ok().filter(|ms| *ms > 0);
    let interval = interval.map_or(INTERVAL, Duration::from_millis);
    match ErrorCode::from_code(response.error_code) {
        ErrorCode::None => {}
        code => {
            let error = Error::from_code(code, "the telemetry subscription", None);
            let next = after(code).unwrap_or(Next::Stop(error));
            return Err((next, interval));
        }
    }
    // The first that this client has; the cluster lists them by its preference.
    let accepted = response.accepted_compression_types.iter();
    let compression = accepted.filter_map(|code| Compression::from_code(*code as u8)).next();
    Ok(Session {
        id: response.client_instance_id,
        subscription: response.subscription_id,
        compression: compression.unwrap_or(Compression::None),
        max_bytes: usize::try_from(response.telemetry_max_bytes).unwrap_or(usize::MAX),
        temporality: if response.delta_temporality { Temporality::Delta } else { Temporality::Cumulative },
        wanted: response.requested_metrics.iter().map(|prefix| prefix.to_string()).collect(),
        interval,
        last: Arc::default(),
        pushed_at: now(client.env()),
    })
}

/// What Java's client does after these errors; `None` is the end of it.
fn after(code: ErrorCode) -> Option<Next> {
    match code {
        ErrorCode::UnknownSubscriptionId | ErrorCode::UnsupportedCompressionType => Some(Next::Renew),
        ErrorCode::TelemetryTooLarge | ErrorCode::ThrottlingQuotaExceeded => Some(Next::Wait),
        code if code.is_retriable() => Some(Next::Wait),
        _ => None,
    }
}

async fn push_once(client: &Client, shared: &Shared, session: &mut Session) -> Next {
    let Some((request, totals)) = push(client, session, false) else { return Next::Wait };
    let pushed_at = now(client.env());
    let answer: Result<PushTelemetryResponse> = client.any(&request, &client.deadline()).await;
    match answer.map(|answer| ErrorCode::from_code(answer.error_code)) {
        Ok(ErrorCode::None) => {
            session.last = Arc::new(totals);
            session.pushed_at = pushed_at;
            *shared.session.lock() = Some(session.clone());
            Next::Wait
        }
        Ok(code) => after(code).unwrap_or_else(|| Next::Stop(Error::from_code(code, "the pushed metrics", None))),
        Err(error) if error.is_retriable() => Next::Wait,
        Err(error) => Next::Stop(error),
    }
}

/// The request with what the subscription wants, and the sums in it. `None` when it would be too large.
fn push(
    client: &Client,
    session: &Session,
    terminating: bool,
) -> Option<(PushTelemetryRequest, BTreeMap<MetricName, f64>)> {
    let metrics = client.all_metrics();
    let wanted = |metric: &&Metric| {
        let name = otlp::name(&metric.name);
        session.wanted.iter().any(|prefix| prefix == "*" || name.starts_with(prefix.as_str()))
    };
    let mut totals = BTreeMap::new();
    let mut points = Vec::new();
    for metric in metrics.iter().filter(wanted) {
        let Some(number) = otlp::number(metric) else { continue };
        let mut value = number;
        if metric.is_total {
            totals.insert(metric.name.clone(), number);
            if session.temporality == Temporality::Delta {
                value -= session.last.get(&metric.name).copied().unwrap_or_default();
            }
        }
        points.push(Point { metric, value, since: session.pushed_at });
    }
    let encoded = otlp::encode(&points, session.temporality, now(client.env()));
    let mut compressed = Vec::new();
    let compression = match compress(session.compression, None, &encoded, &mut compressed) {
        Ok(()) => session.compression,
        Err(_) => {
            compressed = encoded;
            Compression::None
        }
    };
    if compressed.len() > session.max_bytes {
        tracing::debug!(bytes = compressed.len(), limit = session.max_bytes, "the metrics are too large to push");
        return None;
    }
    let request = PushTelemetryRequest {
        client_instance_id: session.id,
        subscription_id: session.subscription,
        terminating,
        compression_type: compression.code() as i8,
        metrics: Bytes::from(compressed),
        ..Default::default()
    };
    Some((request, totals))
}

fn now(env: &Env) -> u64 {
    u64::try_from(env.now_ms()).unwrap_or_default() * 1_000_000
}
