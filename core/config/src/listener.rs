//! Listeners: `NAME://host:port` lists, the protocol map, and the checks between them.
//!
//! Deliberately not here: binding. An empty host means every interface when bound, and the machine's own name when
//! advertised; the broker fills that in.

use std::fmt;

use crate::ConfigError;

/// How a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecurityProtocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl SecurityProtocol {
    /// Kafka's name, as in `listener.security.protocol.map`.
    pub fn name(self) -> &'static str {
        match self {
            SecurityProtocol::Plaintext => "PLAINTEXT",
            SecurityProtocol::Ssl => "SSL",
            SecurityProtocol::SaslPlaintext => "SASL_PLAINTEXT",
            SecurityProtocol::SaslSsl => "SASL_SSL",
        }
    }

    /// Reads Kafka's name, in any case.
    pub fn from_name(name: &str) -> Option<SecurityProtocol> {
        [Self::Plaintext, Self::Ssl, Self::SaslPlaintext, Self::SaslSsl]
            .into_iter()
            .find(|p| p.name().eq_ignore_ascii_case(name))
    }

    /// The code in metadata records (PLAINTEXT 0, SSL 1, SASL_PLAINTEXT 2, SASL_SSL 3).
    pub fn code(self) -> i16 {
        self as i16
    }
}

/// One named address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Upper case, as Kafka keeps it.
    pub name: String,
    pub protocol: SecurityProtocol,
    /// Without the brackets of an IPv6 address. Empty: see the module's head.
    pub host: String,
    /// 0 takes a free one.
    pub port: u16,
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "{}://[{}]:{}", self.name, self.host, self.port)
        } else {
            write!(f, "{}://{}:{}", self.name, self.host, self.port)
        }
    }
}

/// `NAME:PROTOCOL` pairs of `listener.security.protocol.map`.
pub(crate) type ProtocolMap = Vec<(String, SecurityProtocol)>;

pub(crate) fn parse_map(key: &str, text: &str) -> Result<ProtocolMap, ConfigError> {
    let mut map = ProtocolMap::new();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let expected = "Expected NAME:PROTOCOL pairs, PROTOCOL one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL";
        let (name, protocol) = item
            .rsplit_once(':')
            .and_then(|(name, p)| Some((name.trim().to_uppercase(), SecurityProtocol::from_name(p.trim())?)))
            .ok_or_else(|| ConfigError::value(key, item, expected))?;
        map.push((name, protocol));
    }
    Ok(map)
}

/// The protocol of a listener name: from the map, else by a protocol of that name; a controller's name is plaintext
/// when nothing says otherwise, as in Kafka.
fn protocol_of(name: &str, map: &ProtocolMap, controllers: &[String]) -> Option<SecurityProtocol> {
    map.iter()
        .find_map(|(n, p)| (n == name).then_some(*p))
        .or_else(|| SecurityProtocol::from_name(name))
        .or_else(|| controllers.iter().any(|c| c == name).then_some(SecurityProtocol::Plaintext))
}

/// Reads a list of listeners under the config name `key`.
pub(crate) fn parse_list(
    key: &str,
    text: &str,
    map: &ProtocolMap,
    controllers: &[String],
) -> Result<Vec<Listener>, ConfigError> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(|item| parse_one(key, item, map, controllers))
        .collect()
}

fn parse_one(key: &str, item: &str, map: &ProtocolMap, controllers: &[String]) -> Result<Listener, ConfigError> {
    let malformed = || ConfigError::value(key, item, "Expected NAME://host:port, such as PLAINTEXT://127.0.0.1:9092");
    let (name, address) = item.split_once("://").ok_or_else(malformed)?;
    let name_is_plain = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
    };
    let (host, port) = address.rsplit_once(':').ok_or_else(malformed)?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').ok_or_else(malformed)?,
        None if host.contains(':') => {
            return Err(ConfigError::value(
                key,
                item,
                "An IPv6 address needs brackets, such as PLAINTEXT://[::1]:9092",
            ));
        }
        None => host,
    };
    if !name_is_plain(name) || host.contains(['/', '[', ']', ' ']) {
        return Err(malformed());
    }
    let port = port.parse().map_err(|_| ConfigError::value(key, item, "Expected a port from 0 to 65535"))?;
    let name = name.to_uppercase();
    let protocol = protocol_of(&name, map, controllers).ok_or_else(|| {
        let expected = format!(
            "No security protocol for listener {name}; add {name}:PLAINTEXT (or another) to \
             listener.security.protocol.map"
        );
        ConfigError::value(key, item, expected)
    })?;
    Ok(Listener { name, protocol, host: host.to_owned(), port })
}

/// Names must be unique; ports too, except 0, and except one IPv4 and one IPv6 address on the same port.
pub(crate) fn check_unique(key: &str, text: &str, list: &[Listener], ports: bool) -> Result<(), ConfigError> {
    for (i, a) in list.iter().enumerate() {
        for b in &list[..i] {
            if a.name == b.name {
                return Err(ConfigError::value(
                    key,
                    text,
                    format!("Each listener must have a different name, {} comes twice", a.name),
                ));
            }
            let one_of_each_family = a.host.contains(':') != b.host.contains(':') && is_literal(a) && is_literal(b);
            if ports && a.port != 0 && a.port == b.port && !one_of_each_family {
                return Err(ConfigError::value(
                    key,
                    text,
                    format!("Each listener must have a different port, {} comes twice", a.port),
                ));
            }
        }
    }
    Ok(())
}

fn is_literal(listener: &Listener) -> bool {
    listener.host.parse::<std::net::IpAddr>().is_ok()
}

/// True for an address no client can connect to.
pub(crate) fn is_wildcard(host: &str) -> bool {
    host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_unspecified())
}
