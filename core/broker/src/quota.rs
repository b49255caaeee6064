//! The quota hook that each answer passes. No quota can be set yet, so nobody is throttled; the handlers need not
//! change when that comes.

use crate::context::RequestContext;
use ottla_protocol::ApiKey;

/// Accounts for requests and says how long a client is to be held back.
#[derive(Debug, Default)]
pub(crate) struct Quotas;

impl Quotas {
    /// Records one request of `bytes` and returns `throttle_time_ms` for its answer.
    pub(crate) fn record(&self, _api: ApiKey, _context: &RequestContext, _bytes: usize) -> i32 {
        0
    }
}
