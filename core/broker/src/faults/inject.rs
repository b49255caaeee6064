//! What the rules do to one request, between its decoding and its handler, and to its answer.

use super::Table;
use super::part::{Place, Refuse};
use super::rule::{Action, LostAnswer, Rule};
use crate::context::RequestContext;
use crate::dispatch::Reply;
use crate::node::Node;
use ottla_model::{ErrorCode, Uuid};
use std::sync::Arc;

/// An error for one partition that the handler is to answer as if it came from there.
#[derive(Debug, Clone)]
pub(crate) struct InjectedError {
    /// Empty where the request names topics by id.
    pub(crate) topic: String,
    pub(crate) topic_id: Uuid,
    pub(crate) partition: i32,
    pub(crate) code: ErrorCode,
}

/// What became of a request.
#[derive(Debug)]
pub(crate) struct Injected<T> {
    /// The handler is not asked.
    pub(crate) instead: Option<Reply<T>>,
    /// Joins what the handler answers.
    refused: Option<T>,
    lost: Option<LostAnswer>,
    is_answered: bool,
}

impl<T> Injected<T> {
    /// Nothing at all.
    pub(crate) const fn nothing() -> Injected<T> {
        Injected { instead: None, refused: None, lost: None, is_answered: true }
    }

    fn closed() -> Injected<T> {
        Injected { instead: Some(Reply::Close), ..Injected::nothing() }
    }

    /// The answer after all.
    pub(crate) fn finish<R: Refuse<Response = T>>(self, table: &Table, reply: Reply<T>) -> Reply<T> {
        let reply = match (reply, self.refused) {
            (Reply::Send(mut served), Some(refused)) => {
                R::merge(&mut served, refused);
                Reply::Send(served)
            }
            // acks=0: something failed, and this is how its producer learns of it.
            (Reply::Nothing, Some(_)) => Reply::Close,
            (reply, _) => reply,
        };
        match (self.lost, reply) {
            _ if table.has_crashed() => Reply::Close,
            (Some(LostAnswer::Close), _) => Reply::Close,
            (Some(LostAnswer::Silence), _) => Reply::Silence,
            (None, Reply::Send(_)) if !self.is_answered => Reply::Close,
            (None, reply) => reply,
        }
    }
}

/// Lets the rules act on a request. Takes the parts that are refused out of it.
pub(crate) async fn inject<R: Refuse>(
    node: &Arc<Node>,
    context: &mut RequestContext,
    request: &mut R,
) -> Injected<R::Response> {
    let table = &node.faults;
    if table.has_crashed() {
        return Injected::closed();
    }
    let mut out = Injected { is_answered: request.is_answered(), ..Injected::nothing() };
    let (listener, client_id) = (context.listener.clone(), context.client_id.clone());
    for rule in table.rules().iter().filter(|rule| concerns::<R>(rule, client_id.as_deref())) {
        let place = Place { node, version: context.api_version, listener: &listener };
        let whole = rule.scope.is_whole();
        let fits = |request: &R, code| request.refuse(&place, code, whole).is_some();
        if rule.scope.topic.is_some() || matches!(rule.action, Action::Error(code) if !fits(request, code)) {
            request.expand(&place);
        }
        let parts = request.parts(&place);
        let hits: Vec<bool> = parts
            .iter()
            .map(|part| rule.scope.matches(part.topic_name(node).as_deref(), part.partition, part.group.as_deref()))
            .collect();
        let all = hits.iter().all(|hit| *hit);
        let is_hit = match parts.is_empty() {
            true => whole && rule.scope.group.is_none(),
            false => hits.contains(&true),
        };
        if !is_hit || matches!(rule.action, Action::Error(code) if all && !R::IN_HANDLER && !fits(request, code)) {
            continue;
        }
        if !table.strikes(rule) {
            continue;
        }
        match rule.action {
            Action::Delay(delay) => {
                node.env.sleep(delay).await;
                if table.has_crashed() {
                    return Injected::closed();
                }
            }
            Action::Disconnect => return Injected::closed(),
            Action::Lose(how) => out.lost = Some(how),
            Action::Error(code) if R::IN_HANDLER && !R::is_of_whole(code) => {
                let hit = parts.iter().zip(&hits).filter(|(_, hit)| **hit).map(|(part, _)| part);
                context.injected.extend(hit.map(|part| InjectedError {
                    topic: part.topic.to_string(),
                    topic_id: part.topic_id,
                    partition: part.partition.unwrap_or(-1),
                    code,
                }));
            }
            Action::Error(code) => {
                let taken = (!all && !R::is_of_whole(code)).then(|| {
                    let mut hits = hits.into_iter();
                    request.split(&place, &mut || hits.next().unwrap_or(false))
                });
                let of_whole = whole || R::is_of_whole(code);
                let refused = taken.as_ref().unwrap_or(request).refuse(&place, code, of_whole);
                match (&mut out.refused, refused) {
                    (Some(known), Some(refused)) => R::merge(known, refused),
                    (known, refused) => *known = refused,
                }
                if taken.is_none() {
                    out.instead = out.refused.take().map(Reply::Send);
                    return out;
                }
            }
            // Where batches are appended.
            Action::DiskFull | Action::TornWrite => {}
        }
    }
    out
}

fn concerns<R: Refuse>(rule: &Rule, client_id: Option<&str>) -> bool {
    !rule.is_about_appends()
        && rule.api.is_none_or(|api| api == R::API_KEY)
        && rule.scope.client_id.as_deref().is_none_or(|wanted| client_id == Some(wanted))
}
