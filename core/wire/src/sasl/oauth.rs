//! OAUTHBEARER (RFC 7628, KIP-255): tokens, where they come from, and when a new one is fetched.
//!
//! A token is fetched when a connection needs one and the last one is near its end; there is no background task. Tokens
//! come from the program ([`OauthTokenProvider`]), from a file, from a token endpoint (KIP-768), or are made here
//! unsigned, for tests, as the Java client does without further configs.

use super::http::ClientCredentials;
use super::{Jaas, SaslOptions};
use crate::security::{Secret, TlsOptions};
use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use ottla_env::Env;
use serde_json::{Map, Value, json};
use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// Files larger than this are no token.
const TOKEN_SIZE_MAX: usize = 1 << 20;

/// A token as it is shown to brokers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OauthToken {
    /// The compact serialization, `xxx.yyy.zzz` for a JWT.
    pub value: Secret,
    /// When it ends, milliseconds since 1970. `None`: its `exp` claim if it is a JWT, otherwise it is kept for ever.
    pub expires_at_ms: Option<i64>,
    /// SASL extensions (KIP-342): names of letters, values of printable characters.
    pub extensions: Vec<(String, String)>,
}

/// What [`OauthTokenProvider::token`] gives: a token, or a sentence that says why there is none.
pub type OauthTokenFuture<'a> = Pin<Box<dyn Future<Output = Result<OauthToken, String>> + Send + 'a>>;

/// Fetches tokens for OAUTHBEARER. Called when a connection needs a token and the last one is near its end; one call at
/// a time. The connection's time limit cancels it.
pub trait OauthTokenProvider: fmt::Debug + Send + Sync {
    /// A new token.
    fn token(&self) -> OauthTokenFuture<'_>;
}

impl OauthToken {
    /// The client's first message. What could break out of it was refused by [`Login::token`].
    pub(super) fn message(&self) -> Vec<u8> {
        let mut message = format!("n,,\u{1}auth=Bearer {}\u{1}", self.value.reveal());
        for (name, value) in &self.extensions {
            message.push_str(&format!("{name}={value}\u{1}"));
        }
        message.push('\u{1}');
        message.into_bytes()
    }

    fn check(&self) -> Result<(), String> {
        let text = self.value.reveal();
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b)) {
            return Err("the token is empty or has characters that no token has".to_owned());
        }
        for (name, value) in &self.extensions {
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphabetic()) || name == "auth" {
                return Err(format!("the SASL extension {name:?} is not a name of letters other than auth"));
            }
            if value.is_empty() || !value.bytes().all(|b| (0x20..0x7f).contains(&b) || b"\t\r\n".contains(&b)) {
                return Err(format!("the value of the SASL extension {name} is empty or not printable"));
            }
        }
        Ok(())
    }

    /// When it ends by its own claim.
    fn claimed_end_ms(&self) -> Option<i64> {
        let claims = self.value.reveal().split('.').nth(1)?;
        let claims = URL_SAFE_NO_PAD.decode(claims).or_else(|_| URL_SAFE.decode(claims)).ok()?;
        let claims: Value = serde_json::from_slice(&claims).ok()?;
        claims.get("exp")?.as_f64().map(|seconds| (seconds * 1000.0) as i64)
    }
}

/// The current token and how the next one is fetched.
#[derive(Debug)]
pub(super) struct Login {
    env: Env,
    provider: Arc<dyn OauthTokenProvider>,
    window_factor: f64,
    window_jitter: f64,
    min_period: Duration,
    buffer: Duration,
    /// Held while a token is fetched, so that many connections cause one fetch.
    current: tokio::sync::Mutex<Option<Current>>,
}

#[derive(Debug)]
struct Current {
    token: OauthToken,
    refresh_at_ms: i64,
    end_ms: i64,
}

impl Login {
    pub(super) fn new(
        env: &Env,
        options: &SaslOptions,
        jaas: Option<&Jaas>,
        tls: &TlsOptions,
    ) -> Result<Login, String> {
        Ok(Login {
            env: env.clone(),
            provider: provider(env, options, jaas, tls)?,
            window_factor: options.refresh_window_factor,
            window_jitter: options.refresh_window_jitter,
            min_period: options.refresh_min_period,
            buffer: options.refresh_buffer,
            current: tokio::sync::Mutex::default(),
        })
    }

    /// The token to show now: the last one, or a new one where that is near its end.
    pub(super) async fn token(&self) -> Result<OauthToken, String> {
        let mut current = self.current.lock().await;
        let now = self.env.now_ms();
        if let Some(known) = current.as_ref().filter(|known| now < known.refresh_at_ms) {
            return Ok(known.token.clone());
        }
        let fetched = match self.provider.token().await {
            Ok(token) => token.check().map(|()| token),
            Err(reason) => Err(reason),
        };
        let token = match (fetched, current.as_ref()) {
            (Ok(token), _) => token,
            // The provider is away, which matters only once the last token has ended.
            (Err(reason), Some(known)) if now < known.end_ms => {
                tracing::warn!(%reason, "no new OAUTHBEARER token; the last one is still good");
                return Ok(known.token.clone());
            }
            (Err(reason), _) => return Err(reason),
        };
        let end_ms = token.expires_at_ms.or_else(|| token.claimed_end_ms()).unwrap_or(i64::MAX);
        let now = self.env.now_ms();
        if end_ms <= now {
            return Err("the token that was fetched has ended already; is this clock right?".to_owned());
        }
        let refresh_at_ms = self.refresh_at(now, end_ms);
        *current = Some(Current { token: token.clone(), refresh_at_ms, end_ms });
        Ok(token)
    }

    /// The broker refused the token: the next connection fetches another one.
    pub(super) async fn forget(&self) {
        *self.current.lock().await = None;
    }

    fn refresh_at(&self, now: i64, end: i64) -> i64 {
        let life = end.saturating_sub(now);
        let chance = (self.env.random_u64() % 1000) as f64 / 1000.0;
        let at = now.saturating_add((life as f64 * (self.window_factor + self.window_jitter * chance)) as i64);
        let (buffer, min_period) = (self.buffer.as_millis() as i64, self.min_period.as_millis() as i64);
        // A token too short for both keeps to the window alone, as in Java.
        if life <= buffer.saturating_add(min_period) {
            return at.min(end);
        }
        at.min(end - buffer).max(now + min_period)
    }
}

fn provider(
    env: &Env,
    options: &SaslOptions,
    jaas: Option<&Jaas>,
    tls: &TlsOptions,
) -> Result<Arc<dyn OauthTokenProvider>, String> {
    if let Some(provider) = &options.token_provider {
        return Ok(provider.clone());
    }
    let extensions = jaas.map(|jaas| jaas.with_prefix("extension_")).unwrap_or_default();
    match options.token_endpoint_url.as_deref() {
        Some(url) => match url.strip_prefix("file://") {
            Some(path) => Ok(Arc::new(TokenFile { env: env.clone(), path: PathBuf::from(path), extensions })),
            None => Ok(Arc::new(ClientCredentials::new(env, options, url, jaas, tls, extensions)?)),
        },
        None => Ok(Arc::new(Unsecured::new(env, jaas)?)),
    }
}

/// A token that something else keeps up to date in a file.
#[derive(Debug)]
struct TokenFile {
    env: Env,
    path: PathBuf,
    extensions: Vec<(String, String)>,
}

impl OauthTokenProvider for TokenFile {
    fn token(&self) -> OauthTokenFuture<'_> {
        Box::pin(async move {
            let (env, path) = (self.env.clone(), self.path.clone());
            let read = self.env.blocking(move || read_text(&env, &path)).await;
            let value = read.map_err(|error| format!("{}: {error}", self.path.display()))?;
            Ok(OauthToken { value, expires_at_ms: None, extensions: self.extensions.clone() })
        })
    }
}

fn read_text(env: &Env, path: &Path) -> Result<Secret, String> {
    let file = env.fs().read(path).map_err(|error| error.to_string())?;
    if file.len() > TOKEN_SIZE_MAX {
        return Err("the file is too large for a token".to_owned());
    }
    let text = String::from_utf8(file).map_err(|_| "the file is not text".to_owned())?;
    Ok(Secret::new(text.trim()))
}

/// Tokens that no one signed, for development: `unsecuredLogin...` options of the JAAS line.
#[derive(Debug)]
struct Unsecured {
    env: Env,
    claims: Map<String, Value>,
    lifetime_ms: i64,
    extensions: Vec<(String, String)>,
}

impl Unsecured {
    fn new(env: &Env, jaas: Option<&Jaas>) -> Result<Unsecured, String> {
        let missing = "OAUTHBEARER needs a token: set sasl.oauthbearer.token.endpoint.url, give a token provider, or for \
                       development put unsecuredLoginStringClaim_sub=\"name\" into sasl.jaas.config";
        let jaas = jaas.ok_or(missing)?;
        let principal_claim = jaas.get("unsecuredLoginPrincipalClaimName").unwrap_or("sub");
        let mut claims = Map::new();
        for (name, value) in jaas.with_prefix("unsecuredLoginStringClaim_") {
            claims.insert(name, Value::String(value));
        }
        for (name, value) in jaas.with_prefix("unsecuredLoginNumberClaim_") {
            let number: f64 = value.parse().map_err(|_| format!("the claim {name} is not a number"))?;
            claims.insert(name, json!(number));
        }
        for (name, value) in jaas.with_prefix("unsecuredLoginListClaim_") {
            // The first character separates the rest.
            let mut chars = value.chars();
            let list: Vec<&str> = match chars.next() {
                Some(separator) => chars.as_str().split(separator).collect(),
                None => Vec::new(),
            };
            claims.insert(name, json!(list));
        }
        if !claims.get(principal_claim).is_some_and(Value::is_string) {
            return Err(missing.to_owned());
        }
        let seconds = jaas.get("unsecuredLoginLifetimeSeconds").unwrap_or("3600");
        let seconds: u32 = seconds.parse().map_err(|_| "unsecuredLoginLifetimeSeconds is not a number of seconds")?;
        let extensions = jaas.with_prefix("unsecuredLoginExtension_");
        Ok(Unsecured { env: env.clone(), claims, lifetime_ms: i64::from(seconds) * 1000, extensions })
    }
}

impl OauthTokenProvider for Unsecured {
    fn token(&self) -> OauthTokenFuture<'_> {
        let now = self.env.now_ms();
        let mut claims = self.claims.clone();
        claims.insert("iat".to_owned(), json!(now as f64 / 1000.0));
        claims.insert("exp".to_owned(), json!((now + self.lifetime_ms) as f64 / 1000.0));
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        let claims = URL_SAFE_NO_PAD.encode(Value::Object(claims).to_string());
        let value = Secret::new(format!("{header}.{claims}."));
        let token =
            OauthToken { value, expires_at_ms: Some(now + self.lifetime_ms), extensions: self.extensions.clone() };
        Box::pin(std::future::ready(Ok(token)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    #[derive(Debug, Default)]
    struct Scripted(Mutex<Vec<Result<OauthToken, String>>>);

    impl OauthTokenProvider for Scripted {
        fn token(&self) -> OauthTokenFuture<'_> {
            Box::pin(std::future::ready(self.0.lock().pop().unwrap_or_else(|| Err("no more".to_owned()))))
        }
    }

    fn token(value: &str, expires_at_ms: Option<i64>) -> OauthToken {
        OauthToken { value: Secret::new(value), expires_at_ms, extensions: Vec::new() }
    }

    fn login(env: &Env, mut script: Vec<Result<OauthToken, String>>, options: SaslOptions) -> Login {
        script.reverse();
        let token_provider: Option<Arc<dyn OauthTokenProvider>> = Some(Arc::new(Scripted(Mutex::new(script))));
        let options = SaslOptions { token_provider, ..options };
        Login::new(env, &options, None, &TlsOptions::default()).unwrap()
    }

    #[tokio::test]
    async fn a_token_is_kept_until_its_window_and_beyond_it_while_none_follows() {
        let env = Env::memory();
        let hour = env.now_ms() + 3_600_000;
        let kept = login(&env, vec![Ok(token("a", Some(hour)))], SaslOptions::default());
        assert_eq!(kept.token().await.unwrap().value.reveal(), "a");
        assert_eq!(kept.token().await.unwrap().value.reveal(), "a");
        // Its whole life is inside the window: the next connection asks again, and falls back while the token lives.
        let eager = SaslOptions {
            refresh_window_factor: 0.0,
            refresh_window_jitter: 0.0,
            refresh_min_period: Duration::ZERO,
            ..SaslOptions::default()
        };
        let script = vec![Ok(token("a", Some(hour))), Err("away".to_owned()), Ok(token("b", Some(hour)))];
        let eager = login(&env, script, eager);
        assert_eq!(eager.token().await.unwrap().value.reveal(), "a");
        assert_eq!(eager.token().await.unwrap().value.reveal(), "a");
        assert_eq!(eager.token().await.unwrap().value.reveal(), "b");
        eager.forget().await;
        assert_eq!(eager.token().await.unwrap_err(), "no more");
    }

    #[test]
    fn the_refresh_keeps_its_distances() {
        let env = Env::memory();
        let options = SaslOptions { refresh_window_jitter: 0.0, ..SaslOptions::default() };
        let login = login(&env, Vec::new(), options);
        // Ten hours: 80 % of them. Ten minutes: 300 s before the end. Two minutes: too short for both, so 80 %.
        assert_eq!(login.refresh_at(0, 36_000_000), 28_800_000);
        assert_eq!(login.refresh_at(0, 600_000), 300_000);
        assert_eq!(login.refresh_at(0, 120_000), 96_000);
        assert_eq!(login.refresh_at(0, 400_000), 100_000);
    }

    #[tokio::test]
    async fn tokens_that_cannot_be_shown_are_refused() {
        let env = Env::memory();
        let ended = token("a", Some(env.now_ms() - 1));
        let bad = login(&env, vec![Ok(token("a\u{1}b", None)), Ok(ended)], SaslOptions::default());
        assert!(bad.token().await.unwrap_err().contains("characters"));
        assert!(bad.token().await.unwrap_err().contains("ended already"));
        for (name, value) in [("auth", "x"), ("a1", "x"), ("a", ""), ("a", "\u{1}")] {
            let extended = OauthToken { extensions: vec![(name.to_owned(), value.to_owned())], ..token("a", None) };
            assert!(extended.check().is_err(), "{name}={value}");
        }
    }

    #[tokio::test]
    async fn unsecured_tokens_have_the_claims_of_the_line() {
        let env = Env::memory();
        let jaas = Jaas::parse(
            "x.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=alice unsecuredLoginNumberClaim_n=3 \
             unsecuredLoginListClaim_scope=\"|a|b\" unsecuredLoginLifetimeSeconds=60 unsecuredLoginExtension_t=v;",
        )
        .unwrap();
        let token = Unsecured::new(&env, Some(&jaas)).unwrap().token().await.unwrap();
        token.check().unwrap();
        let claims = token.value.reveal().split('.').nth(1).unwrap();
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
        assert_eq!((&claims["sub"], &claims["scope"]), (&json!("alice"), &json!(["a", "b"])));
        assert_eq!(claims["n"].as_f64(), Some(3.0));
        assert_eq!(token.claimed_end_ms(), token.expires_at_ms);
        assert_eq!(token.extensions, [("t".to_owned(), "v".to_owned())]);
        let message = String::from_utf8(token.message()).unwrap();
        assert!(message.starts_with("n,,\u{1}auth=Bearer ") && message.ends_with(".\u{1}t=v\u{1}\u{1}"), "{message}");
    }

    #[tokio::test]
    async fn a_token_file_is_read_again_for_each_token() {
        let env = Env::memory();
        let path = Path::new("/token");
        let provider = TokenFile { env: env.clone(), path: path.to_owned(), extensions: Vec::new() };
        assert!(provider.token().await.unwrap_err().contains("/token"));
        for text in ["one", "two"] {
            env.fs().write_atomic(path, format!("{text}\n").as_bytes(), false).unwrap();
            assert_eq!(provider.token().await.unwrap().value.reveal(), text);
        }
    }
}
