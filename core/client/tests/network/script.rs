//! A broker made of a script: it answers what a test tells it to, and remembers what it was asked.

use bytes::Bytes;
use ottla_client::Env;
use ottla_protocol::api_versions_response::{ApiVersion, ApiVersionsResponse};
use ottla_protocol::metadata_response::{MetadataResponse, MetadataResponseBroker};
use ottla_protocol::{ApiKey, Message, Reader, RequestHeader, ResponseHeader, Writer};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub api: ApiKey,
    pub version: i16,
    pub client_id: String,
    pub body: Bytes,
}

impl Asked {
    pub fn read<M: Message>(&self) -> M {
        M::decode(&mut Reader::new(self.body.clone()), self.version).unwrap()
    }
}

/// What a script makes of a request: an answer, or silence.
pub type Answer = Option<Bytes>;
type Play = dyn Fn(&Asked) -> Answer + Send + Sync;

/// A running script.
pub struct Script {
    pub address: String,
    pub port: i32,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    asked: Mutex<Vec<Asked>>,
    accepted: AtomicUsize,
    ended: AtomicUsize,
    told: tokio::sync::Notify,
}

impl Script {
    /// Starts one. ApiVersions is answered unless `play` does; its answer has all APIs of this client.
    pub async fn start(play: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Script {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = i32::from(listener.local_addr().unwrap().port());
        let shared = Arc::new(Shared::default());
        let (of, play): (_, Arc<Play>) = (shared.clone(), Arc::new(play));
        Env::real().spawn("script", async move {
            while let Ok((socket, _)) = listener.accept().await {
                of.accepted.fetch_add(1, Ordering::Relaxed);
                of.told.notify_waiters();
                let (of, play) = (of.clone(), play.clone());
                Env::real().spawn("scripted connection", async move {
                    serve(socket, &of, &*play).await;
                    of.ended.fetch_add(1, Ordering::Relaxed);
                    of.told.notify_waiters();
                });
            }
        });
        Script { address: format!("127.0.0.1:{port}"), port, shared }
    }

    /// The requests of one API so far.
    pub fn asked(&self, api: ApiKey) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().iter().filter(|asked| asked.api == api).cloned().collect()
    }

    /// Connections so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Connections that are over.
    pub fn ended(&self) -> usize {
        self.shared.ended.load(Ordering::Relaxed)
    }

    /// Waits until something about the script holds. A test that waits in vain ends at its own limit.
    pub async fn until(&self, holds: impl Fn(&Script) -> bool) {
        let waiting = async {
            loop {
                let told = self.shared.told.notified();
                tokio::pin!(told);
                told.as_mut().enable();
                if holds(self) {
                    return;
                }
                told.await;
            }
        };
        let limited = Env::real().timeout(std::time::Duration::from_secs(30), waiting).await;
        limited.expect("it did not come to that within 30 s");
    }
}

async fn serve(mut socket: TcpStream, shared: &Shared, play: &Play) {
    while let Ok(size) = socket.read_i32().await {
        let mut frame = vec![0; usize::try_from(size).unwrap()];
        if socket.read_exact(&mut frame).await.is_err() {
            return;
        }
        let key = ApiKey::from_code(i16::from_be_bytes([frame[0], frame[1]])).unwrap();
        let version = i16::from_be_bytes([frame[2], frame[3]]);
        let mut reader = Reader::new(Bytes::from(frame.clone()));
        let header = RequestHeader::decode(&mut reader, key.request_header_version(version)).unwrap();
        let body = Bytes::from(frame).split_off(size as usize - reader.remaining());
        let client_id = header.client_id.as_deref().unwrap_or_default().to_owned();
        let asked = Asked { api: key, version, client_id, body };
        shared.asked.lock().unwrap().push(asked.clone());
        shared.told.notify_waiters();
        let answer = match play(&asked) {
            None if key == ApiKey::ApiVersions => Some(encode(&versions(), version)),
            answer => answer,
        };
        let Some(answer) = answer else { continue };
        let mut head = Writer::new();
        let header = ResponseHeader { correlation_id: header.correlation_id, ..Default::default() };
        header.encode(&mut head, key.response_header_version(version)).unwrap();
        let head = head.into_bytes();
        let sent = async {
            socket.write_i32((head.len() + answer.len()) as i32).await?;
            socket.write_all(&head).await?;
            socket.write_all(&answer).await
        };
        if sent.await.is_err() {
            return;
        }
    }
}

pub fn encode<M: Message>(message: &M, version: i16) -> Bytes {
    let mut writer = Writer::new();
    message.encode(&mut writer, version).unwrap();
    writer.into_bytes()
}

fn versions() -> ApiVersionsResponse {
    let keys = [
        ApiKey::ApiVersions,
        ApiKey::Metadata,
        ApiKey::GetTelemetrySubscriptions,
        ApiKey::PushTelemetry,
        ApiKey::SaslHandshake,
        ApiKey::SaslAuthenticate,
    ];
    let api_keys = keys.iter().map(|key| {
        let (min_version, max_version) = key.versions();
        ApiVersion { api_key: key.code(), min_version, max_version, ..Default::default() }
    });
    ApiVersionsResponse { api_keys: api_keys.collect(), ..Default::default() }
}

/// Metadata of the cluster "c" without topics; nodes by id and port.
pub fn metadata(nodes: &[(i32, i32)]) -> MetadataResponse {
    let broker = |(node_id, port): &(i32, i32)| MetadataResponseBroker {
        node_id: *node_id,
        host: "127.0.0.1".into(),
        port: *port,
        ..Default::default()
    };
    MetadataResponse {
        brokers: nodes.iter().map(broker).collect(),
        cluster_id: Some("c".into()),
        controller_id: nodes.first().map_or(-1, |node| node.0),
        ..Default::default()
    }
}
