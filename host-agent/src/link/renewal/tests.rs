use zhylon_shared::id::ServerId;

use super::*;
use crate::link::identity::About;

#[test]
fn tries_double_to_an_hour_and_are_spread() {
    let seconds = |tries, random| retry(tries, random).as_secs_f64().round();
    let longest: Vec<_> = (1..12).map(|tries| seconds(tries, u64::MAX)).collect();
    assert_eq!(longest[..4], [10.0, 20.0, 40.0, 80.0]);
    assert_eq!(longest[8..], [2560.0, 3600.0, 3600.0]);
    assert_eq!((seconds(1, 0), seconds(u32::MAX, 0)), (5.0, 1800.0));
}

#[test]
fn an_answer_that_the_link_could_not_use_is_not_kept() {
    let key = KeyPair::generate().unwrap();
    let made = |key: &KeyPair| {
        let params = CertificateParams::default();
        params.self_signed(key).unwrap().pem()
    };
    let identity = Identity {
        about: About {
            server_id: ServerId::random().unwrap(),
            agent_addresses: vec!["127.0.0.1:1".to_owned()],
            api_url: String::new(),
        },
        key: Secret::new(String::new()),
        chain: String::new(),
        ca: String::new(),
    };
    let good = RenewedCertificate {
        certificate_chain: made(&key),
        ca_bundle: made(&key),
        server_time: None,
    };
    let judge = |answer: RenewedCertificate| {
        check(answer, &key, &identity).map_err(|error| error.to_string())
    };
    let successor = judge(good.clone()).unwrap();
    assert_eq!(successor.about, identity.about);
    let with = |chain: String, bundle: String| {
        judge(RenewedCertificate {
            certificate_chain: chain,
            ca_bundle: bundle,
            server_time: None,
        })
        .unwrap_err()
    };
    let ca = good.ca_bundle.clone();
    with(String::new(), ca.clone());
    with(good.certificate_chain.clone(), String::new());
    with("junk".to_owned(), ca.clone());
    with(made(&KeyPair::generate().unwrap()), ca.clone());
    let long = with(
        format!("{}{}", good.certificate_chain, " ".repeat(PEM_MAX)),
        ca,
    );
    assert!(long.contains("longer than"), "{long}");
}
