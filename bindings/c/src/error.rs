//! Errors as C looks at them.

use std::ffi::{CString, c_char};

/// Why a call failed.
#[derive(Debug)]
pub struct Error {
    error: ottla_bridge::Error,
    message: CString,
    name: CString,
}

/// Runs a function's body; its error becomes one of C's.
pub(crate) fn answer(body: impl FnOnce() -> Result<(), ottla_bridge::Error>) -> *mut Error {
    match ottla_bridge::guard(body) {
        Ok(()) => std::ptr::null_mut(),
        Err(error) => Box::into_raw(Box::new(Error::new(error))),
    }
}

impl Error {
    pub(crate) fn new(error: ottla_bridge::Error) -> Error {
        let text = |text: &str| CString::new(text.replace('\0', " ")).unwrap_or_default();
        Error { message: text(&error.message), name: text(error.name()), error }
    }
}

/// What the caller does next; see ottla_error_kind().
#[repr(i32)]
#[allow(dead_code)] // The header has it.
#[derive(Debug)]
pub enum Kind {
    /// A bug in Ottla or in the broker.
    Internal = 0,
    /// Trying again later may help.
    Retriable = 1,
    /// The transaction has to be aborted before going on.
    Abortable = 2,
    /// Another instance has taken over; close this one.
    Fenced = 3,
    /// The call or a setting is wrong; trying again gives the same answer.
    Invalid = 4,
    /// The credentials or permissions do not suffice.
    Auth = 5,
    /// The time limit passed; the outcome of a write is unknown.
    Timeout = 6,
    /// It was closed, or never was.
    Closed = 7,
    /// ottla_consumer_wakeup() was called.
    Wakeup = 8,
    /// Bytes from the broker or the log are not what they should be.
    Data = 9,
    /// The call was taken back.
    Cancelled = 10,
    /// It was made in another process, before a fork().
    Forked = 11,
    /// The embedded broker could not start or close: a port, a directory, a disk.
    Broker = 12,
}

/// One of enum ottla_kind; one that the program does not know is to be taken for OTTLA_KIND_INTERNAL. 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ottla_error_kind(error: *const Error) -> i32 {
    // SAFETY: NULL or an error that was handed out and not freed.
    unsafe { error.as_ref() }.map_or(0, |error| error.error.kind as i32)
}

/// Apache Kafka's error code where a broker sent one, else 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ottla_error_code(error: *const Error) -> i16 {
    // SAFETY: as above.
    unsafe { error.as_ref() }.map_or(0, |error| error.error.code)
}

/// Apache Kafka's name of the code, "NONE" without one. Lives as long as the error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ottla_error_name(error: *const Error) -> *const c_char {
    // SAFETY: as above.
    unsafe { error.as_ref() }.map_or(c"NONE".as_ptr(), |error| error.name.as_ptr())
}

/// A sentence that says what happened and, where it can be known, what to do. Lives as long as the error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ottla_error_message(error: *const Error) -> *const c_char {
    // SAFETY: as above.
    unsafe { error.as_ref() }.map_or(c"".as_ptr(), |error| error.message.as_ptr())
}

/// Whether the same call may succeed later.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ottla_error_is_retriable(error: *const Error) -> bool {
    // SAFETY: as above.
    unsafe { error.as_ref() }.is_some_and(|error| error.error.retriable)
}

/// Whether the client it came from is of no use any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ottla_error_is_fatal(error: *const Error) -> bool {
    // SAFETY: as above.
    unsafe { error.as_ref() }.is_some_and(|error| error.error.fatal)
}

/// Frees an error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ottla_error_free(error: *mut Error) {
    if !error.is_null() {
        // SAFETY: it came from `Box::into_raw` in `answer` or a delivery's, and is freed once.
        drop(unsafe { Box::from_raw(error) });
    }
}
