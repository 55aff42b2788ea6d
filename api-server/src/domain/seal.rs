//! Sealing: environment values at rest, and page tokens that no one but us can make. The key lies outside the database,
//! so neither a copy of the database nor a write to it shows or swaps a value.

use std::collections::BTreeMap;
use std::fmt;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::{hkdf, hmac};
use zhylon_shared::id::DaemonId;
use zhylon_shared::redact::Secret;

use super::Error;

/// First byte of everything sealed: the form of the rest, so that it can change.
const FORM: u8 = 1;

/// Environment variables in the clear.
pub(crate) type Environment = BTreeMap<String, Secret>;

/// The 32-byte key that seals environment values; lies in a file outside the database.
#[derive(Clone)]
pub(crate) struct EnvironmentKey {
    values: LessSafeKey,
    pages: hmac::Key,
}

impl EnvironmentKey {
    /// Takes the bytes of the key file.
    #[must_use]
    pub(crate) fn new(secret: [u8; 32]) -> Self {
        // One key per purpose, so that nothing made for one can serve the other.
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, b"zhylon 1").extract(&secret);
        let derive = |purpose: &'static [u8]| {
            let mut out = [0; 32];
            secret
                .expand(&[purpose], hkdf::HKDF_SHA256)
                .and_then(|okm| okm.fill(&mut out))
                .map(|()| out)
        };
        let values = derive(b"environment")
            .and_then(|key| UnboundKey::new(&AES_256_GCM, &key))
            .expect("HKDF gives 32 bytes, and AES-256 takes 32");
        let pages = derive(b"pages").expect("HKDF gives 32 bytes");
        Self {
            values: LessSafeKey::new(values),
            pages: hmac::Key::new(hmac::HMAC_SHA256, &pages),
        }
    }

    /// Seals the environment of one daemon; an empty one is empty.
    pub(crate) fn seal(
        &self,
        daemon: DaemonId,
        environment: &Environment,
    ) -> Result<Vec<u8>, Error> {
        if environment.is_empty() {
            return Ok(Vec::new());
        }
        let broken = |_| Error::Internal("an environment can not be sealed".to_owned());
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce)?;
        let mut text =
            serde_json::to_vec(environment).map_err(|_| broken(ring::error::Unspecified))?;
        self.values
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(daemon.to_string()),
                &mut text,
            )
            .map_err(broken)?;
        Ok([&[FORM], nonce.as_slice(), &text].concat())
    }

    /// Opens what [`EnvironmentKey::seal`] gave for this daemon.
    ///
    /// # Errors
    /// When it was sealed with another key, for another daemon, or altered.
    pub(crate) fn open(&self, daemon: DaemonId, sealed: &[u8]) -> Result<Environment, Error> {
        let broken = || {
            Error::Internal(format!(
                "the environment of {daemon} can not be opened: it was sealed with another key or altered"
            ))
        };
        let Some((&form, rest)) = sealed.split_first() else {
            return Ok(Environment::new());
        };
        let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(broken)?;
        if form != FORM {
            return Err(broken());
        }
        let mut text = text.to_vec();
        let text = self
            .values
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(daemon.to_string()),
                &mut text,
            )
            .map_err(|_| broken())?;
        serde_json::from_slice(text).map_err(|_| broken())
    }

    /// Signs the parts of a page token.
    pub(super) fn sign(&self, parts: &[&[u8]]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.pages);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        context.sign()
    }
}

impl fmt::Debug for EnvironmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnvironmentKey(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_for_the_same_daemon_and_key_only() {
        let key = EnvironmentKey::new([7; 32]);
        let id = DaemonId::random().unwrap();
        let environment = Environment::from([("A".to_owned(), Secret::new("canary"))]);
        let sealed = key.seal(id, &environment).unwrap();
        assert_eq!(key.open(id, &sealed).unwrap(), environment);
        assert_ne!(key.seal(id, &environment).unwrap(), sealed, "nonces differ");
        assert!(!sealed.windows(6).any(|bytes| bytes == b"canary"));
        assert!(key.open(DaemonId::random().unwrap(), &sealed).is_err());
        assert!(EnvironmentKey::new([8; 32]).open(id, &sealed).is_err());
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            let error = key.open(id, &altered).unwrap_err();
            assert!(!error.to_string().contains("canary"));
        }
        assert!(key.open(id, &sealed[..5]).is_err());
        assert!(key.open(id, &[]).unwrap().is_empty());
        assert_eq!(format!("{key:?}"), "EnvironmentKey(***)");
    }
}
