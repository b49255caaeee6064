//! ListTransactions (66): the transactional ids of this broker (KIP-664). v1 has a filter by duration (KIP-994), v2 one by a
//! pattern that the whole id has to match (KIP-1152).

use crate::authorizer::Authorized;
use crate::dispatch::Reply;
use crate::node::Node;
use ottla_coordinator::transaction::{TxnFilter, TxnState};
use ottla_model::{ErrorCode, Str};
use ottla_protocol::list_transactions_response::TransactionState;
use ottla_protocol::{ListTransactionsRequest, ListTransactionsResponse};
// Of bytes: without Unicode a dot may match part of a character, which patterns for text refuse.
use regex::bytes::RegexBuilder;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a compiled pattern may need, bytes.
const PATTERN_SIZE_MAX: usize = 1 << 20;

pub(crate) async fn handle(
    node: &Arc<Node>,
    request: Authorized<ListTransactionsRequest>,
) -> Reply<ListTransactionsResponse> {
    let (states, unknown): (Vec<_>, Vec<_>) =
        request.state_filters.iter().map(|name| (TxnState::from_name(name), name)).partition(|(it, _)| it.is_some());
    let unknown: BTreeSet<&str> = unknown.into_iter().map(|(_, name)| &**name).collect();
    let unknown_state_filters = unknown.into_iter().map(Str::from).collect();
    let response = ListTransactionsResponse { unknown_state_filters, ..Default::default() };
    let pattern = request.transactional_id_pattern.as_deref().filter(|pattern| !pattern.is_empty());
    let pattern = pattern.map(|pattern| {
        RegexBuilder::new(&format!("^(?:{pattern})$")).unicode(false).size_limit(PATTERN_SIZE_MAX).build()
    });
    let Ok(pattern) = pattern.transpose() else {
        return failed(response, ErrorCode::InvalidRegularExpression);
    };
    let filter = TxnFilter {
        states: states.into_iter().filter_map(|(state, _)| state).collect(),
        producer_ids: request.producer_id_filters.clone(),
        open_for_more_than_ms: Some(request.duration_filter).filter(|duration| *duration >= 0),
    };
    // Only states that do not exist were asked for: nothing is in them.
    if filter.states.is_empty() && !request.state_filters.is_empty() {
        return response.into();
    }
    let now_ms = node.env.now_ms();
    let listed = node.transactions.read_all(|shard| {
        let found = shard.list(now_ms, &filter).into_iter();
        let matching = found.filter(|(id, _)| pattern.as_ref().is_none_or(|pattern| pattern.is_match(id.as_bytes())));
        let state = matching.map(|(id, image)| TransactionState {
            transactional_id: id.into(),
            producer_id: image.producer_id,
            transaction_state: image.state.name().into(),
            ..Default::default()
        });
        state.collect::<Vec<_>>()
    });
    match listed {
        Ok(listed) => {
            let transaction_states = listed.into_iter().flatten().collect();
            ListTransactionsResponse { transaction_states, ..response }.into()
        }
        Err(error) => failed(response, error),
    }
}

fn failed(response: ListTransactionsResponse, error: ErrorCode) -> Reply<ListTransactionsResponse> {
    ListTransactionsResponse { error_code: error.code(), ..response }.into()
}
