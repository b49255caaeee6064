//! The admin client: topics by functions of their own, everything else by `ottla_call_json`.

use crate::error::{Error, answer};
use crate::producer::call_open;
use crate::{Handle, call, given};
use ottla_bridge::{Error as BridgeError, Kind};
use serde_json::{Value, json};
use std::ffi::c_char;

/// Opens an admin client. Nothing is dialled yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ottla_admin_open(configs: *const *const c_char, admin: *mut Handle) -> *mut Error {
    // SAFETY: the caller gives what the header says.
    answer(|| unsafe { call_open("admin.open", configs, admin) })
}

/// Creates a topic. -1 takes the broker's default number of partitions or replicas.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ottla_admin_create_topic(
    admin: Handle,
    name: *const c_char,
    partitions: i32,
    replication_factor: i16,
    configs: *const *const c_char,
    timeout_ms: u64,
) -> *mut Error {
    answer(|| {
        // SAFETY: the caller gives text that ends with NUL, and a list that ends with NULL or NULL.
        let (name, configs) = unsafe { (given::text(name, "name")?, given::configs(configs)?) };
        let topic = json!({
            "name": name,
            "partitions": (partitions != -1).then_some(partitions),
            "replication_factor": (replication_factor != -1).then_some(replication_factor),
            "configs": configs,
        });
        single(admin, "create_topics", &json!({"topics": [topic], "timeout_ms": timeout_ms}), timeout_ms)
    })
}

/// Deletes a topic.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ottla_admin_delete_topic(admin: Handle, name: *const c_char, timeout_ms: u64) -> *mut Error {
    answer(|| {
        // SAFETY: the caller gives text that ends with NUL.
        let name = unsafe { given::text(name, "name") }?;
        single(admin, "delete_topics", &json!({"names": [name], "timeout_ms": timeout_ms}), timeout_ms)
    })
}

/// Gives a topic more partitions; `count` is how many it has afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ottla_admin_create_partitions(
    admin: Handle,
    topic: *const c_char,
    count: i32,
    timeout_ms: u64,
) -> *mut Error {
    answer(|| {
        // SAFETY: the caller gives text that ends with NUL.
        let topic = unsafe { given::text(topic, "topic") }?;
        let arguments = json!({"topic": topic, "count": count, "timeout_ms": timeout_ms});
        single(admin, "create_partitions", &arguments, timeout_ms)
    })
}

/// A method with one result in its list: its error is the call's.
fn single(admin: Handle, method: &str, arguments: &Value, timeout_ms: u64) -> Result<(), BridgeError> {
    let answer = call::json(admin, method, &arguments.to_string(), timeout_ms)?;
    let results: Vec<Value> = serde_json::from_str(&answer).unwrap_or_default();
    let error = &results.first().unwrap_or(&Value::Null)["error"];
    if error.is_null() {
        return Ok(());
    }
    let number = |field: &str| error[field].as_i64().unwrap_or_default();
    let kind = usize::try_from(number("kind")).ok().and_then(|kind| Kind::ALL.get(kind)).copied();
    Err(BridgeError {
        code: i16::try_from(number("code")).unwrap_or(-1),
        retriable: error["retriable"].as_bool().unwrap_or_default(),
        fatal: error["fatal"].as_bool().unwrap_or_default(),
        ..BridgeError::new(kind.unwrap_or(Kind::Internal), error["message"].as_str().unwrap_or_default())
    })
}
