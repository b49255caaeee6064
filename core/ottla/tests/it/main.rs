//! The embedded broker through its public API, with our own client beside it.
//!
//! Goal: what a program that embeds a broker relies on. Method: real brokers in memory and on directories, over TCP and in
//! process; nothing here sleeps to wait for anything.

// Tests watch from outside, with tasks and limits of the runtime's own: what they watch runs in an Env.
#![allow(clippy::disallowed_methods)]

mod client_admin;
mod client_admin_more;
mod client_admin_offsets;
mod client_consumer;
mod client_consumer_configs;
mod client_consumer_more;
mod client_errors;
mod client_explain;
mod client_group;
mod client_group_faults;
mod client_group_more;
mod client_lossy;
mod client_producer;
mod client_producer_configs;
mod client_producer_faults;
mod client_producer_sink;
mod client_traits;
mod client_transactions;
mod embedded;
mod faults_answers;
mod faults_answers_transactions;
mod faults_broker;
mod faults_requests;
mod fork;
mod inproc_copies;
mod raw;
mod restart;
mod simulation;
mod support;
mod traffic;
mod transactions;
mod virtual_clock;
