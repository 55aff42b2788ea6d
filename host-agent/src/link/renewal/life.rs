//! When a certificate is renewed: pure, from the certificate alone, so that it is the same after every restart.

use sha2::{Digest as _, Sha256};
use zhylon_shared::tls::{self, TlsError, Validity};

/// A certificate's dates, Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    /// From when to when it holds.
    pub(crate) validity: Validity,
    /// When it is renewed.
    pub(crate) renewal: i64,
}

/// The part of its life (per mille) after which a certificate is renewed at the earliest, and the length of the part in
/// which: spread, so that a fleet enrolled in one hour does not come back in one hour.
const FROM: i128 = 500;
const SPREAD: i128 = 300;

impl Life {
    /// Of the first certificate of a chain (PEM).
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn of(chain_pem: &str) -> Result<Self, TlsError> {
        let validity = tls::validity(chain_pem.as_bytes())?;
        let chain = tls::certificates(chain_pem.as_bytes())?;
        // Its serial number is random: so is its hash, and no one has to remember the choice.
        let digest = Sha256::digest(chain.first().map_or(&[][..], |leaf| leaf.as_ref()));
        let chance = digest
            .iter()
            .take(4)
            .fold(0_u32, |sum, byte| (sum << 8) | u32::from(*byte));
        Ok(Self {
            renewal: renewal(validity, chance),
            validity,
        })
    }
}

/// `chance` is uniform over all values of its type.
fn renewal(validity: Validity, chance: u32) -> i64 {
    let life = i128::from(validity.not_after) - i128::from(validity.not_before);
    let part = FROM * (1 << 32) + SPREAD * i128::from(chance);
    let after = life.max(0) * part / (1000 * (1 << 32));
    i64::try_from(i128::from(validity.not_before) + after).unwrap_or(validity.not_after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_half_and_four_fifths_of_its_life() {
        let month = Validity {
            not_before: 1000,
            not_after: 1000 + 30 * 86_400,
        };
        let day = |chance| (renewal(month, chance) - 1000) as f64 / 86_400.0;
        assert!((day(0) - 15.0).abs() < 0.001, "{}", day(0));
        assert!((day(u32::MAX / 2) - 19.5).abs() < 0.001);
        assert!((day(u32::MAX) - 24.0).abs() < 0.001);
        let broken = Validity {
            not_before: i64::MIN,
            not_after: i64::MAX,
        };
        assert!((broken.not_before..=broken.not_after).contains(&renewal(broken, 7)));
    }

    #[test]
    fn every_certificate_has_its_own_time_and_keeps_it() {
        let key = rcgen::KeyPair::generate().unwrap();
        let made = || {
            let serial = crate::link::connect::random().to_be_bytes();
            let mut params = rcgen::CertificateParams::default();
            params.serial_number = Some(rcgen::SerialNumber::from_slice(&serial));
            params.not_before = std::time::SystemTime::UNIX_EPOCH.into();
            params.not_after = (std::time::SystemTime::UNIX_EPOCH
                + std::time::Duration::from_secs(1_000_000))
            .into();
            params.self_signed(&key).unwrap().pem()
        };
        let mut times: Vec<i64> = (0..200)
            .map(|_| {
                let pem = made();
                let life = Life::of(&pem).unwrap();
                assert_eq!(Life::of(&pem).unwrap(), life);
                life.renewal
            })
            .collect();
        times.sort_unstable();
        assert!((500_000..530_000).contains(&times[0]), "{times:?}");
        assert!((770_000..=800_000).contains(&times[199]), "{times:?}");
        times.dedup();
        assert!(times.len() > 195, "{times:?}");
        assert!(Life::of("junk").is_err());
    }
}
