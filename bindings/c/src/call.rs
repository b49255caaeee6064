//! Calls that block their thread until they end.

use ottla_bridge::{Answer, Error, Handle, Kind, Waited, call_and_wait, queue_of};
use serde_json::Value;
use std::time::{Duration, Instant};

/// What a call is given beyond its own limit, so that it can say itself what took so long.
const GRACE: Duration = Duration::from_millis(500);

/// Runs a method; after `timeout_ms` it is taken back.
pub(crate) fn wait(handle: u64, method: &str, arguments: &Value, timeout_ms: u64) -> Result<Answer, Error> {
    let arguments = packed(arguments)?;
    let mut call = call_and_wait(Handle(handle), method, &arguments)?;
    let limit = Duration::from_millis(timeout_ms);
    let begun = Instant::now();
    loop {
        let left = limit.saturating_add(GRACE).saturating_sub(begun.elapsed());
        match call.wait(left) {
            Waited::Ended(result) => return result,
            Waited::NotYet if begun.elapsed() < limit => {}
            Waited::NotYet => {
                return Err(Error::new(Kind::Timeout, format!("{method} did not end within {timeout_ms} ms")));
            }
            // Nothing here has a listener, which would ask.
            Waited::Asked => {
                return Err(Error::invalid(format!("{method}: a rebalance listener needs another interface")));
            }
        }
    }
}

/// Runs a method that has nothing to say but that it is done.
pub(crate) fn done(handle: u64, method: &str, arguments: &Value, timeout_ms: u64) -> Result<(), Error> {
    wait(handle, method, arguments, timeout_ms).map(drop)
}

/// Opens something on a queue of its own.
pub(crate) fn open(method: &str, arguments: &Value, timeout_ms: u64) -> Result<u64, Error> {
    let queue = ottla_bridge::open_queue()?;
    let opened = match wait(queue.0, method, arguments, timeout_ms) {
        Ok(Answer::Handle(handle)) => return Ok(handle.0),
        Ok(other) => Err(Error::new(Kind::Internal, format!("{method} opened {other:?}"))),
        Err(error) => Err(error),
    };
    ottla_bridge::close(queue)?;
    opened
}

/// Closes an object with its queue.
pub(crate) fn close(handle: u64) -> Result<(), Error> {
    match queue_of(Handle(handle)) {
        Ok(queue) => {
            ottla_bridge::close(Handle(handle))?;
            ottla_bridge::close(queue.handle())
        }
        Err(error) if error.kind == Kind::Closed => Ok(()),
        Err(error) => Err(error),
    }
}

/// Runs a method with JSON on both sides.
pub(crate) fn json(handle: u64, method: &str, arguments: &str, timeout_ms: u64) -> Result<String, Error> {
    let arguments: Value = serde_json::from_str(arguments)
        .map_err(|error| Error::invalid(format!("the arguments are not JSON: {error}")))?;
    match wait(handle, method, &arguments, timeout_ms)? {
        Answer::Done => Ok("null".to_owned()),
        Answer::Value(value) => Ok(unpacked::<Value>(&value)?.to_string()),
        Answer::Handle(handle) => Ok(handle.0.to_string()),
        Answer::Records(_) => Err(Error::invalid("records are not JSON: use ottla_consumer_poll()")),
    }
}

fn packed(arguments: &Value) -> Result<Vec<u8>, Error> {
    rmp_serde::to_vec_named(arguments).map_err(|error| Error::invalid(format!("the arguments: {error}")))
}

pub(crate) fn unpacked<T: serde::de::DeserializeOwned>(value: &[u8]) -> Result<T, Error> {
    rmp_serde::from_slice(value).map_err(|error| Error::new(Kind::Internal, format!("the answer: {error}")))
}
