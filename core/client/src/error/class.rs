//! One table of Kafka's errors as its Java clients see them: the exception's class, from which bindings name theirs, and what
//! KIP-1050 says about going on after it. Taken from Apache Kafka 4.4.0's own classes.

use ottla_model::ErrorCode;

/// The group of an error (KIP-1050): what an application, mostly one with transactions, does after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorClass {
    /// The same request may succeed later.
    Retriable,
    /// The same request may succeed once the metadata has been fetched anew.
    RefreshRetriable,
    /// The transaction has to be aborted; the producer goes on.
    Abortable,
    /// The client is of no use any more; a new one goes on.
    ApplicationRecoverable,
    /// A setting, a permission or a request is wrong: a person has to change something.
    InvalidConfiguration,
    /// None of these: what it means depends on the request.
    Other,
}

macro_rules! classes {
    ($($variant:ident = $class:literal $group:ident;)*) => {
        /// The Java exception's class, and its group.
        pub(super) fn of(code: ErrorCode) -> (&'static str, ErrorClass) {
            match code {
                ErrorCode::None => ("", ErrorClass::Other),
                $(ErrorCode::$variant => (concat!("org.apache.kafka.common.", $class), ErrorClass::$group),)*
            }
        }
    };
}

classes! {
    UnknownServerError = "errors.UnknownServerException" Other;
    OffsetOutOfRange = "errors.OffsetOutOfRangeException" Other;
    CorruptMessage = "errors.CorruptRecordException" Retriable;
    UnknownTopicOrPartition = "errors.UnknownTopicOrPartitionException" RefreshRetriable;
    InvalidFetchSize = "errors.InvalidFetchSizeException" Other;
    LeaderNotAvailable = "errors.LeaderNotAvailableException" RefreshRetriable;
    NotLeaderOrFollower = "errors.NotLeaderOrFollowerException" RefreshRetriable;
    RequestTimedOut = "errors.TimeoutException" Retriable;
    BrokerNotAvailable = "errors.BrokerNotAvailableException" Other;
    ReplicaNotAvailable = "errors.ReplicaNotAvailableException" RefreshRetriable;
    MessageTooLarge = "errors.RecordTooLargeException" Other;
    StaleControllerEpoch = "errors.ControllerMovedException" Other;
    OffsetMetadataTooLarge = "errors.OffsetMetadataTooLarge" Other;
    NetworkException = "errors.NetworkException" RefreshRetriable;
    CoordinatorLoadInProgress = "errors.CoordinatorLoadInProgressException" Retriable;
    CoordinatorNotAvailable = "errors.CoordinatorNotAvailableException" RefreshRetriable;
    NotCoordinator = "errors.NotCoordinatorException" RefreshRetriable;
    InvalidTopicException = "errors.InvalidTopicException" InvalidConfiguration;
    RecordListTooLarge = "errors.RecordBatchTooLargeException" InvalidConfiguration;
    NotEnoughReplicas = "errors.NotEnoughReplicasException" Retriable;
    NotEnoughReplicasAfterAppend = "errors.NotEnoughReplicasAfterAppendException" Retriable;
    InvalidRequiredAcks = "errors.InvalidRequiredAcksException" InvalidConfiguration;
    IllegalGeneration = "errors.IllegalGenerationException" ApplicationRecoverable;
    InconsistentGroupProtocol = "errors.InconsistentGroupProtocolException" Other;
    InvalidGroupId = "errors.InvalidGroupIdException" Other;
    UnknownMemberId = "errors.UnknownMemberIdException" ApplicationRecoverable;
    InvalidSessionTimeout = "errors.InvalidSessionTimeoutException" Other;
    RebalanceInProgress = "errors.RebalanceInProgressException" Other;
    InvalidCommitOffsetSize = "errors.InvalidCommitOffsetSizeException" Other;
    TopicAuthorizationFailed = "errors.TopicAuthorizationException" InvalidConfiguration;
    GroupAuthorizationFailed = "errors.GroupAuthorizationException" InvalidConfiguration;
    ClusterAuthorizationFailed = "errors.ClusterAuthorizationException" InvalidConfiguration;
    InvalidTimestamp = "errors.InvalidTimestampException" Other;
    UnsupportedSaslMechanism = "errors.UnsupportedSaslMechanismException" InvalidConfiguration;
    IllegalSaslState = "errors.IllegalSaslStateException" InvalidConfiguration;
    UnsupportedVersion = "errors.UnsupportedVersionException" InvalidConfiguration;
    TopicAlreadyExists = "errors.TopicExistsException" Other;
    InvalidPartitions = "errors.InvalidPartitionsException" Other;
    InvalidReplicationFactor = "errors.InvalidReplicationFactorException" InvalidConfiguration;
    InvalidReplicaAssignment = "errors.InvalidReplicaAssignmentException" Other;
    InvalidConfig = "errors.InvalidConfigurationException" InvalidConfiguration;
    NotController = "errors.NotControllerException" Retriable;
    InvalidRequest = "errors.InvalidRequestException" Other;
    UnsupportedForMessageFormat = "errors.UnsupportedForMessageFormatException" InvalidConfiguration;
    PolicyViolation = "errors.PolicyViolationException" Other;
    OutOfOrderSequenceNumber = "errors.OutOfOrderSequenceException" Other;
    DuplicateSequenceNumber = "errors.DuplicateSequenceException" Other;
    InvalidProducerEpoch = "errors.InvalidProducerEpochException" ApplicationRecoverable;
    InvalidTxnState = "errors.InvalidTxnStateException" Other;
    InvalidProducerIdMapping = "errors.InvalidPidMappingException" ApplicationRecoverable;
    InvalidTransactionTimeout = "errors.InvalidTxnTimeoutException" Other;
    ConcurrentTransactions = "errors.ConcurrentTransactionsException" Retriable;
    TransactionCoordinatorFenced = "errors.TransactionCoordinatorFencedException" Other;
    TransactionalIdAuthorizationFailed = "errors.TransactionalIdAuthorizationException" InvalidConfiguration;
    SecurityDisabled = "errors.SecurityDisabledException" Other;
    OperationNotAttempted = "errors.OperationNotAttemptedException" Other;
    KafkaStorageError = "errors.KafkaStorageException" RefreshRetriable;
    LogDirNotFound = "errors.LogDirNotFoundException" Other;
    SaslAuthenticationFailed = "errors.SaslAuthenticationException" InvalidConfiguration;
    UnknownProducerId = "errors.UnknownProducerIdException" Other;
    ReassignmentInProgress = "errors.ReassignmentInProgressException" Other;
    DelegationTokenAuthDisabled = "errors.DelegationTokenDisabledException" Other;
    DelegationTokenNotFound = "errors.DelegationTokenNotFoundException" Other;
    DelegationTokenOwnerMismatch = "errors.DelegationTokenOwnerMismatchException" Other;
    DelegationTokenRequestNotAllowed = "errors.UnsupportedByAuthenticationException" Other;
    DelegationTokenAuthorizationFailed = "errors.DelegationTokenAuthorizationException" InvalidConfiguration;
    DelegationTokenExpired = "errors.DelegationTokenExpiredException" Other;
    InvalidPrincipalType = "errors.InvalidPrincipalTypeException" Other;
    NonEmptyGroup = "errors.GroupNotEmptyException" Other;
    GroupIdNotFound = "errors.GroupIdNotFoundException" Other;
    FetchSessionIdNotFound = "errors.FetchSessionIdNotFoundException" Retriable;
    InvalidFetchSessionEpoch = "errors.InvalidFetchSessionEpochException" Retriable;
    ListenerNotFound = "errors.ListenerNotFoundException" RefreshRetriable;
    TopicDeletionDisabled = "errors.TopicDeletionDisabledException" Other;
    FencedLeaderEpoch = "errors.FencedLeaderEpochException" RefreshRetriable;
    UnknownLeaderEpoch = "errors.UnknownLeaderEpochException" Retriable;
    UnsupportedCompressionType = "errors.UnsupportedCompressionTypeException" Other;
    StaleBrokerEpoch = "errors.StaleBrokerEpochException" Other;
    OffsetNotAvailable = "errors.OffsetNotAvailableException" Retriable;
    MemberIdRequired = "errors.MemberIdRequiredException" Other;
    PreferredLeaderNotAvailable = "errors.PreferredLeaderNotAvailableException" RefreshRetriable;
    GroupMaxSizeReached = "errors.GroupMaxSizeReachedException" Other;
    FencedInstanceId = "errors.FencedInstanceIdException" ApplicationRecoverable;
    EligibleLeadersNotAvailable = "errors.EligibleLeadersNotAvailableException" RefreshRetriable;
    ElectionNotNeeded = "errors.ElectionNotNeededException" RefreshRetriable;
    NoReassignmentInProgress = "errors.NoReassignmentInProgressException" Other;
    GroupSubscribedToTopic = "errors.GroupSubscribedToTopicException" Other;
    InvalidRecord = "InvalidRecordException" InvalidConfiguration;
    UnstableOffsetCommit = "errors.UnstableOffsetCommitException" Retriable;
    ThrottlingQuotaExceeded = "errors.ThrottlingQuotaExceededException" Retriable;
    ProducerFenced = "errors.ProducerFencedException" ApplicationRecoverable;
    ResourceNotFound = "errors.ResourceNotFoundException" Other;
    DuplicateResource = "errors.DuplicateResourceException" Other;
    UnacceptableCredential = "errors.UnacceptableCredentialException" Other;
    InconsistentVoterSet = "errors.InconsistentVoterSetException" Other;
    InvalidUpdateVersion = "errors.InvalidUpdateVersionException" Other;
    FeatureUpdateFailed = "errors.FeatureUpdateFailedException" Other;
    PrincipalDeserializationFailure = "errors.PrincipalDeserializationException" Other;
    SnapshotNotFound = "errors.SnapshotNotFoundException" Other;
    PositionOutOfRange = "errors.PositionOutOfRangeException" Other;
    UnknownTopicId = "errors.UnknownTopicIdException" RefreshRetriable;
    DuplicateBrokerRegistration = "errors.DuplicateBrokerRegistrationException" Other;
    BrokerIdNotRegistered = "errors.BrokerIdNotRegisteredException" Other;
    InconsistentTopicId = "errors.InconsistentTopicIdException" RefreshRetriable;
    InconsistentClusterId = "errors.InconsistentClusterIdException" Other;
    TransactionalIdNotFound = "errors.TransactionalIdNotFoundException" Other;
    FetchSessionTopicIdError = "errors.FetchSessionTopicIdException" Retriable;
    IneligibleReplica = "errors.IneligibleReplicaException" Other;
    NewLeaderElected = "errors.NewLeaderElectedException" Other;
    OffsetMovedToTieredStorage = "errors.OffsetMovedToTieredStorageException" Other;
    FencedMemberEpoch = "errors.FencedMemberEpochException" Other;
    UnreleasedInstanceId = "errors.UnreleasedInstanceIdException" Other;
    UnsupportedAssignor = "errors.UnsupportedAssignorException" Other;
    StaleMemberEpoch = "errors.StaleMemberEpochException" Other;
    MismatchedEndpointType = "errors.MismatchedEndpointTypeException" Other;
    UnsupportedEndpointType = "errors.UnsupportedEndpointTypeException" Other;
    UnknownControllerId = "errors.UnknownControllerIdException" Other;
    UnknownSubscriptionId = "errors.UnknownSubscriptionIdException" Other;
    TelemetryTooLarge = "errors.TelemetryTooLargeException" Other;
    InvalidRegistration = "errors.InvalidRegistrationException" Other;
    TransactionAbortable = "errors.TransactionAbortableException" Abortable;
    InvalidRecordState = "errors.InvalidRecordStateException" Other;
    ShareSessionNotFound = "errors.ShareSessionNotFoundException" Retriable;
    InvalidShareSessionEpoch = "errors.InvalidShareSessionEpochException" Retriable;
    FencedStateEpoch = "errors.FencedStateEpochException" Other;
    InvalidVoterKey = "errors.InvalidVoterKeyException" Other;
    DuplicateVoter = "errors.DuplicateVoterException" Other;
    VoterNotFound = "errors.VoterNotFoundException" Other;
    InvalidRegularExpression = "errors.InvalidRegularExpression" Other;
    RebootstrapRequired = "errors.RebootstrapRequiredException" Other;
    StreamsInvalidTopology = "errors.StreamsInvalidTopologyException" Other;
    StreamsInvalidTopologyEpoch = "errors.StreamsInvalidTopologyEpochException" Other;
    StreamsTopologyFenced = "errors.StreamsTopologyFencedException" Other;
    ShareSessionLimitReached = "errors.ShareSessionLimitReachedException" Retriable;
    GroupDeletionFailed = "errors.GroupDeletionFailedException" Other;
    StreamsTopologyDescriptionUpdateFailed = "errors.StreamsTopologyDescriptionUpdateFailedException" Other;
    ControllerIdNotRegistered = "errors.ControllerIdNotRegisteredException" Other;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_agree_with_what_is_tried_again() {
        for code in ErrorCode::ALL.iter().copied().filter(|code| !code.is_none()) {
            let (class, group) = of(code);
            assert!(class.starts_with("org.apache.kafka.common."), "{code:?}");
            let retriable = matches!(group, ErrorClass::Retriable | ErrorClass::RefreshRetriable);
            assert_eq!(retriable, code.is_retriable(), "{code:?}");
            // Kafka's RefreshRetriable are its stale metadata and its moved coordinators.
            let coordinator = matches!(code, ErrorCode::CoordinatorNotAvailable | ErrorCode::NotCoordinator);
            assert_eq!(group == ErrorClass::RefreshRetriable, code.is_metadata_stale() || coordinator, "{code:?}");
        }
        assert_eq!(of(ErrorCode::RequestTimedOut).0, "org.apache.kafka.common.errors.TimeoutException");
    }
}
