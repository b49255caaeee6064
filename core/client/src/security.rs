//! `security.protocol`, `ssl.*` and `sasl.*` from a client's configs. What they mean is in ottla-wire.

use ottla_config::Configs;
use ottla_wire::{SaslOptions, Secret, SecurityOptions, SecurityProtocol, TlsOptions};
use std::time::Duration;

pub(crate) fn options(configs: &Configs) -> SecurityOptions {
    let protocol = configs.text("security.protocol").and_then(|name| SecurityProtocol::parse(&name));
    SecurityOptions { protocol: protocol.unwrap_or_default(), tls: tls(configs), sasl: sasl(configs) }
}

fn tls(configs: &Configs) -> TlsOptions {
    let text = |name: &str| configs.text(name).filter(|text| !text.is_empty());
    let secret = |name: &str| text(name).map(Secret::new);
    TlsOptions {
        enabled_protocols: configs.list("ssl.enabled.protocols"),
        cipher_suites: configs.list("ssl.cipher.suites"),
        endpoint_identification_algorithm: configs.text("ssl.endpoint.identification.algorithm").unwrap_or_default(),
        truststore_type: text("ssl.truststore.type").unwrap_or_default(),
        truststore_location: text("ssl.truststore.location"),
        truststore_password: secret("ssl.truststore.password"),
        truststore_certificates: secret("ssl.truststore.certificates"),
        keystore_type: text("ssl.keystore.type").unwrap_or_default(),
        keystore_location: text("ssl.keystore.location"),
        keystore_password: secret("ssl.keystore.password"),
        keystore_key: secret("ssl.keystore.key"),
        keystore_certificate_chain: secret("ssl.keystore.certificate.chain"),
        key_password: secret("ssl.key.password"),
    }
}

fn sasl(configs: &Configs) -> SaslOptions {
    let text = |name: &str| configs.text(name).filter(|text| !text.is_empty());
    let secret = |name: &str| text(name).map(Secret::new);
    let seconds = |name: &str| configs.size(name).map_or(Duration::ZERO, |s| Duration::from_secs(s as u64));
    let ms = |name: &str| configs.ms(name).unwrap_or_default();
    SaslOptions {
        mechanism: text("sasl.mechanism").unwrap_or_default(),
        jaas_config: secret("sasl.jaas.config"),
        token_provider: None,
        token_endpoint_url: text("sasl.oauthbearer.token.endpoint.url"),
        client_id: text("sasl.oauthbearer.client.credentials.client.id"),
        client_secret: secret("sasl.oauthbearer.client.credentials.client.secret"),
        scope: text("sasl.oauthbearer.scope"),
        header_urlencode: configs.flag("sasl.oauthbearer.header.urlencode"),
        login_connect_timeout: configs.ms("sasl.login.connect.timeout.ms"),
        login_read_timeout: configs.ms("sasl.login.read.timeout.ms"),
        login_retry_backoff: ms("sasl.login.retry.backoff.ms"),
        login_retry_backoff_max: ms("sasl.login.retry.backoff.max.ms"),
        refresh_window_factor: configs.double("sasl.login.refresh.window.factor").unwrap_or(0.8),
        refresh_window_jitter: configs.double("sasl.login.refresh.window.jitter").unwrap_or(0.05),
        refresh_min_period: seconds("sasl.login.refresh.min.period.seconds"),
        refresh_buffer: seconds("sasl.login.refresh.buffer.seconds"),
    }
}
