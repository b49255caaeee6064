//! The cases: hand-written lists of what is easy to get wrong, a file for each group of APIs, and a random script.

mod cluster;
mod compaction;
mod configs;
mod fetch;
mod group_offsets;
pub(crate) mod groups;
mod offsets;
mod produce;
mod random;
mod sessions;
mod topics;
mod transactions;

use crate::side::Side;
use std::pin::Pin;

type Play = Box<dyn for<'a> Fn(&'a mut Side) -> Pin<Box<dyn Future<Output = ()> + 'a>>>;

/// A script that is played on both brokers.
pub struct Case {
    /// Chooses it on the command line; begins the names of its topics.
    pub name: &'static str,
    /// Plays it on one of them.
    pub play: Play,
}

macro_rules! cases {
    ($($name:literal $module:ident $(:: $function:ident)+,)*) => {
        vec![$(Case { name: $name, play: Box::new(|side| Box::pin($module$(::$function)+(side))) },)*]
    };
}

/// All cases in the order in which they are played.
pub fn all(seed: u64, steps: usize) -> Vec<Case> {
    let mut all = cases![
        "api-versions" cluster::api_versions,
        "metadata" cluster::metadata,
        "cluster" cluster::describe_cluster,
        "coordinator" cluster::find_coordinator,
        "producer-id" cluster::init_producer_id,
        "create-topics" topics::create_topics,
        "delete-topics" topics::delete_topics,
        "create-partitions" topics::create_partitions,
        "describe-topics" topics::describe_topic_partitions,
        "describe-configs" configs::describe,
        "incremental-configs" configs::incremental,
        "alter-configs" configs::alter,
        "produce" produce::plain,
        "produce-formats" produce::formats,
        "produce-sequences" produce::sequences,
        "produce-timestamps" produce::timestamps,
        "fetch" fetch::plain,
        "fetch-limits" fetch::limits,
        "fetch-epochs" fetch::epochs,
        "sessions" sessions::sessions,
        "compaction" compaction::cleaned,
        "keyless" compaction::keyless,
        "list-offsets" offsets::list_offsets,
        "leader-epochs" offsets::leader_epochs,
        "delete-records" offsets::delete_records,
        "join" groups::join,
        "static" groups::static_members,
        "generations" groups::generations,
        "list-groups" groups::list_and_describe,
        "commit" group_offsets::commit,
        "offset-fetch" group_offsets::fetch,
        "offset-delete" group_offsets::delete,
        "txn-init" transactions::lifecycle::initialise,
        "txn-end" transactions::lifecycle::ends,
        "txn-partitions" transactions::partitions::add,
        "txn-produce" transactions::partitions::write,
        "txn-isolation" transactions::isolation::isolation,
        "txn-offsets" transactions::offsets::commit,
        "txn-stable" transactions::offsets::stable,
        "txn-describe" transactions::admin::describe,
        "txn-list" transactions::admin::list,
        "txn-producers" transactions::admin::producers,
        "txn-markers" transactions::admin::markers,
    ];
    if steps > 0 {
        let play: Play = Box::new(move |side| Box::pin(random::play(side, seed, steps)));
        all.push(Case { name: "random", play });
    }
    all
}
