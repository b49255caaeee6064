//! From a request frame to its handler and back: header, version check, decoding, authorizer, quota hook, encoding.
//!
//! `apis!` below is the one table of what this broker serves: ApiVersions answers from it and requests are routed by
//! it, so nothing is advertised that is not served and nothing is served that is not advertised. The versions
//! themselves come from Kafka's schemas ([`ApiKey::versions`]).

use crate::authorizer::Authorized;
use crate::context::RequestContext;
use crate::faults::{self, Filters, Injected, Refuse};
use crate::handlers;
use crate::node::Node;
use ottla_protocol::{ApiKey, Frame, Message, Reader, Request, RequestHeader, ResponseHeader, Writer};
use ottla_traffic::SeenConnection;
use ottla_wire::{Admission, Answer, Peer, Service};
use std::sync::Arc;

/// A handler's answer.
#[derive(Debug)]
pub(crate) enum Reply<T> {
    Send(T),
    /// Produce with acks=0.
    Nothing,
    /// The only way to tell an acks=0 producer that something is wrong.
    Close,
    /// The connection stays open and says nothing any more; only faults do this.
    Silence,
}

impl<T> From<T> for Reply<T> {
    fn from(response: T) -> Reply<T> {
        Reply::Send(response)
    }
}

/// Answers the requests of all connections of one broker.
#[derive(Debug, Clone)]
pub(crate) struct Dispatcher {
    node: Arc<Node>,
}

/// What is remembered per connection.
#[derive(Debug)]
pub(crate) struct Session {
    peer: Peer,
    /// Once it has been recorded; its drop is the end of the connection.
    seen: Option<SeenConnection>,
}

impl Dispatcher {
    pub(crate) fn new(node: Arc<Node>) -> Dispatcher {
        Dispatcher { node }
    }
}

impl Service for Dispatcher {
    type Session = Session;

    fn open(&self, peer: Peer) -> Session {
        tracing::trace!(?peer, "accepted a connection");
        Session { peer, seen: None }
    }

    async fn call(&self, session: &mut Session, frame: Frame, admission: Admission) -> Answer {
        let tap = &self.node.tap;
        if !tap.is_on() {
            return self.answer(&session.peer, frame, admission).await;
        }
        let (Session { peer, seen }, copy) = (session, frame.clone());
        // Boxed: what is not asked for shall not make every request's future larger.
        Box::pin(tap.pass(peer, seen, copy, self.answer(peer, frame, admission))).await
    }
}

impl Dispatcher {
    async fn answer(&self, peer: &Peer, frame: Frame, admission: Admission) -> Answer {
        let (start, size) = (frame.first_chunk().copied(), frame.len());
        let mut reader = Reader::of(frame);
        let call = match Call::read(&mut reader, (start, size), peer, admission) {
            Ok(call) => call,
            Err(reason) => {
                tracing::info!(peer = ?peer.address, "closed a connection: {reason}");
                return Answer::Close;
            }
        };
        let outcome = route(&self.node, call, reader).await;
        outcome.unwrap_or_else(|reason| {
            tracing::info!(peer = ?peer.address, "closed a connection: {reason}");
            Answer::Close
        })
    }
}

/// A request whose header has been read.
#[derive(Debug)]
struct Call {
    api: ApiKey,
    correlation_id: i32,
    size: usize,
    context: RequestContext,
}

impl Call {
    /// `start` and `size` are those of the frame.
    fn read(
        reader: &mut Reader,
        (start, size): (Option<[u8; 4]>, usize),
        peer: &Peer,
        admission: Admission,
    ) -> Result<Call, String> {
        // Key and version decide how the header itself is read.
        let start = start.ok_or("a request too short for a header")?;
        let key = i16::from_be_bytes([start[0], start[1]]);
        let version = i16::from_be_bytes([start[2], start[3]]);
        let api = ApiKey::from_code(key).ok_or_else(|| format!("unknown api key {key}"))?;
        // ApiVersions at a version from the future is answered, not refused (KIP-511); its header is read as the newest.
        let header_version = api.request_header_version(version.min(api.versions().1));
        let header = RequestHeader::decode(reader, header_version)
            .map_err(|error| format!("the header of {} v{version} cannot be read: {error}", api.name()))?;
        let context = RequestContext {
            api_version: version,
            client_id: header.client_id,
            listener: peer.listener.clone(),
            address: peer.address,
            admission: Some(admission),
            injected: Vec::new(),
        };
        Ok(Call { api, correlation_id: header.correlation_id, size, context })
    }

    fn decode<R: Request>(&self, reader: &mut Reader) -> Result<R, String> {
        let (api, version) = (self.api, self.context.api_version);
        // What stands behind the body is ignored, as Apache Kafka does: librdkafka's Metadata v13 ends with three bytes more.
        R::decode(reader, version)
            .map_err(|error| format!("the body of {} v{version} cannot be read: {error}", api.name()))
    }
}

fn answer<R: Message>(api: ApiKey, version: i16, correlation_id: i32, reply: Reply<R>) -> Result<Answer, String> {
    match reply {
        Reply::Send(response) => encode(api, version, correlation_id, &response),
        Reply::Nothing => Ok(Answer::Nothing),
        Reply::Close => Ok(Answer::Close),
        Reply::Silence => Ok(Answer::Silence),
    }
}

fn encode<R: Message>(api: ApiKey, version: i16, correlation_id: i32, response: &R) -> Result<Answer, String> {
    let mut writer = Writer::new();
    let header = ResponseHeader { correlation_id, ..Default::default() };
    header
        .encode(&mut writer, api.response_header_version(version))
        .and_then(|()| response.encode(&mut writer, version))
        .map_err(|error| format!("the answer to {} v{version} cannot be written: {error}", api.name()))?;
    Ok(Answer::Frame(writer.into_frame()))
}

/// The table: api key, its handler's module, its request.
macro_rules! apis {
    ($($key:ident $module:ident $request:ident,)*) => {
        /// The keys this broker serves, in the order of the table.
        pub(crate) const SERVED: &[ApiKey] = &[ApiKey::ApiVersions, $(ApiKey::$key,)*];

        /// What a fault can tell apart in the requests of an API; `None` where it is not served.
        pub(crate) fn filters_of(api: ApiKey) -> Option<Filters> {
            match api {
                ApiKey::ApiVersions => Some(ottla_protocol::ApiVersionsRequest::FILTERS),
                $(ApiKey::$key => Some(ottla_protocol::$request::FILTERS),)*
                _ => None,
            }
        }

        async fn route(node: &Arc<Node>, mut call: Call, mut reader: Reader) -> Result<Answer, String> {
            let (api, version, correlation_id) = (call.api, call.context.api_version, call.correlation_id);
            if api == ApiKey::ApiVersions {
                return api_versions(node, call, &mut reader).await;
            }
            let (lowest, highest) = api.versions();
            match api {
                $(ApiKey::$key if (lowest..=highest).contains(&version) => {
                    let mut request: ottla_protocol::$request = call.decode(&mut reader)?;
                    // Record bytes stay alive through the request; nothing else of the frame is held.
                    drop(reader);
                    let mut injected = match node.faults.is_armed() {
                        false => Injected::nothing(),
                        true => Box::pin(faults::inject(node, &mut call.context, &mut request)).await,
                    };
                    let request = node.admit(api, call.size, call.context, request);
                    let reply = match injected.instead.take() {
                        Some(reply) => reply,
                        // Boxed: the future of a connection is as large as its largest handler otherwise.
                        None => Box::pin(handlers::$module::handle(node, request)).await,
                    };
                    let reply = injected.finish::<ottla_protocol::$request>(&node.faults, reply);
                    answer(api, version, correlation_id, reply)
                })*
                _ => Err(format!("{} v{version} is not served", api.name())),
            }
        }
    };
}

apis! {
    Produce produce ProduceRequest,
    Fetch fetch FetchRequest,
    ListOffsets list_offsets ListOffsetsRequest,
    Metadata metadata MetadataRequest,
    OffsetCommit offset_commit OffsetCommitRequest,
    OffsetFetch offset_fetch OffsetFetchRequest,
    FindCoordinator find_coordinator FindCoordinatorRequest,
    JoinGroup join_group JoinGroupRequest,
    Heartbeat heartbeat HeartbeatRequest,
    LeaveGroup leave_group LeaveGroupRequest,
    SyncGroup sync_group SyncGroupRequest,
    DescribeGroups describe_groups DescribeGroupsRequest,
    ListGroups list_groups ListGroupsRequest,
    CreateTopics create_topics CreateTopicsRequest,
    DeleteTopics delete_topics DeleteTopicsRequest,
    DeleteRecords delete_records DeleteRecordsRequest,
    InitProducerId init_producer_id InitProducerIdRequest,
    OffsetForLeaderEpoch offset_for_leader_epoch OffsetForLeaderEpochRequest,
    AddPartitionsToTxn add_partitions_to_txn AddPartitionsToTxnRequest,
    AddOffsetsToTxn add_offsets_to_txn AddOffsetsToTxnRequest,
    EndTxn end_txn EndTxnRequest,
    WriteTxnMarkers write_txn_markers WriteTxnMarkersRequest,
    TxnOffsetCommit txn_offset_commit TxnOffsetCommitRequest,
    DescribeConfigs describe_configs DescribeConfigsRequest,
    AlterConfigs alter_configs AlterConfigsRequest,
    CreatePartitions create_partitions CreatePartitionsRequest,
    DeleteGroups delete_groups DeleteGroupsRequest,
    IncrementalAlterConfigs incremental_alter_configs IncrementalAlterConfigsRequest,
    OffsetDelete offset_delete OffsetDeleteRequest,
    DescribeCluster describe_cluster DescribeClusterRequest,
    DescribeProducers describe_producers DescribeProducersRequest,
    DescribeTransactions describe_transactions DescribeTransactionsRequest,
    ListTransactions list_transactions ListTransactionsRequest,
    DescribeTopicPartitions describe_topic_partitions DescribeTopicPartitionsRequest,
}

/// ApiVersions alone is answered at versions that are not served: in a v0 body, naming the range (KIP-511).
async fn api_versions(node: &Arc<Node>, mut call: Call, reader: &mut Reader) -> Result<Answer, String> {
    let (api, version, correlation_id) = (call.api, call.context.api_version, call.correlation_id);
    let (lowest, highest) = api.versions();
    if !(lowest..=highest).contains(&version) {
        return encode(api, 0, correlation_id, &handlers::api_versions::unsupported());
    }
    let mut request: ottla_protocol::ApiVersionsRequest = call.decode(reader)?;
    let mut injected = match node.faults.is_armed() {
        false => Injected::nothing(),
        true => Box::pin(faults::inject(node, &mut call.context, &mut request)).await,
    };
    let request: Authorized<_> = node.admit(api, call.size, call.context, request);
    let reply = injected.instead.take().unwrap_or_else(|| handlers::api_versions::handle(node, &request).into());
    answer(api, version, correlation_id, injected.finish::<ottla_protocol::ApiVersionsRequest>(&node.faults, reply))
}
