//! What wakes the sender, or has it run at once for somebody who waits.

use ottla_env::Near;
use std::sync::OnceLock;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Wakes the sender; rung before it listens is remembered.
#[derive(Debug, Default)]
pub(super) struct Doorbell {
    notify: Notify,
    sender: OnceLock<Near>,
}

impl Doorbell {
    /// From now on [`Doorbell::ring_here`] runs `sender`.
    pub(super) fn runs(&self, sender: Near) {
        let _ = self.sender.set(sender);
    }

    /// The sender looks again when its executor has its turn.
    pub(super) fn notify_one(&self) {
        self.notify.notify_one();
    }

    /// The sender looks again, on this task and before this returns where it can: for who has nothing to do but wait for it.
    /// Its locks must not be held. In process the answer may have come then.
    pub(super) async fn ring_here(&self) {
        match self.sender.get() {
            Some(sender) if sender.feed(|| self.notify.notify_one()) => {
                // A loop that never waits for anything must give others their turn all the same.
                tokio::task::coop::consume_budget().await;
            }
            Some(_) => {}
            None => self.notify.notify_one(),
        }
    }

    pub(super) fn notified(&self) -> Notified<'_> {
        self.notify.notified()
    }
}
