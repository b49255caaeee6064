//! SASL on the client's side: PLAIN, SCRAM and OAUTHBEARER over SaslHandshake and SaslAuthenticate (KIP-43, KIP-152).
//!
//! A failure is final: the broker's own words are in the error, and wrong credentials are not tried again.
//! Deliberately not here: GSSAPI (Kerberos), and custom mechanisms of Java's login modules.

mod http;
mod jaas;
mod oauth;
mod scram;

pub use oauth::{OauthToken, OauthTokenFuture, OauthTokenProvider};

use crate::client::{ClientConnection, ClientError};
use crate::security::{Secret, TlsOptions};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use jaas::Jaas;
use oauth::Login;
use ottla_env::Env;
use ottla_model::{ErrorCode, Str};
use ottla_protocol::sasl_authenticate_request::SaslAuthenticateRequest;
use ottla_protocol::sasl_authenticate_response::SaslAuthenticateResponse;
use ottla_protocol::sasl_handshake_request::SaslHandshakeRequest;
use scram::{ClientFirst, Hash};
use std::sync::Arc;
use std::time::Duration;

/// `sasl.*`, under Kafka's names and with its defaults.
#[derive(Debug, Clone)]
pub struct SaslOptions {
    /// `sasl.mechanism`: `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512` or `OAUTHBEARER`.
    pub mechanism: String,
    /// `sasl.jaas.config`, in Java's syntax.
    pub jaas_config: Option<Secret>,
    /// Where tokens of OAUTHBEARER come from, in place of what the configs say.
    pub token_provider: Option<Arc<dyn OauthTokenProvider>>,
    /// `sasl.oauthbearer.token.endpoint.url`: `https://...` for the client credentials grant, `file://...` for a token
    /// that something else keeps up to date.
    pub token_endpoint_url: Option<String>,
    /// `sasl.oauthbearer.client.credentials.client.id`, else `clientId` of the JAAS line.
    pub client_id: Option<String>,
    /// `sasl.oauthbearer.client.credentials.client.secret`, else `clientSecret` of the JAAS line.
    pub client_secret: Option<Secret>,
    /// `sasl.oauthbearer.scope`, else `scope` of the JAAS line.
    pub scope: Option<String>,
    /// `sasl.oauthbearer.header.urlencode`.
    pub header_urlencode: bool,
    /// `sasl.login.connect.timeout.ms`.
    pub login_connect_timeout: Option<Duration>,
    /// `sasl.login.read.timeout.ms`.
    pub login_read_timeout: Option<Duration>,
    /// `sasl.login.retry.backoff.ms`.
    pub login_retry_backoff: Duration,
    /// `sasl.login.retry.backoff.max.ms`, which is also how long fetching a token is tried.
    pub login_retry_backoff_max: Duration,
    /// `sasl.login.refresh.window.factor`.
    pub refresh_window_factor: f64,
    /// `sasl.login.refresh.window.jitter`.
    pub refresh_window_jitter: f64,
    /// `sasl.login.refresh.min.period.seconds`.
    pub refresh_min_period: Duration,
    /// `sasl.login.refresh.buffer.seconds`.
    pub refresh_buffer: Duration,
}

impl Default for SaslOptions {
    fn default() -> SaslOptions {
        SaslOptions {
            mechanism: "GSSAPI".to_owned(),
            jaas_config: None,
            token_provider: None,
            token_endpoint_url: None,
            client_id: None,
            client_secret: None,
            scope: None,
            header_urlencode: false,
            login_connect_timeout: None,
            login_read_timeout: None,
            login_retry_backoff: Duration::from_millis(100),
            login_retry_backoff_max: Duration::from_secs(10),
            refresh_window_factor: 0.8,
            refresh_window_jitter: 0.05,
            refresh_min_period: Duration::from_secs(60),
            refresh_buffer: Duration::from_secs(300),
        }
    }
}

/// A mechanism with its credentials, shared by the connections of a client.
#[derive(Debug)]
pub(crate) struct Sasl {
    env: Env,
    mechanism: &'static str,
    credentials: Credentials,
}

#[derive(Debug)]
enum Credentials {
    Plain { user: String, password: Secret },
    Scram { hash: Hash, user: String, password: Secret, token: bool },
    Oauth(Login),
}

impl Sasl {
    pub(crate) fn new(env: &Env, options: &SaslOptions, tls: &TlsOptions) -> Result<Sasl, String> {
        let jaas = match &options.jaas_config {
            Some(line) => Some(Jaas::parse(line.reveal()).map_err(|reason| format!("sasl.jaas.config: {reason}"))?),
            None => None,
        };
        let (mechanism, module) = match options.mechanism.as_str() {
            "PLAIN" => ("PLAIN", "PlainLoginModule"),
            "SCRAM-SHA-256" => ("SCRAM-SHA-256", "ScramLoginModule"),
            "SCRAM-SHA-512" => ("SCRAM-SHA-512", "ScramLoginModule"),
            "OAUTHBEARER" => ("OAUTHBEARER", "OAuthBearerLoginModule"),
            "GSSAPI" => {
                return Err("sasl.mechanism is GSSAPI (Kerberos), its default, which this client does not speak; set \
                            PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER"
                    .to_owned());
            }
            other => {
                return Err(format!(
                    "sasl.mechanism: {other} is not one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER"
                ));
            }
        };
        if let Some(jaas) = &jaas
            && jaas.module.rsplit('.').next() != Some(module)
        {
            return Err(format!("sasl.jaas.config names {}, but {mechanism} needs {module}", jaas.module));
        }
        let option = |name: &str| {
            let jaas = jaas.as_ref().ok_or_else(|| format!("sasl.mechanism={mechanism} needs sasl.jaas.config"))?;
            jaas.get(name).map(str::to_owned).ok_or_else(|| format!("sasl.jaas.config has no {name}=\"...\""))
        };
        let credentials = match mechanism {
            "PLAIN" => Credentials::Plain { user: option("username")?, password: Secret::new(option("password")?) },
            "OAUTHBEARER" => Credentials::Oauth(Login::new(env, options, jaas.as_ref(), tls)?),
            scram => Credentials::Scram {
                hash: if scram == "SCRAM-SHA-256" { Hash::Sha256 } else { Hash::Sha512 },
                user: option("username")?,
                password: Secret::new(option("password")?),
                token: option("tokenauth").is_ok_and(|value| value.eq_ignore_ascii_case("true")),
            },
        };
        Ok(Sasl { env: env.clone(), mechanism, credentials })
    }

    /// Authenticates on `connection`, which carries nothing else meanwhile. Gives how long the broker lets the session
    /// last, where it says so (KIP-368).
    pub(crate) async fn authenticate(
        &self,
        connection: &ClientConnection,
        version: i16,
        timeout: Duration,
    ) -> Result<Option<Duration>, ClientError> {
        let handshake = SaslHandshakeRequest { mechanism: Str::from_static(self.mechanism), ..Default::default() };
        let offered = connection.request_ungated(&handshake, 1, timeout).await?;
        match ErrorCode::from_code(offered.error_code) {
            ErrorCode::None => {}
            code @ ErrorCode::UnsupportedSaslMechanism => {
                let names: Vec<&str> = offered.mechanisms.iter().map(|name| &**name).collect();
                let offers = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                return Err(self.failed(
                    connection,
                    code,
                    &format!("the broker does not offer it; it offers {offers}"),
                ));
            }
            code @ ErrorCode::IllegalSaslState => {
                let reason = "the broker does not want SASL on this listener; see security.protocol";
                return Err(self.failed(connection, code, reason));
            }
            code => return Err(self.failed(connection, code, code.message())),
        }
        let talk = Talk { sasl: self, connection, version, timeout };
        match &self.credentials {
            Credentials::Plain { user, password } => {
                let said = format!("\0{user}\0{}", password.reveal());
                Ok(talk.say(said.into_bytes()).await?.1)
            }
            Credentials::Scram { hash, user, password, token } => {
                let first = ClientFirst::new(*hash, user, *token, self.nonce());
                let (server_first, _) = talk.say(first.message()).await?;
                // Thousands of hashes on purpose: not on a thread that serves connections.
                let password = password.clone();
                let answer = self.env.blocking(move || first.answer(&server_first, &password)).await;
                let last = answer.map_err(|reason| talk.refuse(&reason))?;
                let (server_final, lifetime) = talk.say(last.message()).await?;
                last.verify(&server_final).map_err(|reason| talk.refuse(&reason))?;
                Ok(lifetime)
            }
            Credentials::Oauth(login) => {
                let token = login.token().await.map_err(|reason| talk.refuse(&format!("no token: {reason}")))?;
                let (challenge, lifetime) = talk.say(token.message()).await?;
                if challenge.is_empty() {
                    return Ok(lifetime);
                }
                // RFC 7628: the refusal is a challenge; its answer ends the conversation and brings the error.
                login.forget().await;
                let reason = match talk.say(vec![1]).await {
                    Err(ClientError::Authentication { message, .. }) => message,
                    Err(other) => return Err(other),
                    Ok(_) => String::from_utf8_lossy(&challenge).into_owned(),
                };
                Err(ClientError::Authentication { code: ErrorCode::SaslAuthenticationFailed, message: reason })
            }
        }
    }

    fn nonce(&self) -> String {
        let bytes: Vec<u8> = (0..3).flat_map(|_| self.env.random_u64().to_be_bytes()).collect();
        STANDARD_NO_PAD.encode(bytes)
    }

    fn failed(&self, connection: &ClientConnection, code: ErrorCode, reason: &str) -> ClientError {
        let reason = reason.trim().trim_end_matches('.');
        let message = format!("{}: SASL {} failed: {reason}", connection.address(), self.mechanism);
        ClientError::Authentication { code, message }
    }
}

/// The exchange of messages after the handshake.
struct Talk<'a> {
    sasl: &'a Sasl,
    connection: &'a ClientConnection,
    version: i16,
    timeout: Duration,
}

impl Talk<'_> {
    /// Says `message`; gives what the broker says to it, and the session's lifetime.
    async fn say(&self, message: Vec<u8>) -> Result<(Bytes, Option<Duration>), ClientError> {
        let request = SaslAuthenticateRequest { auth_bytes: Bytes::from(message), ..Default::default() };
        let response: SaslAuthenticateResponse =
            self.connection.request_ungated(&request, self.version, self.timeout).await?;
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::None => {
                let lifetime = u64::try_from(response.session_lifetime_ms).ok().filter(|ms| *ms > 0);
                Ok((response.auth_bytes, lifetime.map(Duration::from_millis)))
            }
            code => {
                let said = response.error_message.as_deref().filter(|text| !text.is_empty());
                Err(self.sasl.failed(self.connection, code, said.unwrap_or(code.message())))
            }
        }
    }

    fn refuse(&self, reason: &str) -> ClientError {
        self.sasl.failed(self.connection, ErrorCode::SaslAuthenticationFailed, reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sasl(mechanism: &str, jaas: Option<&str>) -> Result<Sasl, String> {
        let options = SaslOptions {
            mechanism: mechanism.to_owned(),
            jaas_config: jaas.map(Secret::new),
            ..SaslOptions::default()
        };
        Sasl::new(&Env::memory(), &options, &TlsOptions::default())
    }

    #[test]
    fn what_is_missing_is_said() {
        for (mechanism, jaas, says) in [
            ("GSSAPI", None, "set PLAIN"),
            ("DIGEST-MD5", None, "not one of"),
            ("PLAIN", None, "needs sasl.jaas.config"),
            ("PLAIN", Some("a.ScramLoginModule required username=a password=b;"), "PlainLoginModule"),
            ("PLAIN", Some("a.PlainLoginModule required username=a;"), "no password="),
            ("SCRAM-SHA-512", Some("a.ScramLoginModule required password=a;"), "no username="),
            ("OAUTHBEARER", Some("a.OAuthBearerLoginModule required;"), "unsecuredLoginStringClaim_sub"),
        ] {
            let error = sasl(mechanism, jaas).unwrap_err();
            assert!(error.contains(says), "{mechanism}: {error}");
        }
    }

    #[test]
    fn credentials_are_not_shown() {
        let line = "a.ScramLoginModule required username=alice password=swordfish;";
        let shown = format!("{:?}", sasl("SCRAM-SHA-256", Some(line)).unwrap());
        assert!(shown.contains("alice") && !shown.contains("swordfish"), "{shown}");
    }
}
