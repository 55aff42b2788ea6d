use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, PKCS_ECDSA_P384_SHA384};
use x509_parser::prelude::GeneralName;

use super::identity::{Dates, NotAnAgent};
use super::*;
use crate::files;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn ca(dir: &tempfile::TempDir) -> AgentCa {
    AgentCa::load_or_make(dir.path(), "example.test", now()).unwrap()
}

fn leaf_of(pem: &str) -> rustls_pki_types::CertificateDer<'static> {
    tls::certificates(pem.as_bytes()).unwrap().remove(0)
}

#[test]
fn a_request_gives_its_key_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (ca, server) = (ca(&dir), ServerId::random().unwrap());
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut wish = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
    wish.subject_alt_names.push(SanType::URI(
        "spiffe://example.test/server/AAAAAAAAAAAAAAAAAA"
            .try_into()
            .unwrap(),
    ));
    wish.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    wish.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let request = wish.serialize_request(&key).unwrap();
    let issued = ca.sign(request.der(), server, now()).unwrap();

    let der = leaf_of(&issued.chain_pem);
    let (_, leaf) = x509_parser::parse_x509_certificate(&der).unwrap();
    assert_eq!(leaf.public_key().raw, key.subject_public_key_info());
    assert!(!leaf.is_ca());
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    let uri = format!("spiffe://example.test/server/{}", server.bare());
    assert_eq!(names.value.general_names, [GeneralName::URI(&uri)]);
    let usage = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth && !usage.any);
    let usage = leaf.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && !usage.key_cert_sign());
    let identity = AgentIdentity::parse(&der, "example.test").unwrap();
    assert_eq!(identity.server, server);
    assert_eq!(identity.serial, issued.serial);
    assert_eq!(identity.not_before, now() - BACKDATED);
    assert_eq!(identity.not_after, now() + AGENT_LIFE);
}

#[test]
fn another_kind_of_key_and_no_request_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (ca, server) = (ca(&dir), ServerId::random().unwrap());
    let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let request = CertificateParams::default()
        .serialize_request(&key)
        .unwrap();
    assert!(matches!(
        ca.sign(request.der(), server, now()),
        Err(RequestError::KeyKind)
    ));
    let key = KeyPair::generate().unwrap();
    let good = CertificateParams::default()
        .serialize_request(&key)
        .unwrap();
    let mut forged = good.der().to_vec();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    for bytes in [
        &forged[..],
        b"",
        b"\x30",
        &[0; REQUEST_MAX + 1],
        &good.der()[..100],
    ] {
        assert!(
            matches!(ca.sign(bytes, server, now()), Err(RequestError::Malformed)),
            "{} bytes",
            bytes.len()
        );
    }
}

#[test]
fn serials_differ_and_no_certificate_outlives_its_authority() {
    let dir = tempfile::tempdir().unwrap();
    let (ca, server) = (ca(&dir), ServerId::random().unwrap());
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default()
        .serialize_request(&key)
        .unwrap();
    let first = ca.sign(request.der(), server, now()).unwrap();
    let late = now() + Duration::from_secs((3650 - 10) * 24 * 3600);
    let second = ca.sign(request.der(), server, late).unwrap();
    assert_ne!(first.serial, second.serial);
    let bundle = leaf_of(ca.bundle_pem());
    let (_, authority) = x509_parser::parse_x509_certificate(&bundle).unwrap();
    let end = authority.validity().not_after.timestamp();
    let der = leaf_of(&second.chain_pem);
    let (_, leaf) = x509_parser::parse_x509_certificate(&der).unwrap();
    assert_eq!(leaf.validity().not_after.timestamp(), end);
    let constraints = authority.basic_constraints().unwrap().unwrap().value;
    assert_eq!(
        (constraints.ca, constraints.path_len_constraint),
        (true, Some(0))
    );
}

#[test]
fn an_authority_is_made_once_and_its_key_kept_private() {
    let dir = tempfile::tempdir().unwrap();
    let first = ca(&dir).bundle_pem().to_owned();
    assert_eq!(ca(&dir).bundle_pem(), first);
    let path = |name: &str| dir.path().join(name);
    let load = || AgentCa::load_or_make(dir.path(), "example.test", now());
    let mode = |name: &str| path(name).metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("agent-ca.key"), mode("agent-ca.pem")), (0o600, 0o644));

    std::fs::set_permissions(path("agent-ca.key"), Permissions::from_mode(0o644)).unwrap();
    let error = load().unwrap_err().to_string();
    assert!(
        error.contains("agent-ca.key") && error.contains("0644"),
        "{error}"
    );
    std::fs::set_permissions(path("agent-ca.key"), Permissions::from_mode(0o600)).unwrap();

    // A crash between key and certificate: same key, so what was signed or pinned before still holds.
    std::fs::remove_file(path("agent-ca.pem")).unwrap();
    let again = load().unwrap();
    assert_eq!(pin(again.bundle_pem()).unwrap(), pin(&first).unwrap());

    std::fs::remove_file(path("agent-ca.key")).unwrap();
    let error = load().unwrap_err().to_string();
    assert!(error.contains("restore it"), "{error}");
    let other = KeyPair::generate().unwrap();
    files::write(
        &path("agent-ca.key"),
        other.serialize_pem().as_bytes(),
        0o600,
    )
    .unwrap();
    let error = load().unwrap_err().to_string();
    assert!(error.contains("is not the certificate of"), "{error}");
}

#[test]
fn the_pin_is_that_of_the_topmost_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let ca = ca(&dir);
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let one = ca.listener(&names, now()).unwrap();
    let two = ca.listener(&names, now()).unwrap();
    assert_eq!(
        tls::certificates(one.chain_pem.as_bytes()).unwrap().len(),
        2
    );
    assert_ne!(one.key_pem, two.key_pem);
    assert_eq!(pin(&one.chain_pem).unwrap(), pin(&two.chain_pem).unwrap());
    assert_eq!(pin(&one.chain_pem).unwrap(), pin(ca.bundle_pem()).unwrap());
    assert!(pin("").is_err());
}

#[test]
fn only_exactly_one_name_of_ours_is_an_agent() {
    let key = KeyPair::generate().unwrap();
    let parse = |names: &[&str], domain: &str| {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names
            .iter()
            .map(|name| match name.strip_prefix("dns:") {
                Some(dns) => SanType::DnsName(dns.try_into().unwrap()),
                None => SanType::URI((*name).try_into().unwrap()),
            })
            .collect();
        params.not_before = now().into();
        params.not_after = (now() + AGENT_LIFE).into();
        let certificate = params.self_signed(&key).unwrap();
        AgentIdentity::parse(certificate.der(), domain)
    };
    let good = "spiffe://example.test/server/H3hxDfKZE0mHsxTqwN";
    let identity = parse(&[good], "example.test").unwrap();
    assert_eq!(identity.server.to_string(), "h:H3hxDfKZE0mHsxTqwN");
    assert_eq!(identity.dates(now()), Dates::Valid);
    let second = Duration::from_secs(1);
    assert_eq!(identity.dates(now() - second), Dates::NotYet);
    assert_eq!(identity.dates(now() + AGENT_LIFE + second), Dates::Over);
    for names in [
        &[][..],
        &[good, good],
        &[good, "dns:example.test"],
        &["dns:example.test"],
        &["spiffe://example.test/server/H3hxDfKZE0mHsxTqw"],
        &["spiffe://example.test/server/H3hxDfKZE0mHsxTqwN/x"],
        &["spiffe://example.test/daemon/H3hxDfKZE0mHsxTqwN"],
        &["https://example.test/server/H3hxDfKZE0mHsxTqwN"],
        &["spiffe://example.test.evil/server/H3hxDfKZE0mHsxTqwN"],
    ] {
        assert_eq!(
            parse(names, "example.test"),
            Err(NotAnAgent::Name),
            "{names:?}"
        );
    }
    assert_eq!(parse(&[good], "other.test"), Err(NotAnAgent::Name));
    let junk = AgentIdentity::parse(b"junk", "example.test");
    assert_eq!(junk, Err(NotAnAgent::Malformed));
}
