//! Who may do what. Every handler takes [`Authorized`], which only this file can make, so that no request reaches a
//! handler around it. Today everyone may do everything, as in Apache Kafka without `authorizer.class.name`.

use crate::context::RequestContext;
use std::ops::Deref;

/// A request that passed the authorizer, with the context it came in.
#[derive(Debug)]
pub(crate) struct Authorized<R> {
    request: R,
    context: RequestContext,
}

impl<R> Authorized<R> {
    /// Where the request came from and at which version.
    pub(crate) fn context(&self) -> &RequestContext {
        &self.context
    }

    /// Gives up the request's seat under `queued.max.requests` and `queued.max.request.bytes`: call before waiting for data or other clients.
    pub(crate) fn begin_waiting(&mut self) {
        self.context.admission = None;
    }

    /// The request by value, for handlers that keep parts of it.
    pub(crate) fn into_parts(self) -> (R, RequestContext) {
        (self.request, self.context)
    }
}

impl<R> Deref for Authorized<R> {
    type Target = R;

    fn deref(&self) -> &R {
        &self.request
    }
}

/// Decides for each request.
#[derive(Debug, Default)]
pub(crate) struct Authorizer;

impl Authorizer {
    /// Lets `request` through. Operations on single resources are asked of it by the handlers once rules exist.
    pub(crate) fn authorize<R>(&self, context: RequestContext, request: R) -> Authorized<R> {
        Authorized { request, context }
    }
}
