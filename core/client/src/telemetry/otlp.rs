//! Metrics in the protobuf encoding of OpenTelemetry's MetricsData, as KIP-714 wants them.
//!
//! Written by hand: one message with two kinds of metrics needs sixty lines, and no compiler at build time.

use crate::metrics::{Metric, MetricName, MetricValue};
use bytes::BufMut;

/// Sums are what was added since the last push, or since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Temporality {
    Delta,
    Cumulative,
}

/// The name that the cluster filters by: `org.apache.kafka.producer.record.send.total`.
pub(super) fn name(name: &MetricName) -> String {
    let dotted = |text: &str| text.to_ascii_lowercase().replace('-', ".");
    format!("org.apache.kafka.{}.{}", dotted(&name.group).replace(".metrics", ""), dotted(&name.name))
}

/// One data point.
pub(super) struct Point<'a> {
    pub(super) metric: &'a Metric,
    pub(super) value: f64,
    /// Nanoseconds since 1970 from which a sum counts.
    pub(super) since: u64,
}

/// MetricsData with these points at `now`, nanoseconds since 1970.
pub(super) fn encode(points: &[Point<'_>], temporality: Temporality, now: u64) -> Vec<u8> {
    let mut scope = Vec::new();
    for point in points {
        message(&mut scope, 2, &metric(point, temporality, now));
    }
    let mut resource_metrics = Vec::new();
    message(&mut resource_metrics, 2, &scope);
    let mut data = Vec::new();
    message(&mut data, 1, &resource_metrics);
    data
}

fn metric(point: &Point<'_>, temporality: Temporality, now: u64) -> Vec<u8> {
    let mut data_point = Vec::new();
    if point.metric.is_total {
        fixed64(&mut data_point, 2, point.since);
    }
    fixed64(&mut data_point, 3, now);
    fixed64(&mut data_point, 4, point.value.to_bits());
    for (key, value) in &point.metric.name.tags {
        let mut any = Vec::new();
        message(&mut any, 1, value.as_bytes());
        let mut pair = Vec::new();
        message(&mut pair, 1, key.to_ascii_lowercase().replace('-', "_").as_bytes());
        message(&mut pair, 2, &any);
        message(&mut data_point, 7, &pair);
    }
    let mut kind = Vec::new();
    message(&mut kind, 1, &data_point);
    let mut metric = Vec::new();
    message(&mut metric, 1, name(&point.metric.name).as_bytes());
    if point.metric.is_total {
        varint_field(&mut kind, 2, if temporality == Temporality::Delta { 1 } else { 2 });
        varint_field(&mut kind, 3, 1);
        message(&mut metric, 7, &kind);
    } else {
        message(&mut metric, 5, &kind);
    }
    metric
}

/// The number of a metric, if it can be pushed: texts cannot, and what was not measured is not worth it.
pub(super) fn number(metric: &Metric) -> Option<f64> {
    match metric.value {
        MetricValue::Double(value) if !value.is_nan() => Some(value),
        _ => None,
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

fn varint_field(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

fn fixed64(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3 | 1);
    out.put_u64_le(value);
}

/// A message, a text or bytes.
fn message(out: &mut Vec<u8>, field: u64, content: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, content.len() as u64);
    out.put_slice(content);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(group: &'static str, name: &'static str, is_total: bool) -> Metric {
        let tags = [("client-id".into(), "c1".to_owned())].into_iter().collect();
        let name = MetricName { group: group.into(), name: name.into(), tags };
        Metric { name, value: MetricValue::Double(2.0), is_total }
    }

    #[test]
    fn names_are_those_of_the_java_client() {
        let cases = [
            ("producer-metrics", "record-send-total", "org.apache.kafka.producer.record.send.total"),
            ("producer-node-metrics", "request-latency-avg", "org.apache.kafka.producer.node.request.latency.avg"),
            ("consumer-coordinator-metrics", "commit-rate", "org.apache.kafka.consumer.coordinator.commit.rate"),
        ];
        for (group, metric_name, expected) in cases {
            assert_eq!(name(&metric(group, metric_name, false).name), expected);
        }
    }

    /// The fields' names are in the comments.
    #[test]
    fn the_bytes_are_protobufs() {
        let total = metric("a-metrics", "b-total", true);
        let points = [Point { metric: &total, value: 2.0, since: 1 }];
        let mut expected: Vec<u8> = vec![0x0a, 0x56, 0x12, 0x54, 0x12, 0x52]; // resource_metrics, scope_metrics, metrics
        expected.extend([0x0a, 0x1a]); // name
        expected.extend(b"org.apache.kafka.a.b.total");
        expected.extend([0x3a, 0x34, 0x0a, 0x2e]); // sum, data_points
        expected.extend([0x11, 1, 0, 0, 0, 0, 0, 0, 0]); // start_time_unix_nano: 1
        expected.extend([0x19, 9, 0, 0, 0, 0, 0, 0, 0]); // time_unix_nano: 9
        expected.extend([0x21, 0, 0, 0, 0, 0, 0, 0, 0x40]); // as_double: 2
        expected.extend([0x3a, 0x11, 0x0a, 0x09]); // attributes, key
        expected.extend(b"client_id");
        expected.extend([0x12, 0x04, 0x0a, 0x02, b'c', b'1']); // value, string_value
        expected.extend([0x10, 1, 0x18, 1]); // aggregation_temporality: DELTA, is_monotonic
        let encoded = encode(&points, Temporality::Delta, 9);
        assert_eq!(encoded, expected);
        let gauge = metric("a-metrics", "b-avg", false);
        let encoded = encode(&[Point { metric: &gauge, value: 0.5, since: 1 }], Temporality::Cumulative, 9);
        assert_eq!(walk(&encoded, &[1, 2, 2, 5, 1, 4]), 0.5f64.to_le_bytes());
    }

    /// The content of the first field on this path.
    fn walk<'a>(mut bytes: &'a [u8], path: &[u64]) -> &'a [u8] {
        for wanted in path {
            bytes = loop {
                let (field, kind) = (u64::from(bytes[0] >> 3), bytes[0] & 7);
                let (content, rest) = match kind {
                    0 => (&bytes[1..2], &bytes[2..]),
                    1 => (&bytes[1..9], &bytes[9..]),
                    _ => {
                        let len = usize::from(bytes[1]);
                        (&bytes[2..2 + len], &bytes[2 + len..])
                    }
                };
                if field == *wanted {
                    break content;
                }
                bytes = rest;
            };
        }
        bytes
    }
}
