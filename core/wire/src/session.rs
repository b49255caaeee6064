//! A connection's SASL session: established once, and again before the broker ends it (KIP-368).
//!
//! A request that is sent after the session's refresh time first authenticates anew, while the others wait. Nothing runs
//! for a connection that is idle, as in the Java client.

use crate::client::{ClientConnection, ClientError};
use crate::sasl::Sasl;
use ottla_env::Env;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{RwLock, RwLockReadGuard};

/// How a connection authenticated, and until when that holds.
#[derive(Debug)]
pub(crate) struct Session {
    sasl: Arc<Sasl>,
    /// The version of SaslAuthenticate.
    version: i16,
    timeout: Duration,
    /// Held for reading while a request is queued, for writing while the connection authenticates.
    gate: RwLock<()>,
    /// When to authenticate again, by the monotonic clock in milliseconds.
    renew_at_ms: AtomicU64,
}

impl Session {
    /// Authenticates on a new connection.
    pub(crate) async fn establish(
        connection: &ClientConnection,
        env: &Env,
        sasl: Arc<Sasl>,
        version: i16,
        timeout: Duration,
    ) -> Result<Session, ClientError> {
        let lifetime = sasl.authenticate(connection, version, timeout).await?;
        let renew_at_ms = AtomicU64::new(renew_at(env, lifetime));
        Ok(Session { sasl, version, timeout, gate: RwLock::new(()), renew_at_ms })
    }

    /// Lets a request be queued while the result is held.
    pub(crate) async fn admit(
        &self,
        connection: &ClientConnection,
        env: &Env,
    ) -> Result<RwLockReadGuard<'_, ()>, ClientError> {
        loop {
            let admitted = self.gate.read().await;
            if !self.is_due(env) {
                return Ok(admitted);
            }
            drop(admitted);
            let _alone = self.gate.write().await;
            if !self.is_due(env) {
                continue;
            }
            let started = env.monotonic();
            let result = self.sasl.authenticate(connection, self.version, self.timeout).await;
            if let Some(traffic) = connection.traffic() {
                traffic.authenticated(true, result.is_ok(), env.monotonic().saturating_sub(started));
            }
            match result {
                Ok(lifetime) => self.renew_at_ms.store(renew_at(env, lifetime), Ordering::Relaxed),
                Err(error) => {
                    connection.close();
                    return Err(error);
                }
            }
        }
    }

    fn is_due(&self, env: &Env) -> bool {
        env.monotonic().as_millis() as u64 >= self.renew_at_ms.load(Ordering::Relaxed)
    }
}

/// After 85 to 95 percent of the session, by chance so that connections do not come in step.
fn renew_at(env: &Env, lifetime: Option<Duration>) -> u64 {
    let Some(lifetime) = lifetime else { return u64::MAX };
    let part = 0.85 + (env.random_u64() % 101) as f64 / 1000.0;
    (env.monotonic() + lifetime.mul_f64(part)).as_millis() as u64
}
