//! The embedded broker.

use crate::error::{Error, answer};
use crate::{Handle, call, given};
use serde_json::json;
use std::ffi::c_char;

/// How long a start may take; recovery of a large directory after a crash is the longest.
const START_MS: u64 = 600_000;

/// Starts a broker inside this process. Without a directory it keeps everything in memory; in one its files are Apache Kafka's.
/// It opens no port, clients of this process reach it by ottla_broker_bootstrap_servers(), unless the configs have listeners:
/// {"listeners", "PLAINTEXT://127.0.0.1:0", NULL}. Waits until it serves.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ottla_broker_start(
    configs: *const *const c_char,
    directory: *const c_char,
    broker: *mut Handle,
) -> *mut Error {
    answer(|| {
        // SAFETY: the caller gives a list that ends with NULL or NULL, text that ends with NUL or NULL.
        let (configs, directory) = unsafe {
            let directory = if directory.is_null() { None } else { Some(given::text(directory, "directory")?) };
            (given::configs(configs)?, directory)
        };
        let handle = call::open("broker.start", &json!({"configs": configs, "directory": directory}), START_MS)?;
        // SAFETY: the caller gives a place for a handle, or NULL.
        unsafe { given::put(broker, handle, "the broker") }.inspect_err(|_| drop(call::close(handle)))
    })
}

/// What its clients take as bootstrap.servers. Freed with ottla_text_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ottla_broker_bootstrap_servers(broker: Handle, servers: *mut *mut c_char) -> *mut Error {
    answer(|| {
        let described: serde_json::Value = serde_json::from_str(&call::json(broker, "describe", "{}", 1000)?)
            .map_err(|error| ottla_bridge::Error::invalid(error.to_string()))?;
        let address = described["bootstrap_servers"].as_str().unwrap_or_default().to_owned();
        // SAFETY: the caller gives a place for a pointer, or NULL.
        unsafe { given::put_text(servers, address) }
    })
}

/// Closes cleanly: connections end, logs are flushed. Waits up to `timeout_ms`. The handle is taken back.
#[unsafe(no_mangle)]
pub extern "C" fn ottla_broker_close(broker: Handle, timeout_ms: u64) -> *mut Error {
    answer(|| {
        let closed = call::done(broker, "close", &json!({"timeout_ms": timeout_ms}), timeout_ms);
        call::close(broker).and(closed)
    })
}
