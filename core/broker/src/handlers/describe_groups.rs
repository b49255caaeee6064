//! DescribeGroups (15): v3 has authorized operations (KIP-430), v4 static members, v6 an error for a group that does not
//! exist (KIP-1043).

use crate::authorizer::Authorized;
use crate::dispatch::Reply;
use crate::node::{GROUP_OPERATIONS, Node};
use ottla_model::{ErrorCode, Str};
use ottla_protocol::describe_groups_response::DescribedGroup;
use ottla_protocol::{DescribeGroupsRequest, DescribeGroupsResponse};
use std::sync::Arc;

pub(crate) async fn handle(
    node: &Arc<Node>,
    request: Authorized<DescribeGroupsRequest>,
) -> Reply<DescribeGroupsResponse> {
    let version = request.context().api_version;
    let describe = |group_id: &Str| {
        let described = node.groups.read(group_id, |shard| shard.describe_group(group_id, version));
        let mut described = described.unwrap_or_else(|error| DescribedGroup {
            group_id: group_id.clone(),
            error_code: error.code(),
            ..Default::default()
        });
        if request.include_authorized_operations && described.error_code == ErrorCode::None.code() {
            described.authorized_operations = GROUP_OPERATIONS;
        }
        described
    };
    DescribeGroupsResponse { groups: request.groups.iter().map(describe).collect(), ..Default::default() }.into()
}
