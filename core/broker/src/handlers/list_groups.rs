//! ListGroups (16): v4 filters by state (KIP-518), v5 by type (KIP-848).

use crate::authorizer::Authorized;
use crate::dispatch::Reply;
use crate::node::Node;
use ottla_protocol::{ListGroupsRequest, ListGroupsResponse};
use std::sync::Arc;

pub(crate) async fn handle(node: &Arc<Node>, request: Authorized<ListGroupsRequest>) -> Reply<ListGroupsResponse> {
    let listed = node.groups.read_all(|shard| shard.list_groups(&request.states_filter, &request.types_filter));
    ListGroupsResponse { groups: listed.into_iter().flatten().collect(), ..Default::default() }.into()
}
