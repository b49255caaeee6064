//! The two generated files that are about all messages: the table of requests and the module list.

use std::fmt::Write;

use super::emit::{HEAD, flexible_from};
use super::schema::{Message, snake};

/// The request table, in the order of the keys.
pub fn api_keys(messages: &[Message]) -> Result<String, String> {
    let mut requests: Vec<&Message> = messages.iter().filter(|m| m.kind == "request").collect();
    requests.sort_by_key(|m| m.api_key);
    let (mut variants, mut all, mut rows) = (String::new(), String::new(), String::new());
    let mut next = 0;
    for request in requests {
        let key = request.api_key.ok_or(format!("{} has no apiKey", request.name))?;
        let name = short(request);
        let response = messages
            .iter()
            .find(|m| m.name == format!("{name}Response"))
            .ok_or(format!("{} has no response", request.name))?;
        if response.versions != request.versions || response.api_key != request.api_key {
            return Err(format!("{name}'s request and response differ in their key or versions"));
        }
        for _ in next..key {
            rows.push_str("None,");
        }
        next = key + 1;
        let (low, high) = (request.versions.low, request.versions.high);
        let stable = if request.unstable { high - 1 } else { high };
        let on = |listener: &str| request.listeners.iter().any(|l| l == listener);
        let _ = writeln!(variants, "/// Versions {low} to {stable}.\n{name} = {key},");
        let _ = write!(all, "ApiKey::{name},");
        let _ = writeln!(
            rows,
            "Some(Row {{ key: ApiKey::{name}, name: \"{name}\", broker: {}, controller: {}, lowest: {low}, highest: {high}, \
             highest_stable: {stable}, request_flexible: {}, response_flexible: {} }}),",
            on("broker"),
            on("controller"),
            flexible_from(request),
            flexible_from(response),
        );
    }
    Ok(format!(
        "{HEAD}\nuse crate::runtime::Row;\n\n/// The kinds of requests, by the number in the request header.\n\
         #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]\n#[repr(i16)]\n\
         pub enum ApiKey {{\n{variants}}}\n\npub(crate) const ALL: &[ApiKey] = &[{all}];\n\n\
         pub(crate) static ROWS: [Option<Row>; {next}] = [{rows}];\n"
    ))
}

fn short(request: &Message) -> &str {
    request.name.strip_suffix("Request").unwrap_or(&request.name)
}

/// The module list and the macro with all names.
pub fn module(messages: &[Message]) -> String {
    let mut sorted: Vec<&Message> = messages.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let mut out = format!("{HEAD}\npub(crate) mod api_key;\n");
    for message in &sorted {
        let _ = writeln!(out, "pub mod {};", snake(&message.name));
    }
    out.push_str("\npub use api_key::ApiKey;\n");
    for message in &sorted {
        let _ = writeln!(out, "pub use {}::{};", snake(&message.name), message.name);
    }
    let names = |of: &dyn Fn(&str) -> bool| {
        sorted.iter().filter(|m| of(&m.kind)).map(|m| m.name.as_str()).collect::<Vec<_>>().join(" ")
    };
    let _ = write!(
        out,
        "\n/// Calls a macro with the names of all messages, for tests that visit each: `requests [...] responses [...] others\n\
         /// [...]`.\n#[macro_export]\nmacro_rules! all_messages {{\n    ($callback:ident) => {{\n        $callback! {{\n\
                     requests [{}]\n            responses [{}]\n            others [{}]\n        }}\n    }};\n}}\n",
        names(&|kind| kind == "request"),
        names(&|kind| kind == "response"),
        names(&|kind| kind != "request" && kind != "response"),
    );
    out
}
