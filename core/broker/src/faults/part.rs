//! How a request is taken apart: what it is about, which of it is taken out, how that is refused, and how the refusals
//! join what was served. The files beside this one do it for each API; the table in dispatch.rs makes sure that none is left out.

use super::rule::Filters;
use crate::node::Node;
use ottla_model::{ErrorCode, Str, Uuid};
use ottla_protocol::Request;
use std::sync::Arc;

/// Where a request is being refused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) node: &'a Arc<Node>,
    pub(crate) version: i16,
    pub(crate) listener: &'a str,
}

/// One thing that a request is about.
#[derive(Debug, Clone, Default)]
pub(crate) struct Part {
    /// Empty where the request has the id only.
    pub(crate) topic: Str,
    pub(crate) topic_id: Uuid,
    pub(crate) partition: Option<i32>,
    pub(crate) group: Option<Str>,
}

impl Part {
    pub(crate) fn group(group: &Str) -> Part {
        Part { group: Some(group.clone()), ..Part::default() }
    }

    pub(crate) fn topic(topic: &Str) -> Part {
        Part { topic: topic.clone(), ..Part::default() }
    }

    pub(crate) fn partition(topic: &Str, topic_id: Uuid, partition: i32) -> Part {
        Part { topic: topic.clone(), topic_id, partition: Some(partition), group: None }
    }

    /// The topic's name, also where the request has its id; `None` where it is about no topic.
    pub(crate) fn topic_name(&self, node: &Node) -> Option<String> {
        if self.topic_id != Uuid::ZERO && self.topic.is_empty() {
            return node.partitions.name_of(self.topic_id).map(|name| name.to_string());
        }
        Some(self.topic.to_string()).filter(|name| !name.is_empty())
    }
}

/// Says for the next part whether it is taken out.
pub(crate) type Hit<'a> = &'a mut dyn FnMut() -> bool;

/// How the requests of one API are taken apart and refused.
pub(crate) trait Refuse: Request + Clone {
    /// What a rule can tell apart.
    const FILTERS: Filters;
    /// Whether errors of parts are put in by the handler, because what the request is about stands elsewhere too.
    const IN_HANDLER: bool = false;

    /// Names what the request leaves open ("all topics").
    fn expand(&mut self, _place: &Place<'_>) {}

    /// What it is about. Empty: nothing in particular.
    fn parts(&self, place: &Place<'_>) -> Vec<Part>;

    /// Takes out the parts that `hit` says, which is asked for each in the order of `parts`. Only called where there are
    /// several and some stay.
    fn split(&mut self, place: &Place<'_>, hit: Hit<'_>) -> Self;

    /// The answer that refuses the whole request: for each part, or with `whole` for all together where the version can say
    /// so. `None` where it has no place for an error.
    fn refuse(&self, place: &Place<'_>, code: ErrorCode, whole: bool) -> Option<Self::Response>;

    /// Puts what was refused into what was served.
    fn merge(served: &mut Self::Response, refused: Self::Response);

    /// Whether the client waits for an answer.
    fn is_answered(&self) -> bool {
        true
    }

    /// Whether this error concerns the request and not its parts, whatever the rule says.
    fn is_of_whole(_code: ErrorCode) -> bool {
        false
    }
}

/// [`Refuse::split`] for a flat list.
pub(crate) fn split_flat<T>(items: &mut Vec<T>, hit: Hit<'_>) -> Vec<T> {
    let (gone, kept) = std::mem::take(items).into_iter().partition(|_| hit());
    *items = kept;
    gone
}

/// [`Refuse::split`] for a list of lists; an outer item of which nothing stays goes.
pub(crate) fn split_nested<T: Clone, P>(items: &mut Vec<T>, inner: fn(&mut T) -> &mut Vec<P>, hit: Hit<'_>) -> Vec<T> {
    let mut gone = Vec::new();
    items.retain_mut(|item| {
        let parts = std::mem::take(inner(item));
        let had_parts = !parts.is_empty();
        let (out, kept): (Vec<P>, Vec<P>) = parts.into_iter().partition(|_| hit());
        if !out.is_empty() {
            let mut copy = item.clone();
            *inner(&mut copy) = out;
            gone.push(copy);
        }
        let stays = !kept.is_empty() || !had_parts;
        *inner(item) = kept;
        stays
    });
    gone
}

/// [`Refuse::merge`] for a list of lists.
pub(crate) fn merge_nested<T, P>(
    served: &mut Vec<T>,
    refused: Vec<T>,
    same: fn(&T, &T) -> bool,
    inner: fn(&mut T) -> &mut Vec<P>,
) {
    for mut topic in refused {
        match served.iter_mut().find(|known| same(known, &topic)) {
            Some(known) => inner(known).append(inner(&mut topic)),
            None => served.push(topic),
        }
    }
}

/// What an error says where there is room for words.
pub(crate) fn text(code: ErrorCode) -> Option<Str> {
    Some(code.message().into())
}
