//! What can go wrong, told by what the caller should do next.

use ottla_model::ErrorCode;
use ottla_wire::ClientError;
use std::fmt;

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
}

impl Error {
    /// An error of this kind, for an assignor, a listener or a test of one's own. Retriable where the kind says so.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        let retriable = matches!(kind, ErrorKind::Retriable | ErrorKind::Timeout);
        Error { kind, code: None, retriable, message: message.into() }
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
        Error { kind: kind_of(code), code: Some(code), retriable: code.is_retriable(), message }
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

impl std::error::Error for Error {}

impl From<ClientError> for Error {
    fn from(error: ClientError) -> Error {
        let kind = match &error {
            ClientError::Authentication { code, .. } => {
                let error = Error::new(ErrorKind::Auth, error.to_string());
                return Error { code: Some(*code), ..error };
            }
            ClientError::Security(_) => ErrorKind::Auth,
            ClientError::Connect { .. } | ClientError::Resolve { .. } | ClientError::Disconnected(_) => {
                ErrorKind::Retriable
            }
            ClientError::Timeout { .. } => ErrorKind::Timeout,
            ClientError::Decode(_) => ErrorKind::Data,
            ClientError::Encode(_) => ErrorKind::Invalid,
            _ => ErrorKind::Internal,
        };
        Error::new(kind, error.to_string())
    }
}

fn kind_of(code: ErrorCode) -> ErrorKind {
    match code {
        ErrorCode::ProducerFenced | ErrorCode::InvalidProducerEpoch | ErrorCode::FencedInstanceId => ErrorKind::Fenced,
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
