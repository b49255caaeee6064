//! What can go wrong, told by what the caller should do next.

mod class;

pub use class::ErrorClass;

use ottla_model::ErrorCode;
use ottla_wire::ClientError;
use std::fmt;
use std::sync::Arc;

/// The result of a client call.
pub type Result<T> = std::result::Result<T, Error>;

/// What the caller does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Trying again later may help; the client's own retries are used up.
    Retriable,
    /// The transaction has to be aborted before going on.
    Abortable,
    /// Another instance has taken over; close this one.
    Fenced,
    /// The request or a setting is wrong; trying again gives the same answer.
    Invalid,
    /// The credentials or permissions do not suffice.
    Auth,
    /// The time limit passed; the outcome of a write is unknown.
    Timeout,
    /// The client was closed.
    Closed,
    /// `Consumer::wakeup` was called.
    Wakeup,
    /// Bytes from the broker or the log are not what they should be.
    Data,
    /// A bug in this client or in the broker.
    Internal,
}

/// Why a client call failed: a kind to act on, Kafka's error code where a broker sent one, and a sentence.
#[derive(Debug, Clone)]
pub struct Error {
    kind: ErrorKind,
    code: Option<ErrorCode>,
    retriable: bool,
    message: String,
    /// What the connection said.
    source: Option<Arc<ClientError>>,
}

impl Error {
    /// An error of this kind, for an assignor, a listener or a test of one's own. Retriable where the kind says so.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        let retriable = matches!(kind, ErrorKind::Retriable | ErrorKind::Timeout);
        Error { kind, code: None, retriable, message: message.into(), source: None }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Invalid, message)
    }

    /// The broker does not serve an API, or not at a version that could say what was asked: `UNSUPPORTED_VERSION`.
    pub(crate) fn unsupported(message: impl Into<String>) -> Error {
        Error { code: Some(ErrorCode::UnsupportedVersion), ..Error::new(ErrorKind::Invalid, message) }
    }

    pub(crate) fn closed() -> Error {
        Error::new(ErrorKind::Closed, "the client is closed")
    }

    /// A broker's error about `what` ("topic flights", "partition flights-3"), with the broker's own sentence if it sent one.
    pub fn from_code(code: ErrorCode, what: &str, broker_message: Option<&str>) -> Error {
        // Java's messages end with a full stop, which would stand in the middle of the sentence here.
        let text = broker_message.map(|text| text.trim().trim_end_matches('.')).filter(|text| !text.is_empty());
        let text = text.unwrap_or(code.message());
        let message = format!("{what}: {text} ({})", code.name());
        Error { kind: kind_of(code), code: Some(code), retriable: code.is_retriable(), message, source: None }
    }

    /// The same error with the circumstances put before its sentence.
    pub(crate) fn context(mut self, before: &str) -> Error {
        self.message = format!("{before}: {}", self.message);
        self
    }

    /// The same error, which the client itself can get over.
    pub(crate) fn retriable(self) -> Error {
        Error { kind: ErrorKind::Retriable, retriable: true, ..self }
    }

    /// The same error with what may be the matter put after its sentence.
    pub(crate) fn hint(mut self, after: &str) -> Error {
        self.message = format!("{}; {after}", self.message);
        self
    }

    /// The same error for a caller who has to do something else about it.
    pub(crate) fn with_kind(self, kind: ErrorKind) -> Error {
        Error { kind, retriable: false, ..self }
    }

    /// What the caller does next.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Kafka's error code, where a broker sent one.
    pub fn code(&self) -> Option<ErrorCode> {
        self.code
    }

    /// Whether the same call may succeed later.
    pub fn is_retriable(&self) -> bool {
        self.retriable
    }

    /// Whether the transaction has to be aborted, after which the producer goes on.
    pub fn is_abortable(&self) -> bool {
        self.kind == ErrorKind::Abortable
    }

    /// Whether this client cannot go on: it was fenced or closed, or the cluster does not accept its credentials.
    pub fn is_fatal(&self) -> bool {
        match self.kind {
            ErrorKind::Fenced | ErrorKind::Closed => true,
            // Permissions are of one topic or group; credentials are of all.
            ErrorKind::Auth => match self.code {
                None => true,
                Some(code) => matches!(
                    code,
                    ErrorCode::SaslAuthenticationFailed
                        | ErrorCode::UnsupportedSaslMechanism
                        | ErrorCode::IllegalSaslState
                ),
            },
            _ => false,
        }
    }

    /// The group that KIP-1050 puts it in; by its kind where it has no code of Kafka's.
    pub fn class(&self) -> ErrorClass {
        match (self.code, self.kind) {
            (Some(code), _) => class::of(code).1,
            (None, ErrorKind::Retriable | ErrorKind::Timeout) => ErrorClass::Retriable,
            (None, ErrorKind::Abortable) => ErrorClass::Abortable,
            (None, ErrorKind::Fenced) => ErrorClass::ApplicationRecoverable,
            (None, ErrorKind::Invalid | ErrorKind::Auth) => ErrorClass::InvalidConfiguration,
            (None, _) => ErrorClass::Other,
        }
    }

    /// The exception that the Java client would throw, `org.apache.kafka.common.errors.TimeoutException`; bindings name
    /// theirs after it.
    pub fn java_class(&self) -> &'static str {
        match (self.code, self.kind) {
            (Some(code), _) if !code.is_none() => class::of(code).0,
            (_, ErrorKind::Retriable) => "org.apache.kafka.common.errors.DisconnectException",
            (_, ErrorKind::Timeout) => "org.apache.kafka.common.errors.TimeoutException",
            (_, ErrorKind::Abortable) => "org.apache.kafka.common.errors.TransactionAbortableException",
            (_, ErrorKind::Fenced) => "org.apache.kafka.common.errors.ProducerFencedException",
            (_, ErrorKind::Auth) => "org.apache.kafka.common.errors.SslAuthenticationException",
            (_, ErrorKind::Wakeup) => "org.apache.kafka.common.errors.WakeupException",
            (_, ErrorKind::Data) => "org.apache.kafka.common.errors.CorruptRecordException",
            (_, ErrorKind::Invalid) => "org.apache.kafka.common.errors.InvalidConfigurationException",
            (_, ErrorKind::Closed) => "java.lang.IllegalStateException",
            (_, ErrorKind::Internal) => "org.apache.kafka.common.KafkaException",
        }
    }

    /// One sentence for a person.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

impl From<ClientError> for Error {
    fn from(error: ClientError) -> Error {
        let (kind, code) = match &error {
            ClientError::Authentication { code, .. } => (ErrorKind::Auth, Some(*code)),
            ClientError::Security(_) => (ErrorKind::Auth, None),
            ClientError::Connect { .. } | ClientError::Resolve { .. } | ClientError::Disconnected(_) => {
                (ErrorKind::Retriable, None)
            }
            ClientError::Timeout { .. } => (ErrorKind::Timeout, None),
            ClientError::Decode(_) => (ErrorKind::Data, None),
            ClientError::Encode(_) => (ErrorKind::Invalid, None),
            _ => (ErrorKind::Internal, None),
        };
        let message = error.to_string();
        Error { code, source: Some(Arc::new(error)), ..Error::new(kind, message) }
    }
}

fn kind_of(code: ErrorCode) -> ErrorKind {
    match code {
        ErrorCode::ProducerFenced
        | ErrorCode::InvalidProducerEpoch
        | ErrorCode::InvalidProducerIdMapping
        | ErrorCode::FencedInstanceId => ErrorKind::Fenced,
        ErrorCode::TopicAuthorizationFailed
        | ErrorCode::GroupAuthorizationFailed
        | ErrorCode::ClusterAuthorizationFailed
        | ErrorCode::TransactionalIdAuthorizationFailed
        | ErrorCode::DelegationTokenAuthorizationFailed
        | ErrorCode::SaslAuthenticationFailed
        | ErrorCode::UnsupportedSaslMechanism
        | ErrorCode::IllegalSaslState => ErrorKind::Auth,
        ErrorCode::RequestTimedOut => ErrorKind::Timeout,
        ErrorCode::CorruptMessage => ErrorKind::Data,
        ErrorCode::UnknownServerError => ErrorKind::Internal,
        ErrorCode::TransactionAbortable => ErrorKind::Abortable,
        // Retriable by the protocol, but what a person has to change is the name.
        ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId => ErrorKind::Invalid,
        code if code.is_retriable() => ErrorKind::Retriable,
        _ => ErrorKind::Invalid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_agree_with_kafkas_groups() {
        for code in ErrorCode::ALL.iter().copied().filter(|code| !code.is_none()) {
            let error = Error::from_code(code, "topic t", None);
            assert_eq!(error.is_retriable(), code.is_retriable(), "{code:?}");
            match error.class() {
                ErrorClass::Abortable => assert!(error.is_abortable(), "{code:?}"),
                // The others of the group are the consumer's, which joins again by itself.
                ErrorClass::ApplicationRecoverable => {
                    let rejoins = matches!(code, ErrorCode::IllegalGeneration | ErrorCode::UnknownMemberId);
                    assert_eq!(error.is_fatal(), !rejoins, "{code:?}");
                }
                ErrorClass::InvalidConfiguration => {
                    assert!(matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Auth), "{code:?}");
                }
                _ => assert!(!error.is_fatal(), "{code:?}"),
            }
        }
    }

    #[test]
    fn credentials_are_fatal_and_permissions_are_not() {
        assert!(Error::from_code(ErrorCode::SaslAuthenticationFailed, "b", None).is_fatal());
        assert!(Error::from(ClientError::Security("b: unknown issuer".to_owned())).is_fatal());
        assert!(!Error::from_code(ErrorCode::TopicAuthorizationFailed, "topic t", None).is_fatal());
    }

    #[test]
    fn the_connections_error_is_the_source() {
        use std::error::Error as _;
        let error = Error::from(ClientError::Disconnected("gone".to_owned())).context("b:1");
        assert!(error.source().is_some_and(|source| source.to_string().contains("gone")));
        assert_eq!(error.java_class(), "org.apache.kafka.common.errors.DisconnectException");
        assert!(Error::invalid("x").source().is_none());
    }
}
