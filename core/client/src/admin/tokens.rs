//! Delegation tokens: short-lived credentials that stand for a principal (KIP-48, KIP-373).

use super::Admin;
use super::call::{Controller, check_code, text};
use crate::error::{Error, Result};
use bytes::Bytes;
use ottla_protocol::create_delegation_token_request::{CreatableRenewers, CreateDelegationTokenRequest};
use ottla_protocol::describe_delegation_token_request::{DescribeDelegationTokenOwner, DescribeDelegationTokenRequest};
use ottla_protocol::{
    CreateDelegationTokenResponse, DescribeDelegationTokenResponse, ExpireDelegationTokenRequest,
    ExpireDelegationTokenResponse, RenewDelegationTokenRequest, RenewDelegationTokenResponse,
};
use std::time::Duration;

/// Someone, by kind and name: `User` and `alice`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KafkaPrincipal {
    /// The kind, with the default authorizer `User`.
    pub principal_type: String,
    /// The name.
    pub name: String,
}

impl KafkaPrincipal {
    /// A user.
    pub fn user(name: impl Into<String>) -> KafkaPrincipal {
        KafkaPrincipal { principal_type: "User".to_owned(), name: name.into() }
    }

    fn new(principal_type: &str, name: &str) -> KafkaPrincipal {
        KafkaPrincipal { principal_type: principal_type.to_owned(), name: name.to_owned() }
    }
}

/// A delegation token. Its times are ms since 1970.
#[derive(Clone, PartialEq, Eq)]
pub struct DelegationToken {
    /// Its id, the user name in SCRAM.
    pub token_id: String,
    /// Its secret, in base64 the password in SCRAM.
    pub hmac: Bytes,
    /// Whom it stands for.
    pub owner: KafkaPrincipal,
    /// Who asked for it; the owner from brokers before 3.3.
    pub requester: KafkaPrincipal,
    /// Who may renew it, besides the owner.
    pub renewers: Vec<KafkaPrincipal>,
    /// When it was made.
    pub issue_timestamp: i64,
    /// Until when it holds.
    pub expiry_timestamp: i64,
    /// Until when it can be renewed.
    pub max_timestamp: i64,
}

impl std::fmt::Debug for DelegationToken {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DelegationToken")
            .field("token_id", &self.token_id)
            .field("owner", &self.owner)
            .field("expiry_timestamp", &self.expiry_timestamp)
            .finish_non_exhaustive()
    }
}

impl Admin {
    /// Makes a token for this client's principal, or for `owner` (KIP-373). Without `max_lifetime` it can be renewed for
    /// as long as `delegation.token.max.lifetime.ms` of the broker says.
    ///
    /// # Errors
    /// `DELEGATION_TOKEN_AUTH_DISABLED` where the brokers have no `delegation.token.secret.key`,
    /// `DELEGATION_TOKEN_REQUEST_NOT_ALLOWED` over a connection without authentication, or that a token authenticated.
    pub async fn create_delegation_token(
        &self,
        renewers: &[KafkaPrincipal],
        max_lifetime: Option<Duration>,
        owner: Option<&KafkaPrincipal>,
    ) -> Result<DelegationToken> {
        let build = |version: i16| {
            if version < 3 && owner.is_some() {
                return Err(Error::unsupported(format!(
                    "CreateDelegationToken {version} cannot name an owner; that needs version 3 (Apache Kafka 3.3)"
                )));
            }
            let renewer = |principal: &KafkaPrincipal| CreatableRenewers {
                principal_type: text(&principal.principal_type),
                principal_name: text(&principal.name),
                ..Default::default()
            };
            // Up to version 2 there is no owner to be null.
            let absent = Some(text("")).filter(|_| version < 3);
            Ok(CreateDelegationTokenRequest {
                owner_principal_type: owner.map(|owner| text(&owner.principal_type)).or(absent.clone()),
                owner_principal_name: owner.map(|owner| text(&owner.name)).or(absent),
                renewers: renewers.iter().map(renewer).collect(),
                max_lifetime_ms: max_lifetime.map_or(-1, ms),
                ..Default::default()
            })
        };
        let read = |response: CreateDelegationTokenResponse| {
            check_code(response.error_code, "the delegation token", None)?;
            let owner = KafkaPrincipal::new(&response.principal_type, &response.principal_name);
            let (kind, name) = (&response.token_requester_principal_type, &response.token_requester_principal_name);
            Ok(DelegationToken {
                token_id: response.token_id.to_string(),
                hmac: Bytes::copy_from_slice(&response.hmac),
                requester: if kind.is_empty() { owner.clone() } else { KafkaPrincipal::new(kind, name) },
                owner,
                renewers: renewers.to_vec(),
                issue_timestamp: response.issue_timestamp_ms,
                expiry_timestamp: response.expiry_timestamp_ms,
                max_timestamp: response.max_timestamp_ms,
            })
        };
        self.one(Controller, (), build, read).await
    }

    /// Prolongs a token by `period`, or by `delegation.token.expiry.time.ms` of the broker; the result is when it then
    /// expires, ms since 1970.
    pub async fn renew_delegation_token(&self, hmac: &Bytes, period: Option<Duration>) -> Result<i64> {
        let renew_period_ms = period.map_or(-1, ms);
        let build = |_| Ok(RenewDelegationTokenRequest { hmac: hmac.clone(), renew_period_ms, ..Default::default() });
        let read = |response: RenewDelegationTokenResponse| {
            check_code(response.error_code, "the delegation token", None)?;
            Ok(response.expiry_timestamp_ms)
        };
        self.one(Controller, (), build, read).await
    }

    /// Lets a token expire after `period`, or with `None` now; the result is when it expires, ms since 1970.
    pub async fn expire_delegation_token(&self, hmac: &Bytes, period: Option<Duration>) -> Result<i64> {
        let expiry_time_period_ms = period.map_or(-1, ms);
        let build =
            |_| Ok(ExpireDelegationTokenRequest { hmac: hmac.clone(), expiry_time_period_ms, ..Default::default() });
        let read = |response: ExpireDelegationTokenResponse| {
            check_code(response.error_code, "the delegation token", None)?;
            Ok(response.expiry_timestamp_ms)
        };
        self.one(Controller, (), build, read).await
    }

    /// The tokens of `owners`, or with `None` all that this client may see.
    pub async fn describe_delegation_token(&self, owners: Option<&[KafkaPrincipal]>) -> Result<Vec<DelegationToken>> {
        let owner = |principal: &KafkaPrincipal| DescribeDelegationTokenOwner {
            principal_type: text(&principal.principal_type),
            principal_name: text(&principal.name),
            ..Default::default()
        };
        let owners = owners.map(|owners| owners.iter().map(owner).collect());
        let request = DescribeDelegationTokenRequest { owners, ..Default::default() };
        let read = |response: DescribeDelegationTokenResponse| {
            check_code(response.error_code, "the delegation tokens", None)?;
            let tokens = response.tokens.iter().map(|token| {
                let owner = KafkaPrincipal::new(&token.principal_type, &token.principal_name);
                let (kind, name) = (&token.token_requester_principal_type, &token.token_requester_principal_name);
                let renewers = token.renewers.iter().map(|r| KafkaPrincipal::new(&r.principal_type, &r.principal_name));
                DelegationToken {
                    token_id: token.token_id.to_string(),
                    hmac: Bytes::copy_from_slice(&token.hmac),
                    requester: if kind.is_empty() { owner.clone() } else { KafkaPrincipal::new(kind, name) },
                    owner,
                    renewers: renewers.collect(),
                    issue_timestamp: token.issue_timestamp,
                    expiry_timestamp: token.expiry_timestamp,
                    max_timestamp: token.max_timestamp,
                }
            });
            Ok(tokens.collect())
        };
        self.any(|_| Ok(request.clone()), read).await
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
