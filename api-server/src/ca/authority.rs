//! One authority: a P-256 key and a self-signed certificate that may sign leaves and nothing else.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PublicKeyData, SanType, SerialNumber,
};
use zhylon_shared::tls;

use super::{BACKDATED, CaError};
use crate::files;

/// Life of an authority: its key is pinned and trusted on hosts nobody visits.
const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Life of a listener's certificate. It is made anew at every start.
const LISTENER_LIFE: Duration = Duration::from_secs(397 * 24 * 3600);
/// An authority nearer to its end than this is worth a warning at every start.
const WARN_BEFORE_END: Duration = Duration::from_secs(90 * 24 * 3600);
/// Random bytes of a serial number; 16 are unique without bookkeeping, and RFC 5280 allows up to 20.
const SERIAL_LEN: usize = 16;

/// A certificate and its key, for a listener.
pub(crate) struct Listener {
    /// Leaf first, the authority last, PEM.
    pub(crate) chain_pem: String,
    /// The leaf's key, PEM.
    pub(crate) key_pem: String,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}

/// What a leaf says; nothing of it comes from who asks for it.
#[derive(Debug)]
pub(crate) struct Leaf {
    /// For people.
    pub(crate) common_name: String,
    /// Who it is.
    pub(crate) names: Vec<SanType>,
    /// The one thing it may be used for.
    pub(crate) usage: ExtendedKeyUsagePurpose,
    /// How long, from now; cut at the authority's own end.
    pub(crate) life: Duration,
}

/// A leaf, signed.
pub(super) struct Signed {
    pub(super) certificate: Certificate,
    pub(super) serial: Vec<u8>,
}

/// A certificate authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    not_after: SystemTime,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// Loads `<name>.key` and `<name>.pem` of `directory`, or makes them. A key without its certificate (a crash
    /// between the two) gets a new one: same key, same name, so what trusted the old one trusts it too.
    pub(crate) fn load_or_make(
        directory: &Path,
        name: &str,
        common_name: &str,
        now: SystemTime,
    ) -> Result<Self, CaError> {
        let key_path = directory.join(format!("{name}.key"));
        let pem_path = directory.join(format!("{name}.pem"));
        let broken = |path: &Path, reason: String| CaError::Broken {
            path: path.display().to_string(),
            reason,
        };
        let key = match files::read_private(&key_path)? {
            Some(bytes) => KeyPair::from_pem(&String::from_utf8_lossy(&bytes))
                .map_err(|error| broken(&key_path, format!("is not a private key: {error}")))?,
            None if pem_path.exists() => {
                let reason = "is missing, but its certificate is there: restore it from a backup";
                return Err(broken(&key_path, reason.to_owned()));
            }
            None => {
                let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
                files::write(&key_path, key.serialize_pem().as_bytes(), files::PRIVATE)?;
                key
            }
        };
        if !pem_path.exists() {
            let made = authority_params(common_name, now)?.self_signed(&key)?;
            files::write(&pem_path, made.pem().as_bytes(), files::READABLE)?;
        }
        let certificate_pem = String::from_utf8_lossy(&tls::read(&pem_path)?).into_owned();
        let chain = tls::certificates(certificate_pem.as_bytes())
            .map_err(|error| broken(&pem_path, error.to_string()))?;
        let certificate = chain
            .first()
            .ok_or_else(|| broken(&pem_path, "is empty".into()))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
            .map_err(|error| broken(&pem_path, format!("is not a certificate: {error}")))?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            let reason = format!("is not the certificate of {}", key_path.display());
            return Err(broken(&pem_path, reason));
        }
        let ends = parsed.validity().not_after.timestamp();
        let not_after = SystemTime::UNIX_EPOCH + Duration::from_secs(ends.max(0).cast_unsigned());
        if not_after < now + WARN_BEFORE_END {
            tracing::warn!(path = %pem_path.display(), "this certificate authority is near its end or past it");
        }
        let issuer = Issuer::from_ca_cert_der(certificate, key)?;
        Ok(Self {
            issuer,
            certificate_pem,
            not_after,
        })
    }

    /// Its own certificate, PEM.
    pub(crate) fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// A new key and certificate for a listener that is reached by these names.
    pub(crate) fn listener(&self, names: &[String], now: SystemTime) -> Result<Listener, CaError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let leaf = Leaf {
            common_name: names.first().cloned().unwrap_or_default(),
            names: CertificateParams::new(names)?.subject_alt_names,
            usage: ExtendedKeyUsagePurpose::ServerAuth,
            life: LISTENER_LIFE,
        };
        let signed = self.sign(leaf, &key, now)?;
        Ok(Listener {
            chain_pem: format!("{}{}", signed.certificate.pem(), self.certificate_pem),
            key_pem: key.serialize_pem(),
        })
    }

    pub(super) fn sign(
        &self,
        leaf: Leaf,
        key: &impl PublicKeyData,
        now: SystemTime,
    ) -> Result<Signed, CaError> {
        let serial = random_serial()?;
        let mut params = CertificateParams::default();
        params.not_before = (now - BACKDATED).into();
        params.not_after = self.not_after.min(now + leaf.life).into();
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.subject_alt_names = leaf.names;
        params.distinguished_name = common_name(&leaf.common_name);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![leaf.usage];
        params.use_authority_key_identifier_extension = true;
        Ok(Signed {
            certificate: params.signed_by(key, &self.issuer)?,
            serial,
        })
    }
}

fn authority_params(name: &str, now: SystemTime) -> Result<CertificateParams, CaError> {
    let mut params = CertificateParams::default();
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + AUTHORITY_LIFE).into();
    params.serial_number = Some(SerialNumber::from_slice(&random_serial()?));
    params.distinguished_name = common_name(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn common_name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

/// Positive and without a leading zero, so that it has one encoding only.
fn random_serial() -> Result<Vec<u8>, CaError> {
    let mut serial = vec![0; SERIAL_LEN];
    getrandom::fill(&mut serial).map_err(CaError::Randomness)?;
    serial[0] = serial[0] & 0x7f | 0x40;
    Ok(serial)
}
