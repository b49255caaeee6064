//! Errors as they cross: what to do, Kafka's code, and a sentence. Every language makes its exceptions from this table.

use ottla::client::{ErrorCode, ErrorKind};
use serde::Serialize;
use std::fmt;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $variant:ident = $number:literal $name:literal;)*) => {
        /// What the caller does next. Numbers are part of the ABI; new ones are added at the end.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[doc = $doc])* $variant = $number,)*
        }

        impl Kind {
            /// All, in the order of their numbers.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant),*];

            /// The name that crosses.
            pub fn name(self) -> &'static str {
                match self {
                    $(Kind::$variant => $name,)*
                }
            }
        }
    };
}

kinds! {
    /// A bug in Ottla or in the broker; also what a binding makes of a number that it does not know.
    Internal = 0 "INTERNAL";
    /// Trying again later may help; the client's own retries are used up.
    Retriable = 1 "RETRIABLE";
    /// The transaction has to be aborted before going on.
    Abortable = 2 "ABORTABLE";
    /// Another instance has taken over; close this one.
    Fenced = 3 "FENCED";
    /// The call or a setting is wrong; trying again gives the same answer.
    Invalid = 4 "INVALID";
    /// The credentials or permissions do not suffice.
    Auth = 5 "AUTH";
    /// The time limit passed; the outcome of a write is unknown.
    Timeout = 6 "TIMEOUT";
    /// It was closed, or the call was ended by a close.
    Closed = 7 "CLOSED";
    /// `wakeup` was called.
    Wakeup = 8 "WAKEUP";
    /// Bytes from the broker or the log are not what they should be.
    Data = 9 "DATA";
    /// The caller took the call back.
    Cancelled = 10 "CANCELLED";
    /// The object was made in another process, before a fork.
    Forked = 11 "FORKED";
    /// The embedded broker could not start or close: a port, a directory, a disk.
    Broker = 12 "BROKER";
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What to do about it.
    pub kind: Kind,
    /// Kafka's error code where a broker sent one, else 0.
    pub code: i16,
    /// Whether the same call may succeed later.
    pub retriable: bool,
    /// Whether the client it came from is of no use any more.
    pub fatal: bool,
    /// A sentence that says what happened and, where it can be known, what to do.
    pub message: String,
    /// The exception that Apache Kafka's Java client would throw.
    pub java_class: &'static str,
}

/// An [`Error`] as it is written into a frame.
#[derive(Debug, Serialize)]
pub(crate) struct Wire {
    kind: i32,
    kind_name: &'static str,
    code: i16,
    name: &'static str,
    retriable: bool,
    fatal: bool,
    message: String,
    java_class: &'static str,
}

impl Error {
    /// An error of the bridge's own.
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        let java_class = match kind {
            Kind::Invalid => "java.lang.IllegalArgumentException",
            Kind::Closed => "java.lang.IllegalStateException",
            Kind::Timeout => "org.apache.kafka.common.errors.TimeoutException",
            Kind::Wakeup => "org.apache.kafka.common.errors.WakeupException",
            Kind::Cancelled => "org.apache.kafka.common.errors.InterruptException",
            _ => "org.apache.kafka.common.KafkaException",
        };
        let retriable = matches!(kind, Kind::Retriable | Kind::Timeout);
        let fatal = matches!(kind, Kind::Closed | Kind::Forked | Kind::Fenced);
        Error { kind, code: 0, retriable, fatal, message: message.into(), java_class }
    }

    /// The call's arguments are wrong.
    pub fn invalid(message: impl Into<String>) -> Error {
        Error::new(Kind::Invalid, message)
    }

    pub(crate) fn closed() -> Error {
        Error::new(Kind::Closed, "it was closed before this call, or there never was such a handle")
    }

    /// Kafka's name of the code, "NONE" without one.
    pub fn name(&self) -> &'static str {
        ErrorCode::from_code(self.code).name()
    }

    pub(crate) fn wire(&self) -> Wire {
        Wire {
            kind: self.kind as i32,
            kind_name: self.kind.name(),
            code: self.code,
            name: self.name(),
            retriable: self.retriable,
            fatal: self.fatal,
            message: self.message.clone(),
            java_class: self.java_class,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<ottla::client::Error> for Error {
    fn from(error: ottla::client::Error) -> Error {
        let kind = match error.kind() {
            ErrorKind::Retriable => Kind::Retriable,
            ErrorKind::Abortable => Kind::Abortable,
            ErrorKind::Fenced => Kind::Fenced,
            ErrorKind::Invalid => Kind::Invalid,
            ErrorKind::Auth => Kind::Auth,
            ErrorKind::Timeout => Kind::Timeout,
            ErrorKind::Closed => Kind::Closed,
            ErrorKind::Wakeup => Kind::Wakeup,
            ErrorKind::Data => Kind::Data,
            _ => Kind::Internal,
        };
        Error {
            kind,
            code: error.code().map_or(0, ErrorCode::code),
            retriable: error.is_retriable(),
            fatal: error.is_fatal(),
            message: error.message().to_owned(),
            java_class: error.java_class(),
        }
    }
}

impl From<ottla::Error> for Error {
    fn from(error: ottla::Error) -> Error {
        let kind = if matches!(error, ottla::Error::Config(_)) { Kind::Invalid } else { Kind::Broker };
        Error::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_their_places_in_the_table() {
        for (number, kind) in Kind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, number);
        }
    }

    #[test]
    fn a_clients_error_keeps_what_matters() {
        let error = ottla::client::Error::from_code(ErrorCode::TopicAlreadyExists, "topic t", None);
        let error = Error::from(error);
        assert_eq!((error.code, error.name(), error.retriable), (36, "TOPIC_ALREADY_EXISTS", false));
        assert_eq!(error.java_class, "org.apache.kafka.common.errors.TopicExistsException");
    }
}
