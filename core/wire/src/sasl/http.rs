//! Tokens from an identity provider: the client credentials grant (RFC 6749, section 4.4; KIP-768).
//!
//! The requests go through ureq, which waits on its thread: it runs on the blocking pool, once per token.

use super::oauth::{OauthToken, OauthTokenFuture, OauthTokenProvider};
use super::{Jaas, SaslOptions};
use crate::security::{Secret, TlsOptions, provider, trusted};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ottla_env::Env;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Answers larger than this are no token.
const ANSWER_SIZE_MAX: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct ClientCredentials {
    env: Env,
    agent: Agent,
    url: String,
    authorization: Secret,
    body: String,
    backoff: Duration,
    /// How long to try.
    patience: Duration,
    extensions: Vec<(String, String)>,
}

enum Failure {
    /// Asking again may help.
    Passing(String),
    Final(String),
}

impl ClientCredentials {
    pub(super) fn new(
        env: &Env,
        options: &SaslOptions,
        url: &str,
        jaas: Option<&Jaas>,
        tls: &TlsOptions,
        extensions: Vec<(String, String)>,
    ) -> Result<ClientCredentials, String> {
        if !url.starts_with("https://") && !url.starts_with("http://") {
            return Err("sasl.oauthbearer.token.endpoint.url is none of https://, http:// and file://".to_owned());
        }
        let line = |name: &str| jaas.and_then(|jaas| jaas.get(name)).map(str::to_owned);
        let id = options.client_id.clone().or_else(|| line("clientId"));
        let id = id.ok_or("sasl.oauthbearer.client.credentials.client.id is needed for the token endpoint")?;
        let secret = options.client_secret.clone().or_else(|| line("clientSecret").map(Secret::new));
        let secret =
            secret.ok_or("sasl.oauthbearer.client.credentials.client.secret is needed for the token endpoint")?;
        let scope = options.scope.clone().or_else(|| line("scope")).filter(|scope| !scope.trim().is_empty());
        let pair = match options.header_urlencode {
            true => format!("{}:{}", form(&id), form(secret.reveal())),
            false => format!("{id}:{}", secret.reveal()),
        };
        let body = match scope {
            Some(scope) => format!("grant_type=client_credentials&scope={}", form(scope.trim())),
            None => "grant_type=client_credentials".to_owned(),
        };
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(options.login_connect_timeout)
            .timeout_recv_response(options.login_read_timeout)
            .timeout_recv_body(options.login_read_timeout);
        if url.starts_with("https://") {
            let certificates = trusted(env, tls)?;
            let roots = certificates.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
            let tls = TlsConfig::builder()
                .root_certs(RootCerts::Specific(Arc::new(roots)))
                .unversioned_rustls_crypto_provider(Arc::new(provider(tls)?))
                .build();
            config = config.tls_config(tls);
        }
        Ok(ClientCredentials {
            env: env.clone(),
            agent: Agent::new_with_config(config.build()),
            url: url.to_owned(),
            authorization: Secret::new(format!("Basic {}", STANDARD.encode(pair))),
            body,
            backoff: options.login_retry_backoff.max(Duration::from_millis(1)),
            patience: options.login_retry_backoff_max,
            extensions,
        })
    }

    async fn fetch(&self) -> Result<OauthToken, String> {
        let started = self.env.monotonic();
        let mut backoff = self.backoff;
        loop {
            let (agent, url) = (self.agent.clone(), self.url.clone());
            let (authorization, body) = (self.authorization.clone(), self.body.clone());
            let asked_at = self.env.now_ms();
            let answer = self.env.blocking(move || ask(&agent, &url, &authorization, &body)).await;
            let reason = match answer {
                Ok(answer) => return self.read(&answer, asked_at),
                Err(Failure::Final(reason)) => return Err(format!("{}: {reason}", self.url)),
                Err(Failure::Passing(reason)) => reason,
            };
            let left = self.patience.saturating_sub(self.env.monotonic().saturating_sub(started));
            if left.is_zero() {
                return Err(format!("{}: {reason}", self.url));
            }
            self.env.sleep(backoff.min(left)).await;
            backoff = backoff.saturating_mul(2);
        }
    }

    fn read(&self, answer: &[u8], asked_at: i64) -> Result<OauthToken, String> {
        let answer: Value =
            serde_json::from_slice(answer).map_err(|_| format!("{}: the answer is not JSON", self.url))?;
        let value = answer.get("access_token").and_then(Value::as_str).filter(|token| !token.is_empty());
        let value = value.ok_or_else(|| format!("{}: the answer has no access_token", self.url))?;
        let life = answer.get("expires_in").and_then(Value::as_i64).filter(|seconds| *seconds > 0);
        Ok(OauthToken {
            value: Secret::new(value.trim()),
            expires_at_ms: life.map(|seconds| asked_at.saturating_add(seconds.saturating_mul(1000))),
            extensions: self.extensions.clone(),
        })
    }
}

impl OauthTokenProvider for ClientCredentials {
    fn token(&self) -> OauthTokenFuture<'_> {
        Box::pin(self.fetch())
    }
}

fn ask(agent: &Agent, url: &str, authorization: &Secret, body: &str) -> Result<Vec<u8>, Failure> {
    let answer = agent
        .post(url)
        .header("accept", "application/json")
        .header("authorization", authorization.reveal())
        .header("cache-control", "no-cache")
        .header("content-type", "application/x-www-form-urlencoded")
        .send(body);
    let mut answer = answer.map_err(|error| Failure::Passing(error.to_string()))?;
    let status = answer.status();
    let read = answer.body_mut().with_config().limit(ANSWER_SIZE_MAX).read_to_vec();
    let content = read.map_err(|error| Failure::Passing(error.to_string()))?;
    if status.is_success() {
        return Ok(content);
    }
    // An OAuth error is a JSON object with these two fields; other bodies are pages of HTML.
    let said: Option<Value> = serde_json::from_slice(&content).ok();
    let field = |name: &str| said.as_ref().and_then(|said| said.get(name)).and_then(Value::as_str).unwrap_or_default();
    let reason = format!("HTTP status {status} {} {}", field("error"), field("error_description"));
    let reason = reason.trim_end().to_owned();
    // Too early, too many requests, and what a server says of itself may pass.
    match status.as_u16() {
        408 | 425 | 429 | 500.. => Err(Failure::Passing(reason)),
        _ => Err(Failure::Final(reason)),
    }
}

/// A value in `application/x-www-form-urlencoded`.
fn form(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' => encoded.push(char::from(byte)),
            b' ' => encoded.push('+'),
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Answers each connection with the next of `answers`; gives the requests.
    async fn endpoint(answers: Vec<&'static str>) -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        let (sender, requests) = tokio::sync::mpsc::unbounded_channel();
        Env::real().spawn("endpoint", async move {
            for answer in answers {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !String::from_utf8_lossy(&request).contains("grant_type=client_credentials") {
                    let mut buffer = [0; 1024];
                    let read = socket.read(&mut buffer).await.unwrap();
                    request.extend(&buffer[..read]);
                }
                sender.send(String::from_utf8(request).unwrap()).unwrap();
                let (status, body) = answer.split_once('|').unwrap();
                let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
                socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            }
        });
        (url, requests)
    }

    fn credentials(url: &str) -> ClientCredentials {
        let options = SaslOptions {
            client_id: Some("me".to_owned()),
            client_secret: Some(Secret::new("sword fish")),
            scope: Some("a b".to_owned()),
            login_retry_backoff: Duration::from_millis(1),
            login_retry_backoff_max: Duration::from_secs(30),
            header_urlencode: true,
            ..SaslOptions::default()
        };
        ClientCredentials::new(&Env::real(), &options, url, None, &TlsOptions::default(), Vec::new()).unwrap()
    }

    #[tokio::test]
    async fn a_token_is_fetched_and_fetched_again_after_a_passing_failure() {
        let good = r#"200 OK|{"access_token":"abc","expires_in":60}"#;
        let (url, mut requests) = endpoint(vec!["503 Busy|later", good]).await;
        let before = Env::real().now_ms();
        let token = credentials(&url).token().await.unwrap();
        assert_eq!(token.value.reveal(), "abc");
        assert!(token.expires_at_ms.unwrap() >= before + 60_000);
        for _ in 0..2 {
            let request = requests.recv().await.unwrap().to_ascii_lowercase();
            assert!(request.starts_with("post /token"), "{request}");
            let pair = format!("authorization: basic {}", STANDARD.encode("me:sword+fish"));
            assert!(request.contains(&pair.to_ascii_lowercase()), "{request}");
            assert!(request.ends_with("grant_type=client_credentials&scope=a+b"), "{request}");
        }
    }

    #[tokio::test]
    async fn a_refusal_is_final_and_says_why() {
        let (url, _requests) =
            endpoint(vec![r#"401 No|{"error":"invalid_client","error_description":"unknown client"}"#]).await;
        let error = credentials(&url).token().await.unwrap_err();
        assert!(error.contains("401") && error.contains("unknown client") && error.contains(&url), "{error}");
        assert!(!error.contains("sword"), "{error}");
    }
}
