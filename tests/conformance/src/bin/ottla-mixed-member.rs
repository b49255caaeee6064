//! The Rust member of the mixed groups of `cargo xtask test --only interop/mixed-group`: prints `a 0,3,5` whenever its
//! share has changed and `r VALUE` for each record after its offset is committed, and leaves when its input ends.
//!
//!     ottla-mixed-member member BOOTSTRAP GROUP TOPIC range|cooperative

use ottla::client::{BoxFuture, Consumer, ConsumerRecord, Env, ErrorCode, RebalanceListener, Result, TopicPartition};
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().collect();
    let word = |index: usize| words.get(index).map_or("", String::as_str);
    let assignor = match word(5) {
        "cooperative" => "org.apache.kafka.clients.consumer.CooperativeStickyAssignor",
        _ => "org.apache.kafka.clients.consumer.RangeAssignor",
    };
    let configs = [
        ("bootstrap.servers", word(2)),
        ("group.id", word(3)),
        ("auto.offset.reset", "earliest"),
        ("enable.auto.commit", "false"),
        ("heartbeat.interval.ms", "300"),
        ("partition.assignment.strategy", assignor),
    ];
    let consumer = Consumer::from_configs(Env::real(), configs)?;
    let unsaid = Arc::new(Unsaid::default());
    consumer.subscribe_with([word(4)], unsaid.clone())?;
    let leave = Arc::new(AtomicBool::new(false));
    let ended = leave.clone();
    // Waits for the end of the input for as long as the program lives.
    #[allow(clippy::disallowed_methods)]
    std::thread::spawn(move || {
        std::io::stdin().read_to_end(&mut Vec::new()).ok();
        ended.store(true, Ordering::Release);
    });
    let mut shown = String::new();
    while !leave.load(Ordering::Acquire) {
        let records = consumer.poll(Duration::from_millis(100)).await?;
        let share: Vec<String> = consumer.assignment().iter().map(|it| it.partition.to_string()).collect();
        let share = share.join(",");
        if share != shown {
            println!("a {share}");
            shown = share;
        }
        unsaid.read(records.iter());
        unsaid.commit(&consumer).await?;
    }
    unsaid.commit(&consumer).await?;
    consumer.close(Duration::from_secs(10)).await?;
    println!("left");
    Ok(())
}

/// Partitions and values that are not committed yet. What is revoked is committed first, or is the next member's to read.
#[derive(Debug, Default)]
struct Unsaid(Mutex<Vec<(i32, String)>>);

impl Unsaid {
    fn records(&self) -> MutexGuard<'_, Vec<(i32, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<'a>(&self, records: impl Iterator<Item = &'a ConsumerRecord>) {
        let value = |it: &ConsumerRecord| String::from_utf8_lossy(it.value.as_deref().unwrap_or_default()).into_owned();
        self.records().extend(records.map(|record| (record.partition, value(record))));
    }

    async fn commit(&self, consumer: &Consumer) -> Result<()> {
        if self.records().is_empty() {
            return Ok(());
        }
        match consumer.commit_sync().await {
            Ok(()) => self.records().drain(..).for_each(|(_, value)| println!("r {value}")),
            // Once that is over.
            Err(error) if error.code() == Some(ErrorCode::RebalanceInProgress) => {}
            Err(error) if matches!(error.code(), Some(ErrorCode::IllegalGeneration | ErrorCode::UnknownMemberId)) => {
                self.records().clear();
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn lose(&self, partitions: &[TopicPartition]) {
        self.records().retain(|(partition, _)| !partitions.iter().any(|gone| gone.partition == *partition));
    }
}

impl RebalanceListener for Unsaid {
    fn on_partitions_revoked<'a>(
        &'a self,
        consumer: &'a Consumer,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let committed = self.commit(consumer).await;
            self.lose(partitions);
            committed
        })
    }

    fn on_partitions_lost<'a>(
        &'a self,
        _consumer: &'a Consumer,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<()>> {
        self.lose(partitions);
        Box::pin(async { Ok(()) })
    }
}
