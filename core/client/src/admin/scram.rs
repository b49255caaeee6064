//! SCRAM users: names and salted passwords that brokers authenticate against (KIP-554). The password itself never leaves:
//! it is salted and hashed here.

use super::Admin;
use super::acls::coded;
use super::call::{Anyone, Controller, PerKey, check_code, text};
use crate::error::{Error, Result};
use bytes::Bytes;
use ottla_protocol::alter_user_scram_credentials_request::{
    AlterUserScramCredentialsRequest, ScramCredentialDeletion, ScramCredentialUpsertion,
};
use ottla_protocol::describe_user_scram_credentials_request::{DescribeUserScramCredentialsRequest, UserName};
use ottla_protocol::{AlterUserScramCredentialsResponse, DescribeUserScramCredentialsResponse};
use ring::{digest, pbkdf2};
use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;

/// The iterations where none are given, as in Apache Kafka's tools.
pub const SCRAM_ITERATIONS_DEFAULT: u32 = 4096;
/// The fewest and the most that brokers accept.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4096..=16384;

coded! {
    /// Which hash.
    ScramMechanism {
        /// SHA-256.
        Sha256 = 1 "SCRAM-SHA-256",
        /// SHA-512.
        Sha512 = 2 "SCRAM-SHA-512",
    }
}

/// A user's credential, without the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScramCredentialInfo {
    /// The hash.
    pub mechanism: ScramMechanism,
    /// How often it is applied.
    pub iterations: i32,
}

/// A change of a user's credentials.
#[derive(Clone, PartialEq, Eq)]
pub enum ScramAlteration {
    /// Gives the user a password for this mechanism, in place of the one it may have.
    Upsert {
        /// The user.
        user: String,
        /// The hash.
        mechanism: ScramMechanism,
        /// How often it is applied, 4096 to 16384; [`SCRAM_ITERATIONS_DEFAULT`].
        iterations: u32,
        /// The password.
        password: Vec<u8>,
        /// What the password is mixed with; `None` takes random bytes.
        salt: Option<Vec<u8>>,
    },
    /// Takes the user's password for this mechanism away.
    Delete {
        /// The user.
        user: String,
        /// The hash.
        mechanism: ScramMechanism,
    },
}

impl ScramAlteration {
    /// Gives a user a password with the default number of iterations.
    pub fn upsert(user: impl Into<String>, mechanism: ScramMechanism, password: impl AsRef<[u8]>) -> ScramAlteration {
        ScramAlteration::Upsert {
            user: user.into(),
            mechanism,
            iterations: SCRAM_ITERATIONS_DEFAULT,
            password: password.as_ref().to_vec(),
            salt: None,
        }
    }

    fn user(&self) -> &str {
        match self {
            ScramAlteration::Upsert { user, .. } | ScramAlteration::Delete { user, .. } => user,
        }
    }
}

impl std::fmt::Debug for ScramAlteration {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, mechanism) = match self {
            ScramAlteration::Upsert { mechanism, .. } => ("Upsert", mechanism),
            ScramAlteration::Delete { mechanism, .. } => ("Delete", mechanism),
        };
        f.debug_struct(name).field("user", &self.user()).field("mechanism", mechanism).finish_non_exhaustive()
    }
}

impl Admin {
    /// The credentials of `users`, or with an empty list of all that have any.
    ///
    /// # Errors
    /// Per user `RESOURCE_NOT_FOUND` when it has none; the outer one when the list could not be had.
    pub async fn describe_user_scram_credentials(
        &self,
        users: &[String],
    ) -> Result<PerKey<String, Vec<ScramCredentialInfo>>> {
        let user = |name: &String| UserName { name: text(name), ..Default::default() };
        let users = Some(users.iter().map(user).collect()).filter(|users: &Vec<_>| !users.is_empty());
        let request = DescribeUserScramCredentialsRequest { users, ..Default::default() };
        let read = |response: DescribeUserScramCredentialsResponse| {
            check_code(response.error_code, "the SCRAM users", response.error_message.as_deref())?;
            let results = response.results.iter().map(|result| {
                let what = format!("user {}", result.user);
                let infos = result.credential_infos.iter().map(|info| ScramCredentialInfo {
                    mechanism: ScramMechanism::from_code(info.mechanism),
                    iterations: info.iterations,
                });
                let checked = check_code(result.error_code, &what, result.error_message.as_deref());
                (result.user.to_string(), checked.map(|()| infos.collect()))
            });
            Ok(results.collect())
        };
        self.one(Anyone, (), |_| Ok(request.clone()), read).await
    }

    /// Changes credentials in the order given. Brokers take one change of a user at a time, so several are sent one after
    /// the other, up to the first that fails. Hashing a password takes some milliseconds of this thread.
    ///
    /// # Errors
    /// Per user `RESOURCE_NOT_FOUND` when there is nothing to delete, `UNACCEPTABLE_CREDENTIAL` for an empty name or too
    /// few or too many iterations.
    pub async fn alter_user_scram_credentials(&self, alterations: &[ScramAlteration]) -> PerKey<String, ()> {
        let mut results = PerKey::new();
        let mut changes: BTreeMap<String, VecDeque<&ScramAlteration>> = BTreeMap::new();
        for alteration in alterations {
            changes.entry(alteration.user().to_owned()).or_default().push_back(alteration);
        }
        while !changes.is_empty() {
            let mut requests: BTreeMap<String, Change> = BTreeMap::new();
            for (user, waiting) in &mut changes {
                let Some(next) = waiting.pop_front() else { continue };
                match self.change(next) {
                    Ok(change) => drop(requests.insert(user.clone(), change)),
                    Err(error) => drop(results.insert(user.clone(), Err(error.context(&format!("user {user}"))))),
                }
            }
            results.extend(self.alter_once(&requests).await);
            changes.retain(|user, waiting| !waiting.is_empty() && results.get(user).is_some_and(Result::is_ok));
        }
        results
    }

    async fn alter_once(&self, changes: &BTreeMap<String, Change>) -> PerKey<String, ()> {
        let build = |_, users: &[String]| {
            let mut request = AlterUserScramCredentialsRequest::default();
            for change in users.iter().filter_map(|user| changes.get(user)) {
                match change {
                    Change::Deletion(deletion) => request.deletions.push(deletion.clone()),
                    Change::Upsertion(upsertion) => request.upsertions.push(upsertion.clone()),
                }
            }
            Ok(request)
        };
        let read = |response: AlterUserScramCredentialsResponse, _: &[String]| {
            let results = response.results.iter().map(|result| {
                let what = format!("user {}", result.user);
                (result.user.to_string(), check_code(result.error_code, &what, result.error_message.as_deref()))
            });
            results.collect()
        };
        self.per_key(Controller, changes.keys().cloned(), usize::MAX, build, read).await
    }

    fn change(&self, alteration: &ScramAlteration) -> Result<Change> {
        Ok(match alteration {
            ScramAlteration::Delete { user, mechanism } => Change::Deletion(ScramCredentialDeletion {
                name: text(user),
                mechanism: mechanism.code(),
                ..Default::default()
            }),
            ScramAlteration::Upsert { user, mechanism, iterations, password, salt } => {
                let salt = salt.clone().unwrap_or_else(|| self.salt());
                Change::Upsertion(ScramCredentialUpsertion {
                    name: text(user),
                    mechanism: mechanism.code(),
                    iterations: *iterations as i32,
                    salted_password: salted(*mechanism, *iterations, password, &salt)?,
                    salt: Bytes::from(salt),
                    ..Default::default()
                })
            }
        })
    }

    fn salt(&self) -> Vec<u8> {
        (0..4).flat_map(|_| self.client.env().random_u64().to_be_bytes()).collect()
    }
}

/// An alteration as a request has it.
enum Change {
    Deletion(ScramCredentialDeletion),
    Upsertion(ScramCredentialUpsertion),
}

fn salted(mechanism: ScramMechanism, iterations: u32, password: &[u8], salt: &[u8]) -> Result<Bytes> {
    let (algorithm, length) = match mechanism {
        ScramMechanism::Sha256 => (pbkdf2::PBKDF2_HMAC_SHA256, digest::SHA256_OUTPUT_LEN),
        ScramMechanism::Sha512 => (pbkdf2::PBKDF2_HMAC_SHA512, digest::SHA512_OUTPUT_LEN),
        ScramMechanism::Unknown => return Err(Error::invalid("the SCRAM mechanism is not known")),
    };
    let count = NonZeroU32::new(iterations).filter(|count| ITERATIONS.contains(&count.get()));
    let count = count.ok_or_else(|| {
        let (least, most) = (ITERATIONS.start(), ITERATIONS.end());
        Error::invalid(format!("{iterations} iterations are not between {least} and {most}"))
    })?;
    let mut key = vec![0; length];
    pbkdf2::derive(algorithm, count, salt, password, &mut key);
    Ok(Bytes::from(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677's example: user "user", password "pencil", and the stored key that follows from it.
    #[test]
    fn a_password_is_salted_as_the_rfc_has_it() {
        let salt = [0x5b, 0x6d, 0x99, 0x68, 0x9d, 0x12, 0x35, 0x8e, 0xec, 0xa0, 0x4b, 0x14, 0x12, 0x36, 0xfa, 0x81];
        let key = salted(ScramMechanism::Sha256, 4096, b"pencil", &salt).expect("enough iterations");
        let expected = "c4a49510323ab4f952cac1fa99441939e78ea74d6be81ddf7096e87513dc615d";
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected);
        assert_eq!(salted(ScramMechanism::Sha512, 4096, b"pencil", &salt).expect("enough iterations").len(), 64);
    }

    #[test]
    fn what_brokers_would_refuse_is_not_sent() {
        let error = salted(ScramMechanism::Sha256, 100, b"x", b"salt").expect_err("too few");
        assert!(error.message().contains("4096"), "{error}");
        let shown = format!("{:?}", ScramAlteration::upsert("u", ScramMechanism::Sha512, "secret"));
        assert!(!shown.contains("secret") && shown.contains("\"u\""), "{shown}");
    }
}
