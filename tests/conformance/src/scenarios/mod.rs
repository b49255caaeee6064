//! The scenarios, one file per theme. A new file is a `mod` and a line in [`all`]; a new scenario is a function and its
//! name in the list at the top of its file.

mod admin;
mod cluster_admin;
mod consume;
mod group_offsets;
mod groups;
mod kip848;
mod members;
mod mistakes;
mod produce;
mod subscriptions;
mod transactions;

use crate::capability::Capability;
use crate::context::{Context, Outcome};
use std::future::Future;
use std::pin::Pin;

/// A scenario that runs.
pub type Play = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// Something that every client must pass against every broker that has what it needs.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// `theme/what_it_shows`.
    pub name: &'static str,
    /// What broker and driver must have, beyond [`Capability::Core`].
    pub needs: &'static [Capability],
    /// Whether faults may be injected while it runs: it has to end the same.
    pub rides_out_faults: bool,
    /// It itself.
    pub play: fn(Context) -> Play,
}

/// All scenarios, in the order of the report.
pub fn all() -> Vec<Scenario> {
    [
        produce::SCENARIOS,
        consume::SCENARIOS,
        members::SCENARIOS,
        group_offsets::SCENARIOS,
        subscriptions::SCENARIOS,
        transactions::SCENARIOS,
        kip848::SCENARIOS,
        admin::SCENARIOS,
        cluster_admin::SCENARIOS,
        mistakes::SCENARIOS,
    ]
    .concat()
}

/// Makes a file's `SCENARIOS`: functions from [`Context`] to [`Outcome`], with the capabilities that each needs.
/// `calm` before a name keeps faults away from it: it is about an error or a time limit itself.
macro_rules! scenarios {
    ($theme:literal: $($(@$calm:ident)? $name:ident $([$($need:ident),*])?;)+) => {
        /// The scenarios of this file.
        pub const SCENARIOS: &[crate::scenarios::Scenario] = &[$(crate::scenarios::Scenario {
            name: concat!($theme, "/", stringify!($name)),
            needs: &[$($(crate::capability::Capability::$need),*)?],
            rides_out_faults: crate::scenarios::rides_out_faults(&[$(stringify!($calm))?]),
            play: |context| Box::pin($name(context)),
        }),+];
    };
}
pub(crate) use scenarios;

pub(crate) const fn rides_out_faults(calm: &[&str]) -> bool {
    calm.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::ALL;
    use std::collections::BTreeSet;

    #[test]
    fn every_capability_is_what_some_scenario_needs() {
        let needed: BTreeSet<Capability> = all().iter().flat_map(|scenario| scenario.needs).copied().collect();
        // The first is what all need, the other what the runner needs to play them again.
        let by_nature = [Capability::Core, Capability::Faults];
        let idle: Vec<_> = ALL.iter().filter(|it| !needed.contains(it) && !by_nature.contains(it)).collect();
        assert!(idle.is_empty(), "{idle:?}");
    }

    #[test]
    fn names_are_unique_and_short() {
        let all = all();
        let names: BTreeSet<&str> = all.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), all.len());
        assert!(names.iter().all(|name| name.len() <= 70), "they begin topics' names: {names:?}");
    }
}
