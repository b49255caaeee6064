//! What a body is, by its api key: the one table of requests and answers that can be looked into and replayed.

use crate::format::Withheld;
use crate::records;
use crate::replay::ids::Ids;
use crate::replay::patch::Patch;
use crate::tree::Tree;
use bytes::Bytes;
use ottla_config::Scope;
use ottla_protocol::{ApiKey, DecodeError, FetchResponse, Message, ProduceRequest, Reader, Request};
use std::any::Any;

/// What can be done with the bodies of one API.
pub(crate) struct Api {
    key: ApiKey,
    /// Whether a request can be read and has no secrets.
    check: fn(Bytes, i16) -> Result<(), Withheld>,
    request: fn(Bytes, i16) -> Result<Tree, DecodeError>,
    answer: fn(Bytes, i16) -> Result<Tree, DecodeError>,
    patch: fn(&Bytes, i16, &Ids) -> Result<Bytes, String>,
}

/// Requests with a token, a credential or a key in them or in their answers.
const SECRET_REQUESTS: &[ApiKey] = &[
    ApiKey::SaslAuthenticate,
    ApiKey::AlterUserScramCredentials,
    ApiKey::RenewDelegationToken,
    ApiKey::ExpireDelegationToken,
    ApiKey::Envelope,
];
const SECRET_ANSWERS: &[ApiKey] =
    &[ApiKey::SaslAuthenticate, ApiKey::CreateDelegationToken, ApiKey::DescribeDelegationToken, ApiKey::Envelope];

fn check<R: Patch>(body: Bytes, version: i16) -> Result<(), Withheld> {
    match read::<R>(body, version) {
        Ok(request) if request.has_secrets() => Err(Withheld::Secret),
        Ok(_) => Ok(()),
        Err(_) => Err(Withheld::Unreadable),
    }
}

/// What follows the message is left alone, as brokers do.
fn read<M: Message>(body: Bytes, version: i16) -> Result<M, DecodeError> {
    M::decode(&mut Reader::new(body), version)
}

fn request<R: Request + 'static>(body: Bytes, version: i16) -> Result<Tree, DecodeError> {
    let request = read::<R>(body, version)?;
    let tree = Tree::parse(&format!("{request:?}"));
    Ok(match (&request as &dyn Any).downcast_ref::<ProduceRequest>() {
        Some(produced) => records::of_produced(tree, produced),
        None => tree,
    })
}

fn answer<R: Request>(body: Bytes, version: i16) -> Result<Tree, DecodeError>
where
    R::Response: 'static,
{
    let answer = read::<R::Response>(body, version)?;
    let tree = Tree::parse(&format!("{answer:?}"));
    Ok(match (&answer as &dyn Any).downcast_ref::<FetchResponse>() {
        Some(fetched) => records::of_fetched(tree, fetched),
        None => tree,
    })
}

fn patch<R: Patch>(body: &Bytes, version: i16, ids: &Ids) -> Result<Bytes, String> {
    if !R::PATCHED {
        return Ok(body.clone());
    }
    let mut request = read::<R>(body.clone(), version).map_err(|error| error.to_string())?;
    request.patch(ids);
    request.to_bytes(version).map_err(|error| error.to_string())
}

const fn api<R: Patch + 'static>() -> Api
where
    R::Response: 'static,
{
    Api { key: R::API_KEY, check: check::<R>, request: request::<R>, answer: answer::<R>, patch: patch::<R> }
}

macro_rules! table {
    ($($name:ident,)*) => {
        static APIS: &[Api] = &[$(api::<ottla_protocol::$name>(),)*];
    };
}

table! {
    ProduceRequest, FetchRequest, ListOffsetsRequest, MetadataRequest, OffsetCommitRequest, OffsetFetchRequest,
    FindCoordinatorRequest, JoinGroupRequest, HeartbeatRequest, LeaveGroupRequest, SyncGroupRequest,
    DescribeGroupsRequest, ListGroupsRequest, SaslHandshakeRequest, ApiVersionsRequest, CreateTopicsRequest,
    DeleteTopicsRequest, DeleteRecordsRequest, InitProducerIdRequest, OffsetForLeaderEpochRequest,
    AddPartitionsToTxnRequest, AddOffsetsToTxnRequest, EndTxnRequest, WriteTxnMarkersRequest, TxnOffsetCommitRequest,
    DescribeAclsRequest, CreateAclsRequest, DeleteAclsRequest, DescribeConfigsRequest, AlterConfigsRequest,
    AlterReplicaLogDirsRequest, DescribeLogDirsRequest, SaslAuthenticateRequest, CreatePartitionsRequest,
    CreateDelegationTokenRequest, RenewDelegationTokenRequest, ExpireDelegationTokenRequest,
    DescribeDelegationTokenRequest, DeleteGroupsRequest, ElectLeadersRequest, IncrementalAlterConfigsRequest,
    AlterPartitionReassignmentsRequest, ListPartitionReassignmentsRequest, OffsetDeleteRequest,
    DescribeClientQuotasRequest, AlterClientQuotasRequest, DescribeUserScramCredentialsRequest,
    AlterUserScramCredentialsRequest, DescribeQuorumRequest, UpdateFeaturesRequest, DescribeClusterRequest,
    DescribeProducersRequest, UnregisterBrokerRequest, DescribeTransactionsRequest, ListTransactionsRequest,
    ConsumerGroupHeartbeatRequest, ConsumerGroupDescribeRequest, GetTelemetrySubscriptionsRequest,
    PushTelemetryRequest, ListConfigResourcesRequest, DescribeTopicPartitionsRequest, ShareGroupHeartbeatRequest,
    ShareGroupDescribeRequest, ShareFetchRequest, ShareAcknowledgeRequest, AddRaftVoterRequest,
    RemoveRaftVoterRequest, InitializeShareGroupStateRequest, ReadShareGroupStateRequest, WriteShareGroupStateRequest,
    DeleteShareGroupStateRequest, ReadShareGroupStateSummaryRequest, StreamsGroupHeartbeatRequest,
    StreamsGroupDescribeRequest, DescribeShareGroupOffsetsRequest, AlterShareGroupOffsetsRequest,
    DeleteShareGroupOffsetsRequest, StreamsGroupTopologyDescriptionUpdateRequest, UnregisterControllerRequest,
}

fn find(key: ApiKey) -> Option<&'static Api> {
    APIS.iter().find(|api| api.key == key)
}

/// The body of a request as it may stand in a file.
pub(crate) fn checked_request(key: i16, version: i16, body: Bytes) -> Result<Bytes, Withheld> {
    let api = ApiKey::from_code(key).ok_or(Withheld::Unreadable)?;
    if SECRET_REQUESTS.contains(&api) {
        return Err(Withheld::Secret);
    }
    (find(api).ok_or(Withheld::Unreadable)?.check)(body.clone(), version)?;
    Ok(body)
}

/// The body of an answer as it may stand in a file.
pub(crate) fn checked_answer(key: ApiKey, version: i16, body: Bytes) -> Result<Bytes, Withheld> {
    if SECRET_ANSWERS.contains(&key) {
        return Err(Withheld::Secret);
    }
    if key == ApiKey::DescribeConfigs {
        let answer = read::<ottla_protocol::DescribeConfigsResponse>(body.clone(), version);
        let answer = answer.map_err(|_| Withheld::Unreadable)?;
        let mut configs = answer.results.iter().flat_map(|result| &result.configs);
        // A broker names them without their values; this is for one that does not.
        if configs.any(|config| config.value.is_some() && (config.is_sensitive || is_sensitive(&config.name))) {
            return Err(Withheld::Secret);
        }
    }
    Ok(body)
}

/// Whether a config's value is nobody's business: as DescribeConfigs has it, for whatever listener or mechanism it is.
pub(crate) fn is_sensitive(config: &str) -> bool {
    let scopes = [Scope::Broker, Scope::Topic, Scope::Producer];
    let known = |name: &str| scopes.iter().find_map(|scope| scope.find(name));
    if let Some(row) = known(config) {
        return row.is_sensitive();
    }
    let secret = |row: &&'static ottla_config::ConfigDef| row.is_sensitive() && config.ends_with(row.name);
    let words = ["password", "secret", "credential", "token", "private.key", "jaas"];
    scopes.iter().flat_map(|scope| scope.rows()).any(|row| secret(&row))
        || words.iter().any(|word| config.to_ascii_lowercase().contains(word))
}

/// A request's body as a tree.
pub(crate) fn request_tree(key: ApiKey, version: i16, body: Bytes) -> Result<Tree, String> {
    let api = find(key).ok_or_else(|| format!("{key} is not read here"))?;
    (api.request)(body, version).map_err(|error| error.to_string())
}

/// An answer's body as a tree.
pub(crate) fn answer_tree(key: ApiKey, version: i16, body: Bytes) -> Result<Tree, String> {
    let api = find(key).ok_or_else(|| format!("{key} is not read here"))?;
    (api.answer)(body, version).map_err(|error| error.to_string())
}

/// A request's body with the ids of the target instead of those of the recording.
pub(crate) fn patched(key: ApiKey, version: i16, body: &Bytes, ids: &Ids) -> Result<Bytes, String> {
    let api = find(key).ok_or_else(|| format!("{key} is not sent from here"))?;
    (api.patch)(body, version, ids)
}

/// Whether a request is one that has no answer.
pub(crate) fn asks_for_nothing(key: ApiKey, version: i16, body: &Bytes) -> bool {
    key == ApiKey::Produce && read::<ProduceRequest>(body.clone(), version).is_ok_and(|request| request.acks == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_of_a_broker_is_in_the_table() {
        for key in ApiKey::ALL.iter().filter(|key| key.on_broker()) {
            assert!(find(*key).is_some(), "{key}");
        }
    }

    #[test]
    fn secrets_are_known_by_their_names() {
        for name in [
            "ssl.keystore.password",
            "listener.name.sasl_ssl.ssl.key.password",
            "sasl.jaas.config",
            "listener.name.outside.scram-sha-512.sasl.jaas.config",
            "my.own.password",
        ] {
            assert!(is_sensitive(name), "{name}");
        }
        for name in ["retention.ms", "ssl.keystore.location", "max.connections", "delegation.token.max.lifetime.ms"] {
            assert!(!is_sensitive(name), "{name}");
        }
    }
}
