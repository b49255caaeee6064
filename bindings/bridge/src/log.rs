//! The engine's log lines, for queues whose host wants them in its own logger.

use crate::error::Error;
use crate::queue::{Event, Queue};
use parking_lot::Mutex;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Once, Weak};
use tracing::field::{Field, Visit};
use tracing::{Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

static INSTALLED: Once = Once::new();
static LISTENERS: Mutex<Vec<(Weak<Queue>, u8)>> = Mutex::new(Vec::new());

/// Lines longer than this are cut.
const LINE_MAX: usize = 4096;

/// From now on `queue` gets lines of this level and the more urgent ones: 1 error … 5 trace, 0 none.
pub(crate) fn listen(queue: &Arc<Queue>, level: u8) -> Result<(), Error> {
    if level > 5 {
        return Err(Error::invalid(format!("log level {level}; expected 0 (none), 1 (error), 2, 3, 4 or 5 (trace)")));
    }
    INSTALLED.call_once(|| {
        // A program that is written in Rust may have its own, which then keeps them.
        let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Lines));
    });
    let mut listeners = LISTENERS.lock();
    listeners.retain(|(of, _)| of.upgrade().is_some_and(|of| !Arc::ptr_eq(&of, queue)));
    if level > 0 {
        listeners.push((Arc::downgrade(queue), level));
    }
    drop(listeners);
    tracing::callsite::rebuild_interest_cache();
    Ok(())
}

fn number(level: &Level) -> u8 {
    match *level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

struct Lines;

impl<S: Subscriber> Layer<S> for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        let level = number(metadata.level());
        metadata.target().starts_with("ottla") && LISTENERS.lock().iter().any(|(_, wanted)| level <= *wanted)
    }

    fn register_callsite(&self, _: &'static tracing::Metadata<'static>) -> tracing::subscriber::Interest {
        // Who listens changes.
        tracing::subscriber::Interest::sometimes()
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let level = number(event.metadata().level());
        let mut line = Line::default();
        event.record(&mut line);
        let message = line.message + &line.fields;
        let listeners: Vec<_> = {
            let all = LISTENERS.lock();
            all.iter().filter(|(_, wanted)| level <= *wanted).filter_map(|(queue, _)| queue.upgrade()).collect()
        };
        for queue in listeners {
            let target = event.metadata().target().to_owned();
            queue.push(Event::Log { level, target, message: message.clone() });
        }
    }
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let to = if field.name() == "message" { &mut self.message } else { &mut self.fields };
        if to.len() > LINE_MAX {
            return;
        }
        // Writing into a String does not fail.
        let _ = match field.name() {
            "message" => write!(to, "{value:?}"),
            name => write!(to, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}
