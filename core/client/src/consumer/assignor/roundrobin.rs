//! `roundrobin`: all partitions of all topics in turn.

use super::plan::{Partition, Plan, compare_members};
use super::{Assignment, Assignor, ClusterTopics, Member};
use crate::error::Result;
use std::collections::{BTreeMap, BTreeSet};

/// Deals the partitions of all topics, by name and number, to the members in turn; a member that does not want a topic is
/// passed over, which can leave unequal shares. Racks and earlier assignments do not count. Static members come first, by
/// `group.instance.id`.
#[derive(Debug, Default)]
pub struct RoundRobinAssignor {}

impl RoundRobinAssignor {
    /// A new instance.
    pub fn new() -> RoundRobinAssignor {
        RoundRobinAssignor {}
    }
}

impl Assignor for RoundRobinAssignor {
    fn name(&self) -> &str {
        "roundrobin"
    }

    fn assign(&self, cluster: &ClusterTopics, members: &[Member]) -> Result<BTreeMap<String, Assignment>> {
        let plan = Plan::new(cluster, members);
        let mut turns = plan.member_order.clone();
        turns.sort_by(|a, b| compare_members(plan.members[*a], plan.members[*b]));
        let wanted: Vec<BTreeSet<usize>> = plan.wanted.iter().map(|wanted| wanted.iter().copied().collect()).collect();
        let mut assignment = vec![Vec::new(); plan.members.len()];
        let mut turn = 0;
        for topic in 0..plan.topics.len() {
            for index in 0..plan.topics[topic].partitions.len() as i32 {
                // A topic is known because somebody wants it, so this comes to an end.
                while !wanted[turns[turn]].contains(&topic) {
                    turn = (turn + 1) % turns.len();
                }
                assignment[turns[turn]].push(Partition { topic, index });
                turn = (turn + 1) % turns.len();
            }
        }
        Ok(plan.assignments(assignment))
    }
}
