//! Producers and consumers that talk to no broker, for tests of code that produces and consumes (`MockProducer` and
//! `MockConsumer` in Java).
//!
//! Code that shall run with either takes the traits [`ProduceClient`] and [`ConsumeClient`], which the real ones have too.
//! A mock does what the test says and remembers what it was asked to do; it knows no batches, timeouts, retries or
//! groups. Where those matter, use the in-memory broker instead.

mod clients;
mod consumer;
mod consumer_state;
mod producer;

pub use clients::{ConsumeClient, ConsumeListener, Delivered, ProduceClient};
pub use consumer::{MockConsumer, record};
pub use producer::{MockDelivery, MockProducer, ProducerCall};

#[cfg(test)]
mod tests;
