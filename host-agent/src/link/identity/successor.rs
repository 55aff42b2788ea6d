//! The identity's successor: a new key, then its certificate, beside the old ones until they are proven to work.
//!
//! Four files, changed by rename only, one at a time. Killed between any two of these steps, the host has a usable identity:
//!
//! | lies there | then |
//! |---|---|
//! | `key`, `chain` | that is the identity |
//! | … and `renewal-key` | a renewal was begun; the same key asks again |
//! | … and `renewal-chain` | its certificate came; whether it works is not known here, so both are tried |
//! | new `key`, old `chain`, `renewal-chain` | it works; the identity is `key` with `renewal-chain` |
//! | new `key`, new `chain` | done |

use std::io;

use rcgen::{KeyPair, PublicKeyData as _};
use sha2::{Digest as _, Sha256};
use zhylon_shared::redact::Secret;
use zhylon_shared::tls;

use super::{ABOUT, CA, CHAIN, EnrollmentLock, Identity, KEY, Store};

pub(super) const RENEWAL_KEY: &str = "renewal-key.pem";
pub(super) const RENEWAL_CHAIN: &str = "renewal-chain.pem";

impl Store {
    /// The lock, if the identity is still this one: an enrolment may have given the host another one meanwhile. The error
    /// is for people.
    pub(in crate::link) fn lock_for(&self, identity: &Identity) -> io::Result<EnrollmentLock> {
        let lock = self.lock()?;
        let lock = lock.ok_or_else(|| io::Error::other("an enrolment of this host is running"))?;
        match self.load()? {
            Some(now) if now.chain == identity.chain && now.about == identity.about => Ok(lock),
            _ => Err(io::Error::other("this host was enrolled anew meanwhile")),
        }
    }

    /// The key of a renewal that was begun; one that is damaged is none.
    pub(in crate::link) fn renewal_key(&self) -> io::Result<Option<KeyPair>> {
        Ok(self
            .read_if_there(RENEWAL_KEY)?
            .and_then(|pem| KeyPair::from_pem(&pem).ok()))
    }

    /// Keeps the key of a renewal that begins: before anyone hears of it.
    pub(in crate::link) fn keep_renewal_key(
        &self,
        _lock: &EnrollmentLock,
        key: &KeyPair,
    ) -> io::Result<()> {
        // A certificate of another key is no one's now.
        self.remove(RENEWAL_CHAIN)?;
        self.write(RENEWAL_KEY, Secret::new(key.serialize_pem()).expose())
    }

    /// Keeps the certificate that came for the renewal's key.
    pub(in crate::link) fn keep_renewal_chain(
        &self,
        _lock: &EnrollmentLock,
        chain: &str,
    ) -> io::Result<()> {
        self.write(RENEWAL_CHAIN, chain)
    }

    /// The identity as it will be, once its certificate is there.
    pub(in crate::link) fn successor(&self) -> io::Result<Option<Identity>> {
        let (Some(key), Some(chain)) = (
            self.read_if_there(RENEWAL_KEY)?,
            self.read_if_there(RENEWAL_CHAIN)?,
        ) else {
            return Ok(None);
        };
        if !fit(&key, &chain) {
            return Ok(None);
        }
        let about = self.about()?;
        let ca = self.read(CA)?;
        Ok(about.map(|about| Identity {
            about,
            key: Secret::new(key),
            chain,
            ca,
        }))
    }

    /// The successor works: it is the identity now. `step` is called between the steps.
    pub(in crate::link) fn promote(
        &self,
        _lock: &EnrollmentLock,
        step: impl Fn(&'static str),
    ) -> io::Result<()> {
        // Without its key this is the second half of one that was broken off.
        if self.read_if_there(RENEWAL_KEY)?.is_some() {
            self.rename(RENEWAL_KEY, KEY)?;
            step("renewal-promoted-key");
        }
        self.rename(RENEWAL_CHAIN, CHAIN)
    }

    /// The successor is of no use.
    pub(in crate::link) fn drop_successor(&self, _lock: &EnrollmentLock) -> io::Result<()> {
        self.drop_renewal()
    }

    /// Whom the agent listener is trusted by from now on.
    pub(in crate::link) fn keep_bundle(&self, _lock: &EnrollmentLock, pem: &str) -> io::Result<()> {
        self.write(CA, pem)
    }

    /// The chain of the key that lies there: a promotion may have been broken off after the key's rename.
    pub(super) fn chain_of(&self, key: &str) -> io::Result<String> {
        let chain = self.read(CHAIN)?;
        if fit(key, &chain) {
            return Ok(chain);
        }
        match self.read_if_there(RENEWAL_CHAIN)? {
            Some(renewed) if fit(key, &renewed) => Ok(renewed),
            // Half replaced or damaged: whoever uses it says so.
            _ => Ok(chain),
        }
    }

    pub(super) fn drop_renewal(&self) -> io::Result<()> {
        self.remove(RENEWAL_CHAIN)?;
        self.remove(RENEWAL_KEY)
    }

    /// Whether a promotion was broken off.
    pub(in crate::link) fn is_half_promoted(&self) -> io::Result<bool> {
        if self.read_if_there(ABOUT)?.is_none() || self.read_if_there(RENEWAL_KEY)?.is_some() {
            return Ok(false);
        }
        let Some(renewed) = self.read_if_there(RENEWAL_CHAIN)? else {
            return Ok(false);
        };
        Ok(fit(&self.read(KEY)?, &renewed))
    }

    fn read_if_there(&self, name: &str) -> io::Result<Option<String>> {
        match self.read(name) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Whether a key and the first certificate of a chain belong together.
pub(in crate::link) fn fit(key_pem: &str, chain_pem: &str) -> bool {
    let (Ok(key), Ok(chain)) = (
        KeyPair::from_pem(key_pem),
        tls::certificates(chain_pem.as_bytes()),
    ) else {
        return false;
    };
    let hash: [u8; 32] = Sha256::digest(key.subject_public_key_info()).into();
    let leaf = chain.first().map(tls::spki_pin);
    matches!(leaf, Some(Ok(pin)) if pin == hash)
}

#[cfg(test)]
mod tests;
