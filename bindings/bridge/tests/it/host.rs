//! A host: numbers its calls, fetches events and keeps those that it was not looking for.

use ottla::client::ProducerRecord;
use ottla_bridge::{Answer, Error, Event, Handle, Queue, Sent, frame};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Only a hang reaches it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Arguments and answers whose form a test knows.
pub type Map = BTreeMap<String, serde_json::Value>;

pub struct Host {
    pub on: Handle,
    pub queue: Arc<Queue>,
    kept: VecDeque<Event>,
    last: u64,
}

impl Host {
    pub fn new() -> Host {
        let on = ottla_bridge::open_queue().expect("a queue");
        Host { on, queue: ottla_bridge::queue(on).expect("open"), kept: VecDeque::new(), last: 0 }
    }

    /// Begins a call.
    pub fn begin(&mut self, of: Handle, method: &str, arguments: impl Serialize) -> Result<u64, Error> {
        self.last += 1;
        let arguments = rmp_serde::to_vec_named(&arguments).expect("plain values");
        ottla_bridge::call(of, self.last, method, &arguments)?;
        Ok(self.last)
    }

    /// The next event that `wanted` takes; others are kept in order.
    pub fn next<T>(&mut self, mut wanted: impl FnMut(&mut Event) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        let mut looked_at = 0;
        loop {
            while let Some(event) = self.kept.get_mut(looked_at) {
                if let Some(found) = wanted(event) {
                    self.kept.remove(looked_at);
                    return found;
                }
                looked_at += 1;
            }
            assert!(Instant::now() < end, "nothing came; kept: {:?}", self.kept);
            self.kept.extend(self.queue.wait(64, Duration::from_millis(200)));
        }
    }

    pub fn end(&mut self, call: u64) -> Result<Answer, Error> {
        self.next(|event| match event {
            Event::Completed { ticket, result } if *ticket == call => Some(result.clone()),
            _ => None,
        })
    }

    pub fn call(&mut self, of: Handle, method: &str, arguments: impl Serialize) -> Result<Answer, Error> {
        let call = self.begin(of, method, arguments)?;
        self.end(call)
    }

    pub fn done(&mut self, of: Handle, method: &str, arguments: impl Serialize) {
        let answer = self.call(of, method, arguments);
        assert_eq!(answer.unwrap_or_else(|error| panic!("{method}: {error}")), Answer::Done, "{method}");
    }

    pub fn open(&mut self, of: Handle, method: &str, arguments: impl Serialize) -> Handle {
        match self.call(of, method, arguments).unwrap_or_else(|error| panic!("{method}: {error}")) {
            Answer::Handle(handle) => handle,
            other => panic!("{method}: {other:?}"),
        }
    }

    pub fn value<T: DeserializeOwned>(&mut self, of: Handle, method: &str, arguments: impl Serialize) -> T {
        match self.call(of, method, arguments).unwrap_or_else(|error| panic!("{method}: {error}")) {
            Answer::Value(value) => rmp_serde::from_slice(&value).expect("the form that the test knows"),
            other => panic!("{method}: {other:?}"),
        }
    }

    /// A broker in memory and its address.
    pub fn broker(&mut self, listeners: &[&str]) -> (Handle, String) {
        let broker = self.open(self.on, "broker.start", BTreeMap::from([("listeners", listeners)]));
        let description: Map = self.value(broker, "describe", ());
        let address = description["bootstrap_servers"].as_str().expect("an address").to_owned();
        (broker, address)
    }

    pub fn client(&mut self, method: &str, configs: &[(&str, &str)]) -> Handle {
        let configs: BTreeMap<_, _> = configs.iter().copied().collect();
        self.open(self.on, method, BTreeMap::from([("configs", configs)]))
    }

    /// What a broker in memory, a topic and a producer take.
    pub fn stage(&mut self, partitions: i32) -> (String, Handle) {
        let (_, address) = self.broker(&[]);
        let admin = self.client("admin.open", &[("bootstrap.servers", &address)]);
        let topic = serde_json::json!({"topics": [{"name": "t", "partitions": partitions}]});
        let created: Vec<Map> = self.value(admin, "create_topics", topic);
        assert!(created[0]["error"].is_null(), "{created:?}");
        let producer = self.client("producer.open", &[("bootstrap.servers", &address)]);
        (address, producer)
    }

    /// Values to partition 0, numbered from `first`, and their offsets.
    pub fn produce(&mut self, producer: Handle, first: u64, values: &[&str]) -> Vec<Result<i64, String>> {
        let frame = of_values(values);
        assert_eq!(ottla_bridge::send(producer, &frame, first).expect("open"), Sent::Taken);
        self.deliveries(producer, first, values.len())
    }

    pub fn deliveries(&mut self, producer: Handle, first: u64, count: usize) -> Vec<Result<i64, String>> {
        let mut found = BTreeMap::new();
        while found.len() < count {
            let records = self.next(|event| match event {
                Event::Delivered { producer: of, records, .. } if *of == producer => Some(records.clone()),
                _ => None,
            });
            for (index, (tag, _)) in records.records.iter().enumerate() {
                let result = records.result.as_ref().map(|base| base + index as i64).map_err(ToString::to_string);
                assert!(found.insert(*tag, result).is_none(), "{tag} came twice");
            }
        }
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), (first..first + count as u64).collect::<Vec<_>>());
        found.into_values().collect()
    }

    /// Polls until `count` records have come; (offset, value) of each.
    pub fn consume(&mut self, consumer: Handle, count: usize) -> Vec<(i64, String)> {
        let mut all = Vec::new();
        while all.len() < count {
            match self.call(consumer, "poll", BTreeMap::from([("timeout_ms", 5000)])).expect("polls") {
                Answer::Records(frame) => all.extend(read(&frame)),
                other => panic!("{other:?}"),
            }
        }
        all
    }
}

pub fn of_values(values: &[&str]) -> Vec<u8> {
    let mut frame = Vec::new();
    for value in values {
        let record = ProducerRecord { partition: Some(0), ..ProducerRecord::new("t", None, Some(value.as_bytes())) };
        frame::write_produced(&mut frame, &record).expect("small");
    }
    frame
}

/// Reads a consumer's frame as its description says.
pub fn read(frame: &[u8]) -> Vec<(i64, String)> {
    let u32_at = |at: usize| u32::from_le_bytes(frame[at..at + 4].try_into().expect("four")) as usize;
    let i64_at = |at: usize| i64::from_le_bytes(frame[at..at + 8].try_into().expect("eight"));
    assert_eq!(u32_at(0), 1);
    let (partitions, records) = (u32_at(4), u32_at(8));
    let mut at = 16;
    for _ in 0..partitions {
        at += (24 + u32_at(at + 20)).next_multiple_of(8);
    }
    (0..records)
        .map(|index| {
            let record = at + 56 * index;
            let (value, length) = (u32_at(record + 32), u32_at(record + 36));
            let value = std::str::from_utf8(&frame[value..value + length]).expect("text");
            (i64_at(record), value.to_owned())
        })
        .collect()
}
