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

#[cfg(test)]
mod tests {
    use super::*;
    use ottla_config::Scope;

    /// Each config with a value of its own, and how the options show it.
    #[test]
    fn every_config_reaches_its_option() {
        let ssl = |get: fn(&TlsOptions) -> String| move |options: &SecurityOptions| get(&options.tls);
        let sasl = |get: fn(&SaslOptions) -> String| move |options: &SecurityOptions| get(&options.sasl);
        fn hidden(secret: &Option<Secret>) -> String {
            secret.as_ref().map(|secret| secret.reveal().to_owned()).unwrap_or_default()
        }
        fn text(text: &Option<String>) -> String {
            text.clone().unwrap_or_default()
        }
        type Get = Box<dyn Fn(&SecurityOptions) -> String>;
        let cases: Vec<(&str, &str, &str, Get)> = vec![
            ("security.protocol", "sasl_ssl", "SaslSsl", Box::new(|options| format!("{:?}", options.protocol))),
            ("ssl.enabled.protocols", "TLSv1.2", "TLSv1.2", Box::new(ssl(|tls| tls.enabled_protocols.join(",")))),
            ("ssl.cipher.suites", "A,B", "A,B", Box::new(ssl(|tls| tls.cipher_suites.join(",")))),
            (
                "ssl.endpoint.identification.algorithm",
                "",
                "",
                Box::new(ssl(|tls| tls.endpoint_identification_algorithm.clone())),
            ),
            ("ssl.truststore.type", "PEM", "PEM", Box::new(ssl(|tls| tls.truststore_type.clone()))),
            ("ssl.truststore.location", "/t", "/t", Box::new(ssl(|tls| text(&tls.truststore_location)))),
            ("ssl.truststore.password", "p", "p", Box::new(ssl(|tls| hidden(&tls.truststore_password)))),
            ("ssl.truststore.certificates", "c", "c", Box::new(ssl(|tls| hidden(&tls.truststore_certificates)))),
            ("ssl.keystore.type", "PKCS12", "PKCS12", Box::new(ssl(|tls| tls.keystore_type.clone()))),
            ("ssl.keystore.location", "/k", "/k", Box::new(ssl(|tls| text(&tls.keystore_location)))),
            ("ssl.keystore.password", "p", "p", Box::new(ssl(|tls| hidden(&tls.keystore_password)))),
            ("ssl.keystore.key", "k", "k", Box::new(ssl(|tls| hidden(&tls.keystore_key)))),
            ("ssl.keystore.certificate.chain", "c", "c", Box::new(ssl(|tls| hidden(&tls.keystore_certificate_chain)))),
            ("ssl.key.password", "p", "p", Box::new(ssl(|tls| hidden(&tls.key_password)))),
            ("sasl.mechanism", "PLAIN", "PLAIN", Box::new(sasl(|sasl| sasl.mechanism.clone()))),
            ("sasl.jaas.config", "x required;", "x required;", Box::new(sasl(|sasl| hidden(&sasl.jaas_config)))),
            (
                "sasl.oauthbearer.token.endpoint.url",
                "file:///t",
                "file:///t",
                Box::new(sasl(|sasl| text(&sasl.token_endpoint_url))),
            ),
            ("sasl.oauthbearer.client.credentials.client.id", "i", "i", Box::new(sasl(|sasl| text(&sasl.client_id)))),
            (
                "sasl.oauthbearer.client.credentials.client.secret",
                "s",
                "s",
                Box::new(sasl(|sasl| hidden(&sasl.client_secret))),
            ),
            ("sasl.oauthbearer.scope", "a b", "a b", Box::new(sasl(|sasl| text(&sasl.scope)))),
            ("sasl.oauthbearer.header.urlencode", "true", "true", Box::new(sasl(|s| s.header_urlencode.to_string()))),
            (
                "sasl.login.connect.timeout.ms",
                "7",
                "Some(7ms)",
                Box::new(sasl(|s| format!("{:?}", s.login_connect_timeout))),
            ),
            ("sasl.login.read.timeout.ms", "7", "Some(7ms)", Box::new(sasl(|s| format!("{:?}", s.login_read_timeout)))),
            ("sasl.login.retry.backoff.ms", "7", "7ms", Box::new(sasl(|s| format!("{:?}", s.login_retry_backoff)))),
            (
                "sasl.login.retry.backoff.max.ms",
                "7",
                "7ms",
                Box::new(sasl(|s| format!("{:?}", s.login_retry_backoff_max))),
            ),
            ("sasl.login.refresh.window.factor", "0.6", "0.6", Box::new(sasl(|s| s.refresh_window_factor.to_string()))),
            ("sasl.login.refresh.window.jitter", "0.1", "0.1", Box::new(sasl(|s| s.refresh_window_jitter.to_string()))),
            (
                "sasl.login.refresh.min.period.seconds",
                "7",
                "7s",
                Box::new(sasl(|s| format!("{:?}", s.refresh_min_period))),
            ),
            ("sasl.login.refresh.buffer.seconds", "7", "7s", Box::new(sasl(|s| format!("{:?}", s.refresh_buffer)))),
        ];
        let defaults = options(&Configs::defaults(Scope::Consumer));
        for (name, value, shown, get) in cases {
            let (configs, warnings) = Configs::parse(Scope::Consumer, [(name, value)]).unwrap();
            assert!(warnings.is_empty(), "{name}: {warnings:?}");
            assert_eq!(get(&options(&configs)), shown, "{name}");
            assert_ne!(get(&defaults), shown, "{name} is that by default");
        }
    }
}
