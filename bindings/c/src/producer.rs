//! The producer: sends by the array, hears of deliveries by the array.

use crate::error::{Error, answer};
use crate::{Handle, call, given};
use ottla_bridge::{Event, Kind, ProducerRecord, Sent, frame, queue_of};
use serde_json::json;
use std::ffi::{CString, c_char};
use std::time::{Duration, Instant};

/// A header of a record.
#[repr(C)]
#[derive(Debug)]
pub struct Header {
    /// Its name.
    pub name: *const c_char,
    /// Its value, NULL for none.
    pub value: *const u8,
    /// The value's length.
    pub value_length: usize,
}

/// A record to send. Zero what you do not need, then set `partition` and `timestamp`: 0 is a value of both.
#[repr(C)]
#[derive(Debug)]
pub struct Record {
    /// The topic.
    pub topic: *const c_char,
    /// The partition, -1 for the one that the key's hash or the sticky partitioner says.
    pub partition: i32,
    /// ms since 1970, -1 for now.
    pub timestamp: i64,
    /// The key, NULL for none.
    pub key: *const u8,
    /// The key's length.
    pub key_length: usize,
    /// The value, NULL for none (a tombstone in a compacted topic).
    pub value: *const u8,
    /// The value's length.
    pub value_length: usize,
    /// The headers, NULL for none.
    pub headers: *const Header,
    /// How many headers.
    pub header_count: usize,
}

/// What became of a record.
#[repr(C)]
#[derive(Debug)]
pub struct Delivery {
    /// The number that it was sent with.
    pub number: u64,
    /// Its offset; -1 when the broker did not say (acks=0) or `error` is set.
    pub offset: i64,
    /// Its timestamp in the log, ms since 1970.
    pub timestamp: i64,
    /// Its topic.
    pub topic: *const c_char,
    /// Its partition; -1 when it never had one.
    pub partition: i32,
    /// Why it was given up, NULL when it was written. Lives as long as the deliveries.
    pub error: *const Error,
}

/// Deliveries that came together.
#[derive(Debug)]
pub struct Deliveries {
    all: Vec<Delivery>,
    // What `all` points to, in boxes that stay where they are.
    _topics: Vec<CString>,
    #[allow(clippy::vec_box)]
    _errors: Vec<Box<Error>>,
}

/// Opens a producer. Nothing is dialled yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ottla_producer_open(configs: *const *const c_char, producer: *mut Handle) -> *mut Error {
    // SAFETY: the caller gives what the header says.
    answer(|| unsafe { call_open("producer.open", configs, producer) })
}

/// # Safety
/// As the header says of the functions that call it.
pub(crate) unsafe fn call_open(
    method: &str,
    configs: *const *const c_char,
    client: *mut Handle,
) -> Result<(), ottla_bridge::Error> {
    // SAFETY: as of this function.
    let configs = unsafe { given::configs(configs) }?;
    let handle = call::open(method, &json!({"configs": configs}), 30_000)?;
    // SAFETY: as of this function.
    unsafe { given::put(client, handle, "the client") }.inspect_err(|_| drop(call::close(handle)))
}

/// Sends records; they are numbered `first_number`, `first_number` + 1, … for ottla_producer_poll(). They are copied, and may be freed
/// when this returns. Returns at once, unless buffer.memory is full: then it waits up to `timeout_ms` and returns TIMEOUT, when none
/// of them is sent. Records that nobody asks for with ottla_producer_poll() are kept, and about a million of them are as a full
/// buffer.memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ottla_producer_send(
    producer: Handle,
    records: *const Record,
    count: usize,
    first_number: u64,
    timeout_ms: u64,
) -> *mut Error {
    answer(|| {
        // SAFETY: the caller gives `count` records.
        let records = unsafe { given::list(records, count, "records") }?;
        let mut packed = Vec::with_capacity(64 * count);
        let mut headers = Vec::new();
        for record in records {
            // SAFETY: what a record points to stays during the call.
            unsafe { pack(record, &mut headers, &mut packed) }?;
        }
        let begun = Instant::now();
        let queue = queue_of(ottla_bridge::Handle(producer))?;
        while ottla_bridge::send(ottla_bridge::Handle(producer), &packed, first_number)? == Sent::Full {
            let left = Duration::from_millis(timeout_ms).saturating_sub(begun.elapsed());
            if left.is_zero() {
                let text = format!("buffer.memory was full for {timeout_ms} ms, or deliveries were not fetched");
                return Err(ottla_bridge::Error::new(Kind::Timeout, text));
            }
            queue.wait_for_room(ottla_bridge::Handle(producer), left);
        }
        Ok(())
    })
}

/// # Safety
/// What the record points to is as the header says.
unsafe fn pack<'a>(
    record: &'a Record,
    headers: &mut Vec<(&'a str, Option<&'a [u8]>)>,
    packed: &mut Vec<u8>,
) -> Result<(), ottla_bridge::Error> {
    headers.clear();
    // SAFETY: as of this function, for all of these.
    unsafe {
        for header in given::list(record.headers, record.header_count, "headers")? {
            headers
                .push((given::text(header.name, "a header's name")?, given::bytes(header.value, header.value_length)));
        }
        let record = ProducerRecord {
            topic: given::text(record.topic, "a record's topic")?,
            partition: (record.partition != -1).then_some(record.partition),
            timestamp: (record.timestamp != -1).then_some(record.timestamp),
            key: given::bytes(record.key, record.key_length),
            value: given::bytes(record.value, record.value_length),
            headers,
        };
        frame::write_produced(packed, &record)
    }
}

/// What became of records that were sent, waiting up to `timeout_ms` for some. `deliveries` is NULL when there are none yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ottla_producer_poll(
    producer: Handle,
    timeout_ms: u64,
    deliveries: *mut *mut Deliveries,
) -> *mut Error {
    answer(|| {
        let queue = queue_of(ottla_bridge::Handle(producer))?;
        let events = queue.wait(1024, Duration::from_millis(timeout_ms));
        let mut found = Deliveries { all: Vec::new(), _topics: Vec::new(), _errors: Vec::new() };
        for event in events {
            let Event::Delivered { records, .. } = event else { continue };
            let topic = CString::new(&*records.topic).unwrap_or_default();
            let topic_at = topic.as_ptr();
            found._topics.push(topic);
            let (base, error) = match records.result {
                Ok(base) => (base, std::ptr::null()),
                Err(error) => {
                    let error = Box::new(Error::new(error.into()));
                    let at: *const Error = &raw const *error;
                    found._errors.push(error);
                    (-1, at)
                }
            };
            found.all.extend(records.records.iter().enumerate().map(|(index, (number, timestamp))| Delivery {
                number: *number,
                offset: if base < 0 { -1 } else { base + index as i64 },
                timestamp: *timestamp,
                topic: topic_at,
                partition: records.partition,
                error,
            }));
        }
        let found = if found.all.is_empty() { std::ptr::null_mut() } else { Box::into_raw(Box::new(found)) };
        // SAFETY: the caller gives a place for a pointer, or NULL.
        let put = unsafe { given::put(deliveries, found, "the deliveries") };
        if put.is_err() {
            // SAFETY: nobody else has it.
            unsafe { ottla_deliveries_free(found) };
        }
        put
    })
}

/// How many.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ottla_deliveries_count(deliveries: *const Deliveries) -> usize {
    // SAFETY: NULL or deliveries that were handed out and not freed.
    unsafe { deliveries.as_ref() }.map_or(0, |deliveries| deliveries.all.len())
}

/// One of them; NULL behind the last. Lives as long as the deliveries.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ottla_deliveries_get(deliveries: *const Deliveries, index: usize) -> *const Delivery {
    // SAFETY: as above.
    let found = unsafe { deliveries.as_ref() }.and_then(|deliveries| deliveries.all.get(index));
    found.map_or(std::ptr::null(), |found| &raw const *found)
}

/// Frees deliveries.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ottla_deliveries_free(deliveries: *mut Deliveries) {
    if !deliveries.is_null() {
        // SAFETY: they came from `Box::into_raw` above, and are freed once.
        drop(unsafe { Box::from_raw(deliveries) });
    }
}

/// Waits until all that was sent before is delivered or given up.
#[unsafe(no_mangle)]
pub extern "C" fn ottla_producer_flush(producer: Handle, timeout_ms: u64) -> *mut Error {
    answer(|| call::done(producer, "flush", &json!({}), timeout_ms))
}

/// Finishes what another instance of the same transactional.id left open, and fences it. Once, before the first transaction.
#[unsafe(no_mangle)]
pub extern "C" fn ottla_producer_init_transactions(producer: Handle, timeout_ms: u64) -> *mut Error {
    answer(|| call::done(producer, "init_transactions", &json!({}), timeout_ms))
}

/// Begins a transaction.
#[unsafe(no_mangle)]
pub extern "C" fn ottla_producer_begin_transaction(producer: Handle) -> *mut Error {
    answer(|| call::done(producer, "begin_transaction", &json!({}), 1000))
}

/// Commits the transaction, after it has sent what is left of it.
#[unsafe(no_mangle)]
pub extern "C" fn ottla_producer_commit_transaction(producer: Handle, timeout_ms: u64) -> *mut Error {
    answer(|| call::done(producer, "commit_transaction", &json!({}), timeout_ms))
}

/// Aborts the transaction.
#[unsafe(no_mangle)]
pub extern "C" fn ottla_producer_abort_transaction(producer: Handle, timeout_ms: u64) -> *mut Error {
    answer(|| call::done(producer, "abort_transaction", &json!({}), timeout_ms))
}

/// Delivers what was sent, waiting up to `timeout_ms`, and ends. What is left after that has failed, and is told of as long as the
/// handle is not closed: ottla_producer_poll(), then ottla_close().
#[unsafe(no_mangle)]
pub extern "C" fn ottla_producer_close(producer: Handle, timeout_ms: u64) -> *mut Error {
    answer(|| call::done(producer, "close", &json!({"timeout_ms": timeout_ms}), timeout_ms))
}
