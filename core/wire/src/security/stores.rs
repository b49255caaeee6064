//! Key stores and trust stores: PEM, PKCS12 and JKS. What a file is, its content tells; the type that is configured only
//! has to be one of these, as Java too opens PKCS12 under the name of JKS.

use super::{Secret, TlsOptions, der, jks};
use ottla_env::Env;
use p12_keystore::Pkcs12Archive;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::ParsedCertificate;
use std::path::Path;

/// Stores larger than this are not read: the largest bundles of roots have a few hundred KiB.
const STORE_SIZE_MAX: usize = 64 << 20;

/// The certificates to trust; `None` where no trust store is configured and the system's roots count.
pub(super) fn trusted(env: &Env, options: &TlsOptions) -> Result<Option<Vec<CertificateDer<'static>>>, String> {
    if let Some(pem) = &options.truststore_certificates {
        need_pem("ssl.truststore.certificates", "ssl.truststore.type", &options.truststore_type)?;
        if options.truststore_location.is_some() {
            return Err("ssl.truststore.certificates and ssl.truststore.location are both set; keep one".to_owned());
        }
        return certificates(pem.reveal().as_bytes())
            .map(Some)
            .map_err(|reason| format!("ssl.truststore.certificates: {reason}"));
    }
    let Some(location) = &options.truststore_location else { return Ok(None) };
    let found = read(env, location, &options.truststore_type).and_then(|file| {
        let password = options.truststore_password.as_ref().map(Secret::reveal);
        match Format::of(&file)? {
            Format::Pem => certificates(&file),
            Format::Jks => Ok(jks::read(&file, password)?.trusted),
            // Also those that Java has not marked as trusted: other tools cannot mark them.
            Format::Pkcs12 => {
                let archive = pkcs12(&file, password)?;
                let trusted = archive.certs.into_iter().filter(|bag| bag.trusted || bag.local_key_id.is_none());
                Ok(trusted.map(|bag| CertificateDer::from(bag.cert.as_der().to_vec())).collect())
            }
        }
    });
    match found {
        Ok(found) if found.is_empty() => {
            Err(format!("ssl.truststore.location={location}: there is no trusted certificate in it"))
        }
        Ok(found) => Ok(Some(found)),
        Err(reason) => Err(format!("ssl.truststore.location={location}: {reason}")),
    }
}

/// The client's own certificate chain, its own first, and private key.
pub(super) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The client's own certificate and key, where one is configured.
pub(super) fn identity(env: &Env, options: &TlsOptions) -> Result<Option<Identity>, String> {
    let Some((chain, key)) = stored_identity(env, options)? else { return Ok(None) };
    let mended = match (&key, chain.first()) {
        (PrivateKeyDer::Pkcs8(pkcs8), Some(own)) => ParsedCertificate::try_from(own).ok().and_then(|own| {
            let spki = own.subject_public_key_info();
            der::with_public_key(pkcs8.secret_pkcs8_der(), der::public_key(&spki)?)
        }),
        _ => None,
    };
    let key = mended.map_or(key, |mended| PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(mended)));
    Ok(Some((chain, key)))
}

fn stored_identity(env: &Env, options: &TlsOptions) -> Result<Option<Identity>, String> {
    let key_password = options.key_password.as_ref().map(Secret::reveal);
    if let Some(key) = &options.keystore_key {
        need_pem("ssl.keystore.key", "ssl.keystore.type", &options.keystore_type)?;
        let chain = options.keystore_certificate_chain.as_ref();
        let chain = chain.ok_or("ssl.keystore.key is set, ssl.keystore.certificate.chain is not")?;
        let chain = certificates(chain.reveal().as_bytes())
            .map_err(|reason| format!("ssl.keystore.certificate.chain: {reason}"))?;
        let key = private_key(key.reveal().as_bytes(), key_password)
            .map_err(|reason| format!("ssl.keystore.key: {reason}"))?;
        return Ok(Some((chain, key)));
    }
    if options.keystore_certificate_chain.is_some() {
        return Err("ssl.keystore.certificate.chain is set, ssl.keystore.key is not".to_owned());
    }
    let Some(location) = &options.keystore_location else { return Ok(None) };
    let found = read(env, location, &options.keystore_type).and_then(|file| {
        let password = options.keystore_password.as_ref().map(Secret::reveal);
        match Format::of(&file)? {
            Format::Pem => Ok((certificates(&file)?, private_key(&file, key_password)?)),
            Format::Jks => {
                let (key, chain) = jks::read(&file, password)?.keys.pop().ok_or("there is no private key in it")?;
                let password = key_password.or(password).ok_or("ssl.key.password is needed for its key")?;
                Ok((chain, jks::unlock(&key, password)?))
            }
            Format::Pkcs12 => pkcs12_identity(&file, password),
        }
    });
    found.map(Some).map_err(|reason| format!("ssl.keystore.location={location}: {reason}"))
}

enum Format {
    Pem,
    Jks,
    Pkcs12,
}

impl Format {
    fn of(file: &[u8]) -> Result<Format, String> {
        match file {
            _ if file.starts_with(&jks::MAGIC) => Ok(Format::Jks),
            [0xce, 0xce, 0xce, 0xce, ..] => Err(format!("JCEKS cannot be read; {CONVERT}")),
            [0x30, ..] => Ok(Format::Pkcs12),
            _ if file.windows(11).any(|bytes| bytes == b"-----BEGIN ") => Ok(Format::Pem),
            _ => Err("this is neither PEM nor PKCS12 nor JKS".to_owned()),
        }
    }
}

const CONVERT: &str =
    "convert it with keytool -importkeystore -srckeystore OLD -destkeystore NEW -deststoretype PKCS12";

fn need_pem(config: &str, type_config: &str, kind: &str) -> Result<(), String> {
    match kind.eq_ignore_ascii_case("PEM") {
        true => Ok(()),
        false => Err(format!("{config} needs {type_config}=PEM, it is {kind}")),
    }
}

fn read(env: &Env, location: &str, kind: &str) -> Result<Vec<u8>, String> {
    if !["PEM", "PKCS12", "JKS"].iter().any(|known| known.eq_ignore_ascii_case(kind)) {
        return Err(format!("the type {kind} cannot be read; use PEM, PKCS12 or JKS: {CONVERT}"));
    }
    let file = env.fs().read(Path::new(location)).map_err(|error| error.to_string())?;
    match file.len() <= STORE_SIZE_MAX {
        true => Ok(file),
        false => Err("the file is too large for a key store".to_owned()),
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err("there is no -----BEGIN CERTIFICATE----- in it".to_owned()),
        Ok(found) => Ok(found),
        Err(error) => Err(format!("a certificate cannot be read: {error}")),
    }
}

fn private_key(pem: &[u8], password: Option<&str>) -> Result<PrivateKeyDer<'static>, String> {
    const LOCKED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
    const LOCKED_END: &str = "-----END ENCRYPTED PRIVATE KEY-----";
    let text = std::str::from_utf8(pem).map_err(|_| "the PEM is not text")?;
    let Some(start) = text.find(LOCKED) else {
        return PrivateKeyDer::from_pem_slice(pem).map_err(|_| "there is no private key in it".to_owned());
    };
    let end = text.find(LOCKED_END).ok_or("the private key has no end line")? + LOCKED_END.len();
    let password = password.ok_or("the private key is encrypted; set ssl.key.password")?;
    let locked = text.get(start..end).ok_or("the private key's end line comes before its start")?;
    let (_, locked) = pkcs8::SecretDocument::from_pem(locked).map_err(|error| format!("the private key: {error}"))?;
    let locked = pkcs8::EncryptedPrivateKeyInfoRef::try_from(locked.as_bytes())
        .map_err(|error| format!("the private key is encrypted in a way that is not known: {error}"))?;
    let plain = locked.decrypt(password).map_err(|_| "ssl.key.password does not open the private key".to_owned())?;
    Ok(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(plain.as_bytes().to_vec())))
}

fn pkcs12(file: &[u8], password: Option<&str>) -> Result<Pkcs12Archive, String> {
    Pkcs12Archive::from_pkcs12(file, password.unwrap_or_default())
        .map_err(|error| format!("the PKCS12 store cannot be opened; is the password right? ({error})"))
}

/// The first private key with its chain, in order from its own certificate up.
fn pkcs12_identity(file: &[u8], password: Option<&str>) -> Result<Identity, String> {
    let archive = pkcs12(file, password)?;
    let key = archive.keys.first().ok_or("there is no private key in it")?;
    let id = key.local_key_id.as_ref().map(|id| id.0.as_slice());
    let own = archive.certs.iter().position(|bag| bag.local_key_id.as_deref() == id);
    // A store made by another tool may not say which certificate is the key's: then there is one.
    let mut rest: Vec<_> = archive.certs.iter().map(|bag| &bag.cert).collect();
    if rest.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    let mut chain = vec![rest.remove(own.unwrap_or(0))];
    while let Some(next) = chain.last().and_then(|last| {
        let issued = last.issuer() != last.subject();
        rest.iter().position(|cert| issued && cert.subject() == last.issuer())
    }) {
        chain.push(rest.remove(next));
    }
    let chain = chain.into_iter().map(|cert| CertificateDer::from(cert.as_der().to_vec())).collect();
    let key = PrivatePkcs8KeyDer::from(key.key.as_der().to_vec());
    Ok((chain, PrivateKeyDer::Pkcs8(key)))
}
