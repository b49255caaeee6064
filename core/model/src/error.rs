//! Kafka's error codes: one table of code, name, whether a retry may help, and a text in our own words. Every language's
//! exception comes from it. It deliberately holds no context: which topic or group failed is said where it failed.

use std::fmt;

/// What a client may do after an error.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Retry {
    /// Asking again gives the same answer.
    Final,
    /// Asking again may succeed.
    Retriable,
    /// Asking again may succeed once the metadata has been fetched anew.
    Metadata,
}

macro_rules! error_codes {
    ($($(#[$default:meta])? $variant:ident = $code:literal, $name:literal, $retry:ident, $message:literal;)*) => {
        /// An error as it travels in Kafka's responses (Apache Kafka 4.4's table).
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i16)]
        pub enum ErrorCode {
            $(#[doc = $message] $(#[$default])? $variant = $code,)*
        }

        impl ErrorCode {
            /// Every code, in the order of the numbers.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant,)*];

            /// The error with this number; a number that this table lacks is `UnknownServerError`, as in Kafka's clients.
            pub fn from_code(code: i16) -> ErrorCode {
                match code {
                    $($code => ErrorCode::$variant,)*
                    _ => ErrorCode::UnknownServerError,
                }
            }

            /// Kafka's name, for example `UNKNOWN_TOPIC_OR_PARTITION`.
            pub fn name(self) -> &'static str {
                match self { $(ErrorCode::$variant => $name,)* }
            }

            /// One sentence for a person, without a full stop.
            pub fn message(self) -> &'static str {
                match self { $(ErrorCode::$variant => $message,)* }
            }

            fn retry(self) -> Retry {
                match self { $(ErrorCode::$variant => Retry::$retry,)* }
            }
        }
    };
}

error_codes! {
    UnknownServerError = -1, "UNKNOWN_SERVER_ERROR", Final, "the broker failed in a way that has no code of its own; its log says more";
    #[default]
    None = 0, "NONE", Final, "no error";
    OffsetOutOfRange = 1, "OFFSET_OUT_OF_RANGE", Final, "the offset lies outside the partition's log";
    CorruptMessage = 2, "CORRUPT_MESSAGE", Retriable, "the record batch is damaged, too large, or lacks a key that a compacted topic requires";
    UnknownTopicOrPartition = 3, "UNKNOWN_TOPIC_OR_PARTITION", Metadata, "this broker does not host the partition";
    InvalidFetchSize = 4, "INVALID_FETCH_SIZE", Final, "the fetch size is not valid";
    LeaderNotAvailable = 5, "LEADER_NOT_AVAILABLE", Metadata, "the partition has no leader at the moment";
    NotLeaderOrFollower = 6, "NOT_LEADER_OR_FOLLOWER", Metadata, "this broker is not the leader (or not a replica) of the partition";
    RequestTimedOut = 7, "REQUEST_TIMED_OUT", Retriable, "the request took longer than its timeout";
    BrokerNotAvailable = 8, "BROKER_NOT_AVAILABLE", Final, "the broker is not available";
    ReplicaNotAvailable = 9, "REPLICA_NOT_AVAILABLE", Metadata, "the replica is not available on this broker";
    MessageTooLarge = 10, "MESSAGE_TOO_LARGE", Final, "the record batch is larger than the topic accepts";
    StaleControllerEpoch = 11, "STALE_CONTROLLER_EPOCH", Final, "the controller has moved to another node";
    OffsetMetadataTooLarge = 12, "OFFSET_METADATA_TOO_LARGE", Final, "the metadata of the offset commit is too long";
    NetworkException = 13, "NETWORK_EXCEPTION", Metadata, "the connection was lost before the answer came";
    CoordinatorLoadInProgress = 14, "COORDINATOR_LOAD_IN_PROGRESS", Retriable, "the coordinator is still loading its state";
    CoordinatorNotAvailable = 15, "COORDINATOR_NOT_AVAILABLE", Retriable, "no coordinator is available";
    NotCoordinator = 16, "NOT_COORDINATOR", Retriable, "this broker is not the coordinator";
    InvalidTopicException = 17, "INVALID_TOPIC_EXCEPTION", Final, "the topic name is not valid, or the topic may not be used this way";
    RecordListTooLarge = 18, "RECORD_LIST_TOO_LARGE", Final, "the record batch is larger than a log segment";
    NotEnoughReplicas = 19, "NOT_ENOUGH_REPLICAS", Retriable, "fewer replicas are in sync than min.insync.replicas asks for";
    NotEnoughReplicasAfterAppend = 20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", Retriable, "the records were appended, but too few replicas were in sync afterwards";
    InvalidRequiredAcks = 21, "INVALID_REQUIRED_ACKS", Final, "acks must be 0, 1 or -1 (all)";
    IllegalGeneration = 22, "ILLEGAL_GENERATION", Final, "the generation is not the group's current one";
    InconsistentGroupProtocol = 23, "INCONSISTENT_GROUP_PROTOCOL", Final, "the member's protocol type or protocols do not match the group's";
    InvalidGroupId = 24, "INVALID_GROUP_ID", Final, "the group id is not valid";
    UnknownMemberId = 25, "UNKNOWN_MEMBER_ID", Final, "the coordinator does not know this member";
    InvalidSessionTimeout = 26, "INVALID_SESSION_TIMEOUT", Final, "the session timeout is outside what the broker allows";
    RebalanceInProgress = 27, "REBALANCE_IN_PROGRESS", Final, "the group is rebalancing; the member has to join again";
    InvalidCommitOffsetSize = 28, "INVALID_COMMIT_OFFSET_SIZE", Final, "the offset commit is larger than allowed";
    TopicAuthorizationFailed = 29, "TOPIC_AUTHORIZATION_FAILED", Final, "not authorized to access the topic";
    GroupAuthorizationFailed = 30, "GROUP_AUTHORIZATION_FAILED", Final, "not authorized to access the group";
    ClusterAuthorizationFailed = 31, "CLUSTER_AUTHORIZATION_FAILED", Final, "not authorized to act on the cluster";
    InvalidTimestamp = 32, "INVALID_TIMESTAMP", Final, "the record's timestamp is outside what the topic accepts";
    UnsupportedSaslMechanism = 33, "UNSUPPORTED_SASL_MECHANISM", Final, "the broker does not offer this SASL mechanism";
    IllegalSaslState = 34, "ILLEGAL_SASL_STATE", Final, "the request does not fit the connection's SASL state";
    UnsupportedVersion = 35, "UNSUPPORTED_VERSION", Final, "the broker does not support this version of the API";
    TopicAlreadyExists = 36, "TOPIC_ALREADY_EXISTS", Final, "a topic with this name exists already";
    InvalidPartitions = 37, "INVALID_PARTITIONS", Final, "the number of partitions is not valid";
    InvalidReplicationFactor = 38, "INVALID_REPLICATION_FACTOR", Final, "the replication factor is below 1 or above the number of brokers";
    InvalidReplicaAssignment = 39, "INVALID_REPLICA_ASSIGNMENT", Final, "the replica assignment is not valid";
    InvalidConfig = 40, "INVALID_CONFIG", Final, "the configuration is not valid";
    NotController = 41, "NOT_CONTROLLER", Retriable, "this node is not the active controller";
    InvalidRequest = 42, "INVALID_REQUEST", Final, "the request is malformed or contradicts itself";
    UnsupportedForMessageFormat = 43, "UNSUPPORTED_FOR_MESSAGE_FORMAT", Final, "the message format of the partition does not support the request";
    PolicyViolation = 44, "POLICY_VIOLATION", Final, "a policy of the broker refused the request";
    OutOfOrderSequenceNumber = 45, "OUT_OF_ORDER_SEQUENCE_NUMBER", Final, "the sequence number does not follow the producer's last one";
    DuplicateSequenceNumber = 46, "DUPLICATE_SEQUENCE_NUMBER", Final, "the sequence number was already written";
    InvalidProducerEpoch = 47, "INVALID_PRODUCER_EPOCH", Final, "the producer's epoch is old";
    InvalidTxnState = 48, "INVALID_TXN_STATE", Final, "the transaction is not in a state that allows the operation";
    InvalidProducerIdMapping = 49, "INVALID_PRODUCER_ID_MAPPING", Final, "the producer id does not belong to this transactional id";
    InvalidTransactionTimeout = 50, "INVALID_TRANSACTION_TIMEOUT", Final, "the transaction timeout is above transaction.max.timeout.ms";
    ConcurrentTransactions = 51, "CONCURRENT_TRANSACTIONS", Retriable, "another operation on the same transaction is still under way";
    TransactionCoordinatorFenced = 52, "TRANSACTION_COORDINATOR_FENCED", Final, "the sender is no longer the coordinator of this producer's transaction";
    TransactionalIdAuthorizationFailed = 53, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", Final, "not authorized to use the transactional id";
    SecurityDisabled = 54, "SECURITY_DISABLED", Final, "security features are disabled on the broker";
    OperationNotAttempted = 55, "OPERATION_NOT_ATTEMPTED", Final, "the operation was not attempted because another part of the request failed";
    KafkaStorageError = 56, "KAFKA_STORAGE_ERROR", Metadata, "the broker could not use the disk that holds the partition";
    LogDirNotFound = 57, "LOG_DIR_NOT_FOUND", Final, "the log directory is not one of the broker's";
    SaslAuthenticationFailed = 58, "SASL_AUTHENTICATION_FAILED", Final, "SASL authentication failed";
    UnknownProducerId = 59, "UNKNOWN_PRODUCER_ID", Final, "the broker no longer knows this producer id for the partition";
    ReassignmentInProgress = 60, "REASSIGNMENT_IN_PROGRESS", Final, "a reassignment of the partition is under way";
    DelegationTokenAuthDisabled = 61, "DELEGATION_TOKEN_AUTH_DISABLED", Final, "delegation tokens are not enabled";
    DelegationTokenNotFound = 62, "DELEGATION_TOKEN_NOT_FOUND", Final, "the delegation token does not exist";
    DelegationTokenOwnerMismatch = 63, "DELEGATION_TOKEN_OWNER_MISMATCH", Final, "the principal is neither owner nor renewer of the delegation token";
    DelegationTokenRequestNotAllowed = 64, "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED", Final, "delegation tokens cannot be requested over this connection";
    DelegationTokenAuthorizationFailed = 65, "DELEGATION_TOKEN_AUTHORIZATION_FAILED", Final, "not authorized to use the delegation token";
    DelegationTokenExpired = 66, "DELEGATION_TOKEN_EXPIRED", Final, "the delegation token has expired";
    InvalidPrincipalType = 67, "INVALID_PRINCIPAL_TYPE", Final, "the principal type is not supported";
    NonEmptyGroup = 68, "NON_EMPTY_GROUP", Final, "the group still has members";
    GroupIdNotFound = 69, "GROUP_ID_NOT_FOUND", Final, "the group does not exist";
    FetchSessionIdNotFound = 70, "FETCH_SESSION_ID_NOT_FOUND", Retriable, "the fetch session does not exist";
    InvalidFetchSessionEpoch = 71, "INVALID_FETCH_SESSION_EPOCH", Retriable, "the fetch session's epoch is not the expected one";
    ListenerNotFound = 72, "LISTENER_NOT_FOUND", Metadata, "the leader has no listener of the name that was used here";
    TopicDeletionDisabled = 73, "TOPIC_DELETION_DISABLED", Final, "the broker does not allow topics to be deleted";
    FencedLeaderEpoch = 74, "FENCED_LEADER_EPOCH", Metadata, "the request's leader epoch is older than the broker's";
    UnknownLeaderEpoch = 75, "UNKNOWN_LEADER_EPOCH", Retriable, "the request's leader epoch is newer than the broker's";
    UnsupportedCompressionType = 76, "UNSUPPORTED_COMPRESSION_TYPE", Final, "the client's version cannot carry the partition's compression type";
    StaleBrokerEpoch = 77, "STALE_BROKER_EPOCH", Final, "the broker's epoch has changed";
    OffsetNotAvailable = 78, "OFFSET_NOT_AVAILABLE", Retriable, "the new leader's high watermark has not caught up yet";
    MemberIdRequired = 79, "MEMBER_ID_REQUIRED", Final, "the member has to come back with the member id it was given";
    PreferredLeaderNotAvailable = 80, "PREFERRED_LEADER_NOT_AVAILABLE", Metadata, "the preferred leader is not available";
    GroupMaxSizeReached = 81, "GROUP_MAX_SIZE_REACHED", Final, "the group has reached its maximum size";
    FencedInstanceId = 82, "FENCED_INSTANCE_ID", Final, "another member with the same group.instance.id has replaced this one";
    EligibleLeadersNotAvailable = 83, "ELIGIBLE_LEADERS_NOT_AVAILABLE", Metadata, "no eligible leader is available";
    ElectionNotNeeded = 84, "ELECTION_NOT_NEEDED", Metadata, "the partition needs no leader election";
    NoReassignmentInProgress = 85, "NO_REASSIGNMENT_IN_PROGRESS", Final, "no reassignment of the partition is under way";
    GroupSubscribedToTopic = 86, "GROUP_SUBSCRIBED_TO_TOPIC", Final, "the group is subscribed to the topic";
    InvalidRecord = 87, "INVALID_RECORD", Final, "the broker's validation refused the record";
    UnstableOffsetCommit = 88, "UNSTABLE_OFFSET_COMMIT", Retriable, "the offsets are part of a transaction that is still open";
    ThrottlingQuotaExceeded = 89, "THROTTLING_QUOTA_EXCEEDED", Retriable, "a quota was exceeded";
    ProducerFenced = 90, "PRODUCER_FENCED", Final, "a newer producer with the same transactional id has fenced this one";
    ResourceNotFound = 91, "RESOURCE_NOT_FOUND", Final, "a resource that the request names does not exist";
    DuplicateResource = 92, "DUPLICATE_RESOURCE", Final, "the request names the same resource twice";
    UnacceptableCredential = 93, "UNACCEPTABLE_CREDENTIAL", Final, "the credential does not meet the requirements";
    InconsistentVoterSet = 94, "INCONSISTENT_VOTER_SET", Final, "sender or receiver is not among the expected voters";
    InvalidUpdateVersion = 95, "INVALID_UPDATE_VERSION", Final, "the update's version is not valid";
    FeatureUpdateFailed = 96, "FEATURE_UPDATE_FAILED", Final, "the finalized features could not be updated";
    PrincipalDeserializationFailure = 97, "PRINCIPAL_DESERIALIZATION_FAILURE", Final, "the forwarded principal could not be read";
    SnapshotNotFound = 98, "SNAPSHOT_NOT_FOUND", Final, "the snapshot does not exist";
    PositionOutOfRange = 99, "POSITION_OUT_OF_RANGE", Final, "the position is outside the snapshot";
    UnknownTopicId = 100, "UNKNOWN_TOPIC_ID", Metadata, "this broker does not host a topic with this id";
    DuplicateBrokerRegistration = 101, "DUPLICATE_BROKER_REGISTRATION", Final, "the broker id is in use by a running broker";
    BrokerIdNotRegistered = 102, "BROKER_ID_NOT_REGISTERED", Final, "the broker id is not registered";
    InconsistentTopicId = 103, "INCONSISTENT_TOPIC_ID", Metadata, "the topic id does not match the log's";
    InconsistentClusterId = 104, "INCONSISTENT_CLUSTER_ID", Final, "the cluster id does not match the broker's";
    TransactionalIdNotFound = 105, "TRANSACTIONAL_ID_NOT_FOUND", Final, "the transactional id does not exist";
    FetchSessionTopicIdError = 106, "FETCH_SESSION_TOPIC_ID_ERROR", Retriable, "the fetch session mixes topic names and topic ids";
    IneligibleReplica = 107, "INELIGIBLE_REPLICA", Final, "the new ISR contains a replica that may not join it";
    NewLeaderElected = 108, "NEW_LEADER_ELECTED", Final, "the partition changed as asked, but a new leader was elected meanwhile";
    OffsetMovedToTieredStorage = 109, "OFFSET_MOVED_TO_TIERED_STORAGE", Final, "the offset lives in tiered storage";
    FencedMemberEpoch = 110, "FENCED_MEMBER_EPOCH", Final, "the member's epoch is fenced; it gives up its partitions and joins again";
    UnreleasedInstanceId = 111, "UNRELEASED_INSTANCE_ID", Final, "another member still holds this instance id";
    UnsupportedAssignor = 112, "UNSUPPORTED_ASSIGNOR", Final, "the group does not support the assignor";
    StaleMemberEpoch = 113, "STALE_MEMBER_EPOCH", Final, "the member's epoch is old; it retries after its next heartbeat";
    MismatchedEndpointType = 114, "MISMATCHED_ENDPOINT_TYPE", Final, "the endpoint is of the wrong type for the request";
    UnsupportedEndpointType = 115, "UNSUPPORTED_ENDPOINT_TYPE", Final, "this type of endpoint is not supported";
    UnknownControllerId = 116, "UNKNOWN_CONTROLLER_ID", Final, "the controller id is not known";
    UnknownSubscriptionId = 117, "UNKNOWN_SUBSCRIPTION_ID", Final, "the telemetry subscription id is not known or outdated";
    TelemetryTooLarge = 118, "TELEMETRY_TOO_LARGE", Final, "the telemetry is larger than the broker accepts";
    InvalidRegistration = 119, "INVALID_REGISTRATION", Final, "the controller refused the broker's registration";
    TransactionAbortable = 120, "TRANSACTION_ABORTABLE", Final, "the transaction failed and has to be aborted; the producer stays usable";
    InvalidRecordState = 121, "INVALID_RECORD_STATE", Final, "the record is not in a state that can be acknowledged";
    ShareSessionNotFound = 122, "SHARE_SESSION_NOT_FOUND", Retriable, "the share session does not exist";
    InvalidShareSessionEpoch = 123, "INVALID_SHARE_SESSION_EPOCH", Retriable, "the share session's epoch is not the expected one";
    FencedStateEpoch = 124, "FENCED_STATE_EPOCH", Final, "the state epoch is fenced";
    InvalidVoterKey = 125, "INVALID_VOTER_KEY", Final, "the voter's key does not match the replica's";
    DuplicateVoter = 126, "DUPLICATE_VOTER", Final, "the voter is already in the voter set";
    VoterNotFound = 127, "VOTER_NOT_FOUND", Final, "the voter is not in the voter set";
    InvalidRegularExpression = 128, "INVALID_REGULAR_EXPRESSION", Final, "the regular expression is not valid";
    RebootstrapRequired = 129, "REBOOTSTRAP_REQUIRED", Final, "the client's metadata is stale; it has to bootstrap again";
    StreamsInvalidTopology = 130, "STREAMS_INVALID_TOPOLOGY", Final, "the topology is not valid";
    StreamsInvalidTopologyEpoch = 131, "STREAMS_INVALID_TOPOLOGY_EPOCH", Final, "the topology's epoch is not valid";
    StreamsTopologyFenced = 132, "STREAMS_TOPOLOGY_FENCED", Final, "the topology's epoch is outdated";
    ShareSessionLimitReached = 133, "SHARE_SESSION_LIMIT_REACHED", Retriable, "the broker holds as many share sessions as it may";
    GroupDeletionFailed = 134, "GROUP_DELETION_FAILED", Final, "a group could not be deleted; its own message says why";
    StreamsTopologyDescriptionUpdateFailed = 135, "STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED", Final, "the topology's description could not be updated; the message says why";
    ControllerIdNotRegistered = 136, "CONTROLLER_ID_NOT_REGISTERED", Final, "the controller id is not registered";
}

impl ErrorCode {
    /// The number on the wire.
    pub fn code(self) -> i16 {
        self as i16
    }

    /// Whether the same request may succeed when it is sent again.
    pub fn is_retriable(self) -> bool {
        self.retry() != Retry::Final
    }

    /// Whether the client should fetch metadata before it tries again (Kafka's `InvalidMetadataException`).
    pub fn is_metadata_stale(self) -> bool {
        self.retry() == Retry::Metadata
    }

    /// Whether this is `None`, the absence of an error.
    pub fn is_none(self) -> bool {
        self == ErrorCode::None
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name(), self.message())
    }
}

impl std::error::Error for ErrorCode {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole_and_maps_both_ways() {
        for (position, &error) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!(error.code(), position as i16 - 1, "{error}");
            assert_eq!(ErrorCode::from_code(error.code()), error);
        }
        assert_eq!(ErrorCode::ALL.len(), 138);
        assert_eq!(ErrorCode::default(), ErrorCode::None);
        assert_eq!(ErrorCode::from_code(3).name(), "UNKNOWN_TOPIC_OR_PARTITION");
        assert_eq!(ErrorCode::from_code(9999), ErrorCode::UnknownServerError);
    }

    #[test]
    fn retry_hints_are_kafkas() {
        assert!(ErrorCode::NotLeaderOrFollower.is_metadata_stale());
        assert!(ErrorCode::NotEnoughReplicas.is_retriable());
        assert!(!ErrorCode::NotEnoughReplicas.is_metadata_stale());
        assert!(!ErrorCode::RebalanceInProgress.is_retriable());
    }
}
