//! The cases, by what they show.

use super::{Case, Expect};
use ottla_client::ErrorKind::{self, Auth, Invalid, Retriable};

const TRUST: (&str, &str) = ("ssl.truststore.location", "DIR/trust.pem");

fn case(name: &'static str, listener: &'static str, expect: Expect, configs: &[(&'static str, &str)]) -> Case {
    let configs = configs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Case { name, listener, configs, expect }
}

fn works(name: &'static str, listener: &'static str, configs: &[(&'static str, &str)]) -> Case {
    case(name, listener, Expect::Works, configs)
}

fn fails(
    name: &'static str,
    listener: &'static str,
    kind: ErrorKind,
    words: &'static [&'static str],
    configs: &[(&'static str, &str)],
) -> Case {
    case(name, listener, Expect::Fails(kind, words), configs)
}

pub(super) fn all() -> Vec<Case> {
    [stores(), handshakes(), mutual(), sasl(), mistakes(), telemetry()].into_iter().flatten().collect()
}

const SSL: (&str, &str) = ("security.protocol", "SSL");

/// Where trust comes from.
fn stores() -> Vec<Case> {
    let password = ("ssl.truststore.password", "store-secret");
    vec![
        works("trust_pem", "SSL", &[SSL, TRUST, ("ssl.truststore.type", "PEM")]),
        works("trust_p12", "SSL", &[SSL, ("ssl.truststore.location", "DIR/trust.p12"), password]),
        works("trust_jks", "SSL", &[SSL, ("ssl.truststore.location", "DIR/trust.jks"), password]),
        fails(
            "trust_jks_wrong_password",
            "SSL",
            Invalid,
            &["trust.jks", "password is wrong"],
            &[SSL, ("ssl.truststore.location", "DIR/trust.jks"), ("ssl.truststore.password", "other-secret")],
        ),
        fails(
            "trust_p12_wrong_password",
            "SSL",
            Invalid,
            &["trust.p12", "password"],
            &[SSL, ("ssl.truststore.location", "DIR/trust.p12"), ("ssl.truststore.password", "other-secret")],
        ),
        fails(
            "trust_missing_file",
            "SSL",
            Invalid,
            &["ssl.truststore.location", "nothing.pem", "No such file"],
            &[SSL, ("ssl.truststore.location", "DIR/nothing.pem")],
        ),
        fails(
            "trust_unknown_type",
            "SSL",
            Invalid,
            &["BCFKS", "keytool"],
            &[SSL, TRUST, ("ssl.truststore.type", "BCFKS")],
        ),
    ]
}

/// What the two sides agree on, or do not.
fn handshakes() -> Vec<Case> {
    let two = ("ssl.enabled.protocols", "TLSv1.2");
    let suite = ("ssl.cipher.suites", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384");
    vec![
        works("tls_1_2_with_one_suite", "SSL", &[SSL, TRUST, two, suite]),
        works("tls_1_3", "SSL", &[SSL, TRUST, ("ssl.enabled.protocols", "TLSv1.3")]),
        works("name_unchecked", "SSL@localhost", &[SSL, TRUST, ("ssl.endpoint.identification.algorithm", "")]),
        fails("name_mismatch", "SSL@localhost", Auth, &["another name", "localhost"], &[SSL, TRUST]),
        fails(
            "unknown_issuer",
            "SSL",
            Auth,
            &["unknown issuer", "ssl.truststore.location"],
            &[SSL, ("ssl.truststore.location", "DIR/client.pem")],
        ),
        fails("expired", "EXPIRED", Auth, &["has expired"], &[SSL, TRUST]),
        fails("protocol_version", "MUTUAL", Auth, &["ssl.enabled.protocols"], &[SSL, TRUST, two]),
        fails(
            "cipher_unknown",
            "SSL",
            Invalid,
            &["TLS_X", "is not offered"],
            &[SSL, TRUST, ("ssl.cipher.suites", "TLS_X")],
        ),
        fails("protocol_unknown", "SSL", Invalid, &["SSLv3"], &[SSL, TRUST, ("ssl.enabled.protocols", "SSLv3")]),
    ]
}

/// The client's own certificate. This listener speaks TLS 1.3 alone, where a refusal comes after the handshake.
fn mutual() -> Vec<Case> {
    let store = ("ssl.keystore.password", "store-secret");
    vec![
        works("mutual_p12", "MUTUAL", &[SSL, TRUST, ("ssl.keystore.location", "DIR/client.p12"), store]),
        works(
            "mutual_jks",
            "MUTUAL",
            &[SSL, TRUST, ("ssl.keystore.location", "DIR/client.jks"), store, ("ssl.key.password", "store-secret")],
        ),
        works(
            "mutual_encrypted_pem",
            "MUTUAL",
            &[
                SSL,
                TRUST,
                ("ssl.keystore.type", "PEM"),
                ("ssl.keystore.location", "DIR/client-key.pem"),
                ("ssl.key.password", "key-secret"),
            ],
        ),
        fails(
            "mutual_wrong_key_password",
            "MUTUAL",
            Invalid,
            &["ssl.key.password does not open"],
            &[
                SSL,
                TRUST,
                ("ssl.keystore.type", "PEM"),
                ("ssl.keystore.location", "DIR/client-key.pem"),
                ("ssl.key.password", "other-secret"),
            ],
        ),
        fails("mutual_without", "MUTUAL", Auth, &["wants a certificate", "ssl.keystore.location"], &[SSL, TRUST]),
        fails(
            "mutual_stranger",
            "MUTUAL",
            Auth,
            &["does not accept the certificate"],
            &[SSL, TRUST, ("ssl.keystore.location", "DIR/stranger.p12"), store],
        ),
    ]
}

const PLAIN: (&str, &str) = ("sasl.mechanism", "PLAIN");
const ALICE: (&str, &str) = (
    "sasl.jaas.config",
    "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"alice\" password=\"alice-secret\";",
);
const SCRAM_ALICE: (&str, &str) = (
    "sasl.jaas.config",
    "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"alice\" password=\"alice-secret\";",
);
const OAUTH_ALICE: (&str, &str) = (
    "sasl.jaas.config",
    "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"alice\";",
);

fn sasl() -> Vec<Case> {
    let clear = ("security.protocol", "SASL_PLAINTEXT");
    let tls = ("security.protocol", "SASL_SSL");
    let mechanism = |name| ("sasl.mechanism", name);
    vec![
        works("plain", "SASL_PLAINTEXT", &[clear, PLAIN, ALICE]),
        works(
            "plain_beyond_ascii",
            "SASL_PLAINTEXT",
            &[
                clear,
                PLAIN,
                ("sasl.jaas.config", "x.PlainLoginModule required username='zoë' password='pä;ß=\"-secret';"),
            ],
        ),
        works("scram_256", "SASL_PLAINTEXT", &[clear, mechanism("SCRAM-SHA-256"), SCRAM_ALICE]),
        works("scram_512", "SASL_PLAINTEXT", &[clear, mechanism("SCRAM-SHA-512"), SCRAM_ALICE]),
        works("oauthbearer", "SASL_PLAINTEXT", &[clear, mechanism("OAUTHBEARER"), OAUTH_ALICE]),
        works(
            "oauthbearer_token_file",
            "SASL_PLAINTEXT",
            &[clear, mechanism("OAUTHBEARER"), ("sasl.oauthbearer.token.endpoint.url", "file://DIR/token")],
        ),
        works("plain_over_tls", "SASL_SSL", &[tls, TRUST, PLAIN, ALICE]),
        works("scram_512_over_tls", "SASL_SSL", &[tls, TRUST, mechanism("SCRAM-SHA-512"), SCRAM_ALICE]),
        case("plain_session_is_renewed", "SASL_SSL", Expect::Renews, &[tls, TRUST, PLAIN, ALICE]),
        case(
            "scram_session_is_renewed",
            "SASL_SSL",
            Expect::Renews,
            &[tls, TRUST, mechanism("SCRAM-SHA-256"), SCRAM_ALICE],
        ),
        fails(
            "plain_wrong_password",
            "SASL_PLAINTEXT",
            Auth,
            &["SASL PLAIN failed", "Invalid username or password"],
            &[clear, PLAIN, ("sasl.jaas.config", "x.PlainLoginModule required username=alice password=x-secret;")],
        ),
        fails(
            "scram_wrong_password",
            "SASL_PLAINTEXT",
            Auth,
            &["SASL SCRAM-SHA-256 failed", "invalid credentials"],
            &[
                clear,
                mechanism("SCRAM-SHA-256"),
                ("sasl.jaas.config", "x.ScramLoginModule required username=alice password=x-secret;"),
            ],
        ),
        fails(
            "oauthbearer_ended_token",
            "SASL_PLAINTEXT",
            Auth,
            &["ended already"],
            &[clear, mechanism("OAUTHBEARER"), ("sasl.oauthbearer.token.endpoint.url", "file://DIR/old-token")],
        ),
        fails(
            "oauthbearer_refused_token",
            "SASL_PLAINTEXT",
            Auth,
            &["SASL OAUTHBEARER failed", "invalid_token"],
            &[clear, mechanism("OAUTHBEARER"), ("sasl.oauthbearer.token.endpoint.url", "file://DIR/signed-token")],
        ),
        fails(
            "mechanism_not_offered",
            "SASL_SSL",
            Auth,
            &["does not offer it", "PLAIN", "SCRAM-SHA-512"],
            &[tls, TRUST, mechanism("OAUTHBEARER"), OAUTH_ALICE],
        ),
        fails("mechanism_unset", "SASL_PLAINTEXT", Invalid, &["GSSAPI", "set PLAIN"], &[clear, ALICE]),
    ]
}

/// The wrong protocol for the port, and no port at all.
fn mistakes() -> Vec<Case> {
    let soon = ("request.timeout.ms", "5000");
    let clear = ("security.protocol", "SASL_PLAINTEXT");
    vec![
        fails("plaintext_to_tls", "SSL", Retriable, &["TLS"], &[soon]),
        fails(
            "tls_to_plaintext",
            "PLAINTEXT",
            Retriable,
            &["is this a TLS listener?", "security.protocol"],
            &[SSL, TRUST],
        ),
        fails("plaintext_to_sasl", "SASL_PLAINTEXT", Retriable, &["want SASL", "security.protocol"], &[soon]),
        fails(
            "sasl_to_plaintext",
            "PLAINTEXT",
            Auth,
            &["does not want SASL", "security.protocol"],
            &[clear, PLAIN, ALICE],
        ),
        fails("nobody_listens", "127.0.0.1:1", Retriable, &["127.0.0.1:1", "refused"], &[]),
        fails(
            "no_such_host",
            "no-such-host.invalid:9092",
            Invalid,
            &["bootstrap.servers", "no-such-host.invalid"],
            &[],
        ),
    ]
}

fn telemetry() -> Vec<Case> {
    vec![case("metrics_are_pushed", "PLAINTEXT", Expect::Pushes, &[("enable.metrics.push", "true")])]
}
