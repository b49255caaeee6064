//! When the application last polled, for `max.poll.interval.ms`. Times are told to it.

use std::time::Duration;

/// Counts the polls that wait inside, and remembers when the last one ended.
#[derive(Debug)]
pub(in crate::consumer) struct PollClock {
    last_poll: Duration,
    in_poll: usize,
    interval: Duration,
}

impl PollClock {
    pub(in crate::consumer) fn new(interval: Duration) -> PollClock {
        PollClock { last_poll: Duration::ZERO, in_poll: 0, interval }
    }

    /// The application comes into a poll, or back from its own code within one.
    pub(in crate::consumer) fn enter(&mut self, now: Duration) {
        self.in_poll += 1;
        self.last_poll = now;
    }

    /// The application goes on with its own work.
    pub(in crate::consumer) fn exit(&mut self, now: Duration) {
        self.in_poll = self.in_poll.saturating_sub(1);
        self.last_poll = now;
    }

    /// When the application is late for its next poll; inside one it is not.
    pub(in crate::consumer) fn due(&self) -> Option<Duration> {
        (self.in_poll == 0).then(|| self.last_poll.saturating_add(self.interval))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inside_a_poll_nobody_is_late() {
        let second = Duration::from_secs(1);
        let mut clock = PollClock::new(second * 10);
        clock.enter(second);
        assert_eq!(clock.due(), None);
        clock.exit(second * 2);
        assert_eq!(clock.due(), Some(second * 12));
    }
}
