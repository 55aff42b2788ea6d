//! Bearer tokens `zhy_<id>_<secret>_<crc>` and enrolment tokens `zhye_<pin>_<id>_<secret>`.
//!
//! The secret has 32 characters of `[0-9A-Za-z]` (190 bits). Only its SHA-256 is ever stored. The CRC-32 lets typing
//! errors and secret scanners be told without asking the server (GitHub's form).

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::id::{EnrollmentId, TokenId, fill_alphanumeric};
use crate::redact::Secret;

/// Characters of a secret.
pub const SECRET_LEN: usize = 32;

/// SHA-256 of a secret: what is stored instead of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretHash(pub [u8; 32]);

/// A text that is not a token of this form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Prefix, number of parts or characters are wrong.
    #[error("not a token: expected {0}")]
    Form(&'static str),
    /// The check sum does not fit: a typing error or a cut.
    #[error("the token's check sum does not fit: it was mistyped or cut")]
    Checksum,
}

/// A bearer token.
#[derive(Debug, Clone)]
pub struct BearerToken {
    /// Which token it is.
    pub id: TokenId,
    /// Its secret.
    pub secret: Secret,
}

/// An enrolment token.
#[derive(Debug, Clone)]
pub struct EnrollmentToken {
    /// SHA-256 of the public key (SPKI) the public listener's chain must hold; checked before the secret is sent.
    pub pin: [u8; 32],
    /// Which token it is.
    pub id: EnrollmentId,
    /// Its secret.
    pub secret: Secret,
}

/// A new random secret.
///
/// # Errors
/// When the operating system has no randomness to give.
pub fn new_secret() -> Result<Secret, getrandom::Error> {
    let mut bytes = [0; SECRET_LEN];
    fill_alphanumeric(&mut bytes)?;
    Ok(Secret::new(String::from_utf8_lossy(&bytes).into_owned()))
}

/// The hash that is stored for a secret.
#[must_use]
pub fn hash(secret: &Secret) -> SecretHash {
    SecretHash(Sha256::digest(secret.expose().as_bytes()).into())
}

/// Whether `secret` has this hash, in constant time.
#[must_use]
pub fn verify(secret: &Secret, stored: &[u8]) -> bool {
    hash(secret).0.as_slice().ct_eq(stored).into()
}

impl BearerToken {
    /// The text that is shown once.
    #[must_use]
    pub fn to_text(&self) -> Secret {
        let body = format!("{}_{}", self.id.bare(), self.secret.expose());
        Secret::new(format!(
            "zhy_{body}_{:08x}",
            crc32fast::hash(body.as_bytes())
        ))
    }

    /// Reads a token.
    ///
    /// # Errors
    /// When it has another form, or its check sum does not fit.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        const FORM: TokenError = TokenError::Form("`zhy_<id>_<secret>_<crc>`");
        let (body, crc) = text
            .strip_prefix("zhy_")
            .and_then(|t| t.rsplit_once('_'))
            .ok_or(FORM)?;
        let (id, secret) = body.split_once('_').ok_or(FORM)?;
        let id = TokenId::from_bare(id).map_err(|_| FORM)?;
        let secret = parse_secret(secret).ok_or(FORM)?;
        if format!("{:08x}", crc32fast::hash(body.as_bytes())) != crc {
            return Err(TokenError::Checksum);
        }
        Ok(Self { id, secret })
    }
}

impl EnrollmentToken {
    /// The text that is shown once.
    #[must_use]
    pub fn to_text(&self) -> Secret {
        use std::fmt::Write as _;
        let mut pin = String::with_capacity(64);
        for byte in self.pin {
            let _ = write!(pin, "{byte:02x}");
        }
        Secret::new(format!(
            "zhye_{pin}_{}_{}",
            self.id.bare(),
            self.secret.expose()
        ))
    }

    /// The part that is sent to the server once the pin was checked: `<id>_<secret>`.
    #[must_use]
    pub fn credential(&self) -> Secret {
        Secret::new(format!("{}_{}", self.id.bare(), self.secret.expose()))
    }

    /// Reads what [`EnrollmentToken::credential`] gives.
    ///
    /// # Errors
    /// When it has another form.
    pub fn parse_credential(text: &str) -> Result<(EnrollmentId, Secret), TokenError> {
        const FORM: TokenError = TokenError::Form("`<id>_<secret>` of an enrolment token");
        let (id, secret) = text.split_once('_').ok_or(FORM)?;
        let id = EnrollmentId::from_bare(id).map_err(|_| FORM)?;
        Ok((id, parse_secret(secret).ok_or(FORM)?))
    }

    /// Reads a token.
    ///
    /// # Errors
    /// When it has another form.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        const FORM: TokenError = TokenError::Form("`zhye_<pin>_<id>_<secret>`");
        let (pin_hex, credential) = text
            .strip_prefix("zhye_")
            .and_then(|t| t.split_once('_'))
            .ok_or(FORM)?;
        if pin_hex.len() != 64 || !pin_hex.is_ascii() {
            return Err(FORM);
        }
        let mut pin = [0; 32];
        for (byte, digits) in pin.iter_mut().zip(pin_hex.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| FORM)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| FORM)?;
        }
        let (id, secret) = Self::parse_credential(credential).map_err(|_| FORM)?;
        Ok(Self { pin, id, secret })
    }
}

fn parse_secret(text: &str) -> Option<Secret> {
    (text.len() == SECRET_LEN && text.bytes().all(|b| b.is_ascii_alphanumeric()))
        .then(|| Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bearer_round_trip_and_typos() {
        let token = BearerToken {
            id: TokenId::random().unwrap(),
            secret: new_secret().unwrap(),
        };
        let text = token.to_text();
        let parsed = BearerToken::parse(text.expose()).unwrap();
        assert_eq!(parsed.id, token.id);
        assert!(verify(&parsed.secret, &hash(&token.secret).0));
        assert!(!verify(&new_secret().unwrap(), &hash(&token.secret).0));
        let mut typo = text.expose().to_owned();
        let last = typo.len() - 12;
        let other = if typo.as_bytes()[last] == b'a' {
            "b"
        } else {
            "a"
        };
        typo.replace_range(last..=last, other);
        assert_eq!(BearerToken::parse(&typo).unwrap_err(), TokenError::Checksum);
        for text in ["", "zhy_", "zhy_a_b_c", "zhye_a_b_c", &text.expose()[..40]] {
            assert!(
                matches!(BearerToken::parse(text), Err(TokenError::Form(_))),
                "{text}"
            );
        }
        assert_eq!(format!("{token:?}").matches("***").count(), 1);
    }

    #[test]
    fn enrollment_round_trip() {
        let token = EnrollmentToken {
            pin: [0xa5; 32],
            id: EnrollmentId::random().unwrap(),
            secret: new_secret().unwrap(),
        };
        let parsed = EnrollmentToken::parse(token.to_text().expose()).unwrap();
        assert_eq!((parsed.pin, parsed.id), (token.pin, token.id));
        let (id, secret) = EnrollmentToken::parse_credential(token.credential().expose()).unwrap();
        assert_eq!((id, secret), (token.id, token.secret));
        for text in ["", "zhye_", "zhye_zz_a_b", "zhy_a_b_c"] {
            assert!(EnrollmentToken::parse(text).is_err(), "{text}");
        }
    }
}
