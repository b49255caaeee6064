//! The consumer: polls by the batch.

use crate::error::{Error, answer};
use crate::producer::call_open;
use crate::{Handle, call, given};
use ottla_bridge::{Answer, Error as BridgeError, Kind, frame};
use serde_json::{Value, json};
use std::ffi::{CString, c_char};

/// A partition, and an offset where there is one.
#[repr(C)]
#[derive(Debug)]
pub struct Partition {
    /// The topic.
    pub topic: *const c_char,
    /// The partition.
    pub partition: i32,
    /// An offset, where the function says what it is.
    pub offset: i64,
}

/// A record that was read. What it points to lives as long as the records it is of.
#[repr(C)]
#[derive(Debug)]
pub struct Received {
    /// Its topic.
    pub topic: *const c_char,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// ms since 1970; -1 for none.
    pub timestamp: i64,
    /// 0: the producer's timestamp; 1: the broker's, of the append.
    pub timestamp_type: i32,
    /// The leader's epoch, -1 when it is not known.
    pub leader_epoch: i32,
    /// The key, NULL for none.
    pub key: *const u8,
    /// The key's length.
    pub key_length: usize,
    /// The value, NULL for none.
    pub value: *const u8,
    /// The value's length.
    pub value_length: usize,
    /// How many headers it has: ottla_records_header().
    pub header_count: usize,
}

/// What a poll returned.
#[derive(Debug)]
pub struct Records {
    frame: frame::Received,
    topics: Vec<CString>,
}

/// Opens a consumer. Nothing is dialled yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ottla_consumer_open(configs: *const *const c_char, consumer: *mut Handle) -> *mut Error {
    // SAFETY: the caller gives what the header says.
    answer(|| unsafe { call_open("consumer.open", configs, consumer) })
}

/// Reads these topics as a member of the group (group.id), instead of those before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ottla_consumer_subscribe(
    consumer: Handle,
    topics: *const *const c_char,
    count: usize,
) -> *mut Error {
    answer(|| {
        // SAFETY: the caller gives `count` texts that end with NUL.
        let topics = unsafe {
            let topics = given::list(topics, count, "topics")?;
            topics.iter().map(|topic| given::text(*topic, "a topic")).collect::<Result<Vec<_>, _>>()?
        };
        call::done(consumer, "subscribe", &json!({"topics": topics}), 1000)
    })
}

/// Reads all topics whose whole name matches the regular expression.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ottla_consumer_subscribe_pattern(consumer: Handle, pattern: *const c_char) -> *mut Error {
    answer(|| {
        // SAFETY: the caller gives text that ends with NUL.
        let pattern = unsafe { given::text(pattern, "pattern") }?;
        call::done(consumer, "subscribe", &json!({"pattern": pattern}), 1000)
    })
}

/// Reads these partitions, and no others from now on: each from `offset`, -2 for the first there is, -1 for the end, -3 for what the
/// group has committed or auto.offset.reset says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ottla_consumer_assign(
    consumer: Handle,
    partitions: *const Partition,
    count: usize,
) -> *mut Error {
    answer(|| {
        // SAFETY: the caller gives `count` partitions.
        let partitions = unsafe { given::list(partitions, count, "partitions") }?;
        let mut all = Vec::new();
        let (mut first, mut last, mut at) = (Vec::new(), Vec::new(), Vec::new());
        for partition in partitions {
            // SAFETY: a topic is text that ends with NUL.
            let topic = unsafe { given::text(partition.topic, "a topic") }?;
            let of = json!({"topic": topic, "partition": partition.partition});
            match partition.offset {
                -3 => {}
                -2 => first.push(of.clone()),
                -1 => last.push(of.clone()),
                0.. => at.push(json!({"topic": topic, "partition": partition.partition, "offset": partition.offset})),
                other => return Err(BridgeError::invalid(format!("offset {other}; expected -3, -2, -1 or more"))),
            }
            all.push(of);
        }
        call::done(consumer, "assign", &json!({"partitions": all}), 1000)?;
        for (method, some) in [("seek_to_beginning", first), ("seek_to_end", last)] {
            if !some.is_empty() {
                call::done(consumer, method, &json!({"partitions": some}), 1000)?;
            }
        }
        at.into_iter().try_for_each(|offset| call::done(consumer, "seek", &json!({"offset": offset}), 1000))
    })
}

/// Goes on from this offset of a partition that is assigned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ottla_consumer_seek(consumer: Handle, partition: *const Partition) -> *mut Error {
    answer(|| {
        // SAFETY: the caller gives a partition.
        let offset = unsafe { offset_of(partition) }?;
        call::done(consumer, "seek", &json!({"offset": offset}), 1000)
    })
}

/// # Safety
/// It points to a partition, or is NULL.
unsafe fn offset_of(partition: *const Partition) -> Result<Value, BridgeError> {
    // SAFETY: as of this function.
    let partition = unsafe { partition.as_ref() }.ok_or_else(|| BridgeError::invalid("the partition is NULL"))?;
    // SAFETY: as of this function.
    let topic = unsafe { given::text(partition.topic, "a topic") }?;
    Ok(json!({"topic": topic, "partition": partition.partition, "offset": partition.offset}))
}

/// The next records, at most max.poll.records, waiting up to `timeout_ms` for some; `records` is NULL when none came. A member of a group
/// has to poll at least every max.poll.interval.ms.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ottla_consumer_poll(
    consumer: Handle,
    timeout_ms: u64,
    records: *mut *mut Records,
) -> *mut Error {
    answer(|| {
        let Answer::Records(frame) = call::wait(consumer, "poll", &json!({"timeout_ms": timeout_ms}), timeout_ms)?
        else {
            return Err(BridgeError::new(Kind::Internal, "a poll that did not return records"));
        };
        let frame = frame::Received::read(frame)?;
        let found = if frame.is_empty() {
            std::ptr::null_mut()
        } else {
            let topics = frame.topics().map(|topic| CString::new(topic).unwrap_or_default()).collect();
            Box::into_raw(Box::new(Records { frame, topics }))
        };
        // SAFETY: the caller gives a place for a pointer, or NULL.
        let put = unsafe { given::put(records, found, "the records") };
        if put.is_err() {
            // SAFETY: nobody else has it.
            unsafe { ottla_records_free(found) };
        }
        put
    })
}

/// How many.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ottla_records_count(records: *const Records) -> usize {
    // SAFETY: NULL or records that were handed out and not freed.
    unsafe { records.as_ref() }.map_or(0, |records| records.frame.len())
}

/// Writes the record of this index into `record`; false behind the last.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ottla_records_get(records: *const Records, index: usize, record: *mut Received) -> bool {
    // SAFETY: as above.
    let Some(records) = (unsafe { records.as_ref() }) else { return false };
    let Some(found) = records.frame.get(index) else { return false };
    let start = |part: Option<&[u8]>| part.map_or(std::ptr::null(), <[u8]>::as_ptr);
    let received = Received {
        topic: records.topics.get(found.topic).map_or(std::ptr::null(), |topic| topic.as_ptr()),
        partition: found.partition,
        offset: found.offset,
        timestamp: found.timestamp,
        timestamp_type: found.timestamp_type,
        leader_epoch: found.leader_epoch,
        key: start(found.key),
        key_length: found.key.map_or(0, <[u8]>::len),
        value: start(found.value),
        value_length: found.value.map_or(0, <[u8]>::len),
        header_count: found.header_count,
    };
    // SAFETY: the caller gives a place for a record, or NULL.
    unsafe { given::put(record, received, "the record") }.is_ok()
}

/// A header of a record: its name, which does not end with NUL, and its value; false behind the last. They live as long as the records.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ottla_records_header(
    records: *const Records,
    index: usize,
    header: usize,
    name: *mut *const c_char,
    name_length: *mut usize,
    value: *mut *const u8,
    value_length: *mut usize,
) -> bool {
    // SAFETY: as above.
    let Some(records) = (unsafe { records.as_ref() }) else { return false };
    let Some((key, found)) = records.frame.header(index, header) else { return false };
    // SAFETY: the caller gives places for all four.
    unsafe {
        given::put(name, key.as_ptr().cast(), "the name").is_ok()
            && given::put(name_length, key.len(), "its length").is_ok()
            && given::put(value, found.map_or(std::ptr::null(), <[u8]>::as_ptr), "the value").is_ok()
            && given::put(value_length, found.map_or(0, <[u8]>::len), "its length").is_ok()
    }
}

/// Frees records.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ottla_records_free(records: *mut Records) {
    if !records.is_null() {
        // SAFETY: they came from `Box::into_raw` in the poll, and are freed once.
        drop(unsafe { Box::from_raw(records) });
    }
}

/// Commits offsets for the group: `offset` of each is that of the next record to read. Without any, all that was polled.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ottla_consumer_commit(
    consumer: Handle,
    offsets: *const Partition,
    count: usize,
    timeout_ms: u64,
) -> *mut Error {
    answer(|| {
        // SAFETY: the caller gives `count` of them.
        let offsets = unsafe {
            let offsets = given::list(offsets, count, "offsets")?;
            offsets.iter().map(|offset| offset_of(offset)).collect::<Result<Vec<_>, _>>()?
        };
        let arguments = if offsets.is_empty() { json!({}) } else { json!({"offsets": offsets}) };
        call::done(consumer, "commit", &arguments, timeout_ms)
    })
}

/// The offset of the next record of a partition that is assigned, into its `offset`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ottla_consumer_position(
    consumer: Handle,
    partition: *mut Partition,
    timeout_ms: u64,
) -> *mut Error {
    answer(|| {
        // SAFETY: the caller gives a partition, or NULL.
        let mut of = unsafe { offset_of(partition) }?;
        if let Some(of) = of.as_object_mut() {
            of.remove("offset");
        }
        let Answer::Value(position) = call::wait(consumer, "position", &of, timeout_ms)? else {
            return Err(BridgeError::new(Kind::Internal, "a position that is no value"));
        };
        let position = call::unpacked(&position)?;
        // SAFETY: it is not NULL, or `offset_of` had said so.
        unsafe { (*partition).offset = position };
        Ok(())
    })
}

/// Ends the poll that waits, or the next one, with WAKEUP. From any thread.
#[unsafe(no_mangle)]
pub extern "C" fn ottla_consumer_wakeup(consumer: Handle) -> *mut Error {
    answer(|| call::done(consumer, "wakeup", &json!({}), 1000))
}

/// Commits if enable.auto.commit says so, leaves the group, and ends. The handle is taken back.
#[unsafe(no_mangle)]
pub extern "C" fn ottla_consumer_close(consumer: Handle, timeout_ms: u64) -> *mut Error {
    answer(|| {
        let closed = call::done(consumer, "close", &json!({"timeout_ms": timeout_ms}), timeout_ms);
        call::close(consumer).and(closed)
    })
}
