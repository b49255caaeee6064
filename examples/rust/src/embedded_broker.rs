//! A program with a Kafka broker inside: any client may connect while it runs.
//!
//! ```text
//! embedded_broker 127.0.0.1:9092 data     on a directory; without one, in memory
//! ```

use ottla::Broker;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or_else(|| "127.0.0.1:9092".to_owned());

    let mut builder = Broker::builder().listener(format!("PLAINTEXT://{address}"));
    if let Some(directory) = args.next() {
        builder = builder.directory(directory);
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let broker = builder.start().await?;
    println!("ottla ready: PLAINTEXT://{}", broker.bootstrap_servers());

    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    broker.close().await?;
    Ok(())
}
