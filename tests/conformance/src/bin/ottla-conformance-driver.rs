//! The Rust client as a driver program: what the drivers of other languages look like from outside.

use ottla::env::Env;
use ottla_conformance::{rust::RustDriver, serve::serve};
use std::sync::Arc;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let env = Env::real();
    serve(&env, Arc::new(RustDriver::new(env.clone()))).await
}
