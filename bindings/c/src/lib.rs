//! The C interface: unpacks pointers, calls the bridge, packs what comes back. `include/ottla.h` is made from this file by
//! `cargo xtask gen`.
//!
//! Every pointer that C gives is looked at here and nowhere else; behind this crate all is safe Rust.

// Written for the readers of the header, who have no use for Rust's sections; the rules are at its head.
#![allow(clippy::missing_safety_doc)]
// The clock of waiting hosts, outside of the engine, which has its own door to it.
#![allow(clippy::disallowed_methods)]

mod admin;
mod broker;
mod call;
mod consumer;
mod error;
mod given;
mod producer;

pub use error::Error;

use error::answer;
use std::ffi::c_char;

/// A broker, producer, consumer or admin client.
#[allow(non_camel_case_types)]
pub type Handle = u64;

/// A number that changes when a program would have to be compiled anew for this library.
#[unsafe(no_mangle)]
pub extern "C" fn ottla_abi() -> u32 {
    ottla_bridge::abi()
}

/// The library's version, "0.1.0". Never freed.
#[unsafe(no_mangle)]
pub extern "C" fn ottla_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// Lets go of a broker or client at once. Records of a producer that are not yet acknowledged fail, a consumer leaves its group
/// without a commit, a broker ends as in a crash: for a good end call the _close function of its kind before, after which this
/// only takes the handle back. Closing what is closed is no error.
#[unsafe(no_mangle)]
pub extern "C" fn ottla_close(handle: Handle) -> *mut Error {
    answer(|| call::close(handle))
}

/// Any method of the bridge, for what has no function of its own here: `arguments` is a JSON object or NULL, the answer, when it
/// has one, is JSON that is freed with ottla_text_free(). Waits up to `timeout_ms`.
///
///     ottla_call_json(admin, "describe_consumer_groups", "{\"groups\": [\"g\"]}", 30000, &json);
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ottla_call_json(
    handle: Handle,
    method: *const c_char,
    arguments: *const c_char,
    timeout_ms: u64,
    answer_json: *mut *mut c_char,
) -> *mut Error {
    answer(|| {
        // SAFETY: the caller gives text that ends with NUL, and NULL or a place for a pointer.
        let (method, arguments) = unsafe { (given::text(method, "method")?, given::text_or(arguments, "{}")?) };
        let json = call::json(handle, method, arguments, timeout_ms)?;
        // SAFETY: as above.
        unsafe { given::put_text(answer_json, json) }
    })
}

/// Frees text that a function here handed out.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ottla_text_free(text: *mut c_char) {
    if !text.is_null() {
        // SAFETY: it came from `CString::into_raw` in `given::put_text`, and is freed once.
        drop(unsafe { std::ffi::CString::from_raw(text) });
    }
}
