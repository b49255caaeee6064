//! One member of a classic group, as the coordinator sees it while it lives.

use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::JoinGroupRequest;

use super::image::MemberImage;
use super::step::JoinContext;
use crate::Ticket;

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: Arc<str>,
    /// `group.instance.id` of a static member (KIP-345).
    pub(crate) instance_id: Option<Arc<str>>,
    pub(crate) client_id: Arc<str>,
    pub(crate) client_host: Arc<str>,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) session_timeout_ms: i32,
    /// `None` for a member that was loaded: the group has the type.
    pub(crate) protocol_type: Option<Arc<str>>,
    /// Name and metadata, best liked first.
    pub(crate) protocols: Vec<(Arc<str>, Bytes)>,
    pub(crate) assignment: Bytes,
    pub(crate) awaiting_join: Option<Ticket>,
    pub(crate) awaiting_sync: Option<Ticket>,
    /// Its first JoinGroup has not been answered yet, so it cannot send heartbeats.
    pub(crate) is_new: bool,
}

impl Member {
    pub(crate) fn new(id: Arc<str>, context: &JoinContext, request: &JoinGroupRequest) -> Self {
        Self {
            id,
            instance_id: request.group_instance_id.as_ref().map(Into::into),
            client_id: context.client_id.clone(),
            client_host: context.client_host.clone(),
            rebalance_timeout_ms: rebalance_timeout_ms(context, request),
            session_timeout_ms: request.session_timeout_ms,
            protocol_type: Some((&request.protocol_type).into()),
            protocols: protocols(request),
            assignment: Bytes::new(),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: true,
        }
    }

    pub(crate) fn from_image(image: &MemberImage, protocol: Arc<str>) -> Self {
        Self {
            id: image.member_id.clone(),
            instance_id: image.instance_id.clone(),
            client_id: image.client_id.clone(),
            client_host: image.client_host.clone(),
            rebalance_timeout_ms: match image.rebalance_timeout_ms {
                -1 => image.session_timeout_ms,
                timeout_ms => timeout_ms,
            },
            session_timeout_ms: image.session_timeout_ms,
            protocol_type: None,
            protocols: vec![(protocol, image.subscription.clone())],
            assignment: image.assignment.clone(),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: false,
        }
    }

    pub(crate) fn metadata(&self, protocol: &str) -> Option<Bytes> {
        self.protocols.iter().find(|(name, _)| &**name == protocol).map(|(_, metadata)| metadata.clone())
    }

    /// Whether a JoinGroup says what the member said before.
    pub(crate) fn matches(&self, request: &JoinGroupRequest) -> bool {
        self.protocols == protocols(request)
    }

    /// Members that wait for the coordinator are alive without heartbeats, except for new ones, which may be gone.
    pub(crate) fn has_satisfied_heartbeat(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }
}

/// The protocols of a request, copied out of its frame; of two with the same name the first counts.
pub(crate) fn protocols(request: &JoinGroupRequest) -> Vec<(Arc<str>, Bytes)> {
    let mut protocols: Vec<(Arc<str>, Bytes)> = Vec::with_capacity(request.protocols.len());
    for protocol in &request.protocols {
        if !protocols.iter().any(|(name, _)| **name == *protocol.name) {
            protocols.push(((&protocol.name).into(), Bytes::copy_from_slice(&protocol.metadata)));
        }
    }
    protocols
}

/// JoinGroup v0 has no rebalance timeout: the session timeout serves.
pub(crate) fn rebalance_timeout_ms(context: &JoinContext, request: &JoinGroupRequest) -> i32 {
    if context.api_version == 0 { request.session_timeout_ms } else { request.rebalance_timeout_ms }
}
