//! The one table of requests: what ApiVersions advertises, what the dispatcher accepts and which headers go with it.

pub use crate::generated::api_key::ApiKey;
use crate::generated::api_key::{ALL, ROWS};

/// What the schemas say about one request.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub key: ApiKey,
    pub name: &'static str,
    pub broker: bool,
    pub controller: bool,
    pub lowest: i16,
    pub highest: i16,
    pub highest_stable: i16,
    /// The first flexible version of the request; `i16::MAX` when there is none.
    pub request_flexible: i16,
    /// The same for the response.
    pub response_flexible: i16,
}

impl ApiKey {
    /// All keys, ascending.
    pub const ALL: &'static [ApiKey] = ALL;

    /// The key with this number, if Apache Kafka 4.4 has it (4 to 7 are gone).
    pub fn from_code(code: i16) -> Option<ApiKey> {
        let row = ROWS.get(usize::try_from(code).ok()?)?;
        row.as_ref().map(|row| row.key)
    }

    /// The number in the request header.
    pub const fn code(self) -> i16 {
        self as i16
    }

    fn row(self) -> &'static Row {
        ROWS[self as usize].as_ref().expect("the generator writes a row for each key")
    }

    /// Kafka's name, for example `ApiVersions`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The lowest and the highest stable version. Lower than the lowest is refused by Apache Kafka too.
    pub fn versions(self) -> (i16, i16) {
        (self.row().lowest, self.row().highest_stable)
    }

    /// The highest version that the schema has, stable or not.
    pub fn highest_version(self) -> i16 {
        self.row().highest
    }

    /// Whether a broker's listener serves it.
    pub fn on_broker(self) -> bool {
        self.row().broker
    }

    /// Whether a controller's listener serves it.
    pub fn on_controller(self) -> bool {
        self.row().controller
    }

    /// The version of the request header: 2 with flexible versions of the request, 1 otherwise. Version 0 went with
    /// ControlledShutdown.
    pub fn request_header_version(self, version: i16) -> i16 {
        if version >= self.row().request_flexible { 2 } else { 1 }
    }

    /// The version of the response header: 1 with flexible versions of the response, 0 otherwise. ApiVersions always has 0,
    /// because its reader does not know yet what the other side speaks (KIP-511).
    pub fn response_header_version(self, version: i16) -> i16 {
        if self != ApiKey::ApiVersions && version >= self.row().response_flexible { 1 } else { 0 }
    }
}

impl std::fmt::Display for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_by_number() {
        for (code, row) in ROWS.iter().enumerate() {
            assert!(row.as_ref().is_none_or(|row| row.key as usize == code));
        }
        assert_eq!(ALL.len(), ROWS.iter().flatten().count());
        assert!([-1, 4, 5, 6, 7, i16::MAX].iter().all(|code| ApiKey::from_code(*code).is_none()));
        assert_eq!(ApiKey::from_code(0), Some(ApiKey::Produce));
    }

    #[test]
    fn versions_and_headers_are_kafkas() {
        assert_eq!(ApiKey::Produce.versions(), (3, 13));
        assert_eq!((ApiKey::Produce.request_header_version(8), ApiKey::Produce.request_header_version(9)), (1, 2));
        assert_eq!((ApiKey::Produce.response_header_version(8), ApiKey::Produce.response_header_version(9)), (0, 1));
        assert_eq!(ApiKey::ApiVersions.request_header_version(3), 2);
        assert_eq!(ApiKey::ApiVersions.response_header_version(3), 0);
        assert_eq!(ApiKey::SaslHandshake.request_header_version(1), 1);
        assert!(ApiKey::InitProducerId.versions().1 < ApiKey::InitProducerId.highest_version());
        assert!(ApiKey::Fetch.on_broker() && ApiKey::Fetch.on_controller() && !ApiKey::Vote.on_broker());
    }
}
