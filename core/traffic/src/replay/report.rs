//! What a replay has come to.

use ottla_protocol::ApiKey;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// So many fields are shown to a person, and so many of one request.
const SHOWN_MAX: usize = 50;
const SHOWN_OF_REQUEST_MAX: usize = 8;

/// A replay, counted and compared.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ReplayReport {
    /// Requests in the recording.
    pub requests: u64,
    /// Requests that were sent.
    pub sent: u64,
    /// Those whose outcome is that of the recording, ids, places and times apart.
    pub same: u64,
    /// Fetches among these that have more or less of the same records: others were producing while they were answered, so it is
    /// a matter of chance what was there already.
    pub by_timing: u64,
    /// Those whose outcome is another.
    pub different: u64,
    /// Those that were sent and have nothing to compare with: the recording ended before their answer, its body was withheld, or
    /// the broker was made to be silent.
    pub not_compared: u64,
    /// Those that were not sent.
    pub skipped: u64,
    /// Why they were not sent, and how many for each reason.
    pub skipped_because: BTreeMap<String, u64>,
    /// How often a request was sent again because the target was not ready; see [`ReplayOptions::retry`](crate::ReplayOptions).
    pub retries: u64,
    /// Connections that were made.
    pub connections: u64,
    /// What differs, field by field, in the order of the recording; the first of them, see
    /// [`ReplayOptions::differences_max`](crate::ReplayOptions).
    pub differences: Vec<Difference>,
    /// Differing fields that are not among the `differences`.
    pub more_differences: u64,
    /// Why the recording is not whole: it was cut off, is damaged or has a gap. What stands before that was replayed.
    pub incomplete: Option<String>,
}

/// One field of an answer that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// Which request of the recording, from 1 on.
    pub request: u64,
    /// The connection that it came on, as the recording has it.
    pub connection: u64,
    /// `client.id`.
    pub client_id: String,
    /// Which API.
    pub api: ApiKey,
    /// At which version.
    pub version: i16,
    /// The field, for example `responses[orders].partition_responses[0].error_code`; empty if it is the outcome as a whole.
    pub path: String,
    /// What was recorded.
    pub recorded: String,
    /// What the target answered.
    pub replayed: String,
}

/// What two differences that are alike have in common.
type Like<'a> = (ApiKey, i16, &'a str, &'a str, &'a str);

impl Difference {
    fn like(&self) -> Like<'_> {
        (self.api, self.version, &self.path, &self.recorded, &self.replayed)
    }
}

impl ReplayReport {
    /// Whether everything that can be compared is the same, and the recording was whole.
    pub fn is_same(&self) -> bool {
        self.different == 0 && self.incomplete.is_none()
    }

    pub(crate) fn skip(&mut self, reason: impl Into<String>) {
        self.skipped += 1;
        *self.skipped_because.entry(reason.into()).or_default() += 1;
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request {}, {} v{} of {}", self.request, self.api.name(), self.version, self.client_id)?;
        if !self.path.is_empty() {
            write!(f, ", {}", self.path)?;
        }
        write!(f, ": was {}, is {}", self.recorded, self.replayed)
    }
}

impl fmt::Display for ReplayReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} requests on {} connections: {} answered the same, {} differently",
            self.requests, self.connections, self.same, self.different
        )?;
        if self.by_timing > 0 {
            write!(f, " ({} fetches with more or less of the same)", self.by_timing)?;
        }
        if self.not_compared > 0 {
            write!(f, ", {} with nothing to compare with", self.not_compared)?;
        }
        if self.skipped > 0 {
            write!(f, ", {} not sent", self.skipped)?;
        }
        if self.retries > 0 {
            write!(f, "; {} sent again, as the broker was not ready", self.retries)?;
        }
        for (reason, count) in &self.skipped_because {
            write!(f, "\n  not sent, {count}: {reason}")?;
        }
        if let Some(reason) = &self.incomplete {
            write!(f, "\n  the recording is not whole: {reason}")?;
        }
        let (mut shown, mut fields, mut of_request) = (0, 0, (0, 0));
        // One that shows again and again, ApiVersions on each connection above all, is shown once.
        let mut times: HashMap<Like<'_>, u64> = HashMap::new();
        self.differences.iter().for_each(|difference| *times.entry(difference.like()).or_default() += 1);
        for difference in &self.differences {
            let Some(times) = times.remove(&difference.like()) else { continue };
            of_request = (difference.request, if of_request.0 == difference.request { of_request.1 + 1 } else { 1 });
            if shown < SHOWN_MAX && of_request.1 <= SHOWN_OF_REQUEST_MAX {
                write!(f, "\n  {difference}")?;
                if times > 1 {
                    write!(f, " (and in {} more requests)", times - 1)?;
                }
                shown += 1;
                fields += times;
            }
        }
        let more = self.more_differences + self.differences.len() as u64 - fields;
        if more > 0 {
            write!(f, "\n  and {more} more fields")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shows_again_is_shown_once_and_all_is_counted() {
        let difference = |request, path: &str| Difference {
            request,
            connection: 1,
            client_id: "c".to_owned(),
            api: ApiKey::ApiVersions,
            version: 4,
            path: path.to_owned(),
            recorded: "1".to_owned(),
            replayed: "2".to_owned(),
        };
        let mut report = ReplayReport { requests: 3, different: 3, more_differences: 5, ..ReplayReport::default() };
        report.differences = (1..=3).map(|request| difference(request, "api_keys.len")).collect();
        report.differences.extend((0..20).map(|field| difference(3, &field.to_string())));
        let text = report.to_string();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert_eq!(lines[1], "request 1, ApiVersions v4 of c, api_keys.len: was 1, is 2 (and in 2 more requests)");
        assert_eq!(lines.len(), 2 + SHOWN_OF_REQUEST_MAX + 1, "{text}");
        assert_eq!(lines.last(), Some(&"and 17 more fields"), "{text}");
    }
}
