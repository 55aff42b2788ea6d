use std::os::unix::fs::PermissionsExt as _;

use rcgen::{CertificateParams, KeyPair};
use zhylon_shared::id::ServerId;

use super::*;
use crate::link::identity::About;

fn chain(key: &KeyPair) -> String {
    let params = CertificateParams::default();
    params.self_signed(key).unwrap().pem()
}

/// An enrolled host.
fn enrolled(dir: &tempfile::TempDir) -> (Store, Identity) {
    let store = Store::new(dir.path());
    let key = KeyPair::generate().unwrap();
    let identity = Identity {
        about: About {
            server_id: ServerId::random().unwrap(),
            agent_addresses: vec!["127.0.0.1:1".to_owned()],
            api_url: "https://127.0.0.1:1".to_owned(),
        },
        chain: chain(&key),
        ca: "ca".to_owned(),
        key: Secret::new(key.serialize_pem()),
    };
    let lock = store.lock().unwrap().unwrap();
    store.store(&lock, &identity).unwrap();
    (store, identity)
}

fn names(dir: &tempfile::TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(dir.path().join("identity")).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn after_every_step_there_is_an_identity_whose_key_fits() {
    let dir = tempfile::tempdir().unwrap();
    let (store, old) = enrolled(&dir);
    let loaded = || {
        let identity = store.load().unwrap().unwrap();
        assert!(fit(identity.key.expose(), &identity.chain));
        identity.chain
    };
    let lock = store.lock_for(&old).unwrap();
    let key = KeyPair::generate().unwrap();
    store.keep_renewal_key(&lock, &key).unwrap();
    assert_eq!(loaded(), old.chain);
    assert!(store.successor().unwrap().is_none());
    let kept = store.renewal_key().unwrap().unwrap();
    assert_eq!(
        kept.serialize_pem(),
        key.serialize_pem(),
        "the same key asks again"
    );

    let renewed = chain(&key);
    store.keep_renewal_chain(&lock, &renewed).unwrap();
    assert_eq!(loaded(), old.chain);
    let successor = store.successor().unwrap().unwrap();
    assert_eq!(
        (successor.chain.as_str(), successor.ca.as_str()),
        (renewed.as_str(), "ca")
    );
    assert!(!store.is_half_promoted().unwrap());

    // Killed after the first of two renames; the lock goes with the process.
    let half = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        store.promote(&lock, |_| panic!("killed")).unwrap();
    }));
    assert!(half.is_err());
    drop(lock);
    assert_eq!(loaded(), renewed);
    assert!(store.is_half_promoted().unwrap());
    assert!(store.successor().unwrap().is_none());

    let now = store.load().unwrap().unwrap();
    let lock = store.lock_for(&now).unwrap();
    store.promote(&lock, |_| ()).unwrap();
    assert_eq!(loaded(), renewed);
    assert!(!store.is_half_promoted().unwrap());
    assert_eq!(
        names(&dir),
        ["ca.pem", "chain.pem", "identity.json", "key.pem"]
    );
    for name in names(&dir) {
        let mode = dir.path().join("identity").join(&name).metadata().unwrap();
        assert_eq!(mode.permissions().mode() & 0o7777, 0o600, "{name}");
    }
}

#[test]
fn an_enrolment_ends_a_renewal_and_the_other_way_round() {
    let dir = tempfile::tempdir().unwrap();
    let (store, old) = enrolled(&dir);
    let lock = store.lock_for(&old).unwrap();
    assert!(store.lock_for(&old).is_err(), "one at a time");
    let key = KeyPair::generate().unwrap();
    store.keep_renewal_key(&lock, &key).unwrap();
    store.keep_renewal_chain(&lock, &chain(&key)).unwrap();
    drop(lock);
    let (_, new) = enrolled(&dir);
    assert!(store.successor().unwrap().is_none());
    assert_eq!(store.load().unwrap().unwrap().chain, new.chain);
    let stale = store.lock_for(&old).unwrap_err().to_string();
    assert!(stale.contains("enrolled anew"), "{stale}");
}

#[test]
fn a_damaged_renewal_costs_the_renewal_only() {
    let dir = tempfile::tempdir().unwrap();
    let (store, old) = enrolled(&dir);
    let path = |name: &str| dir.path().join("identity").join(name);
    std::fs::write(path(RENEWAL_KEY), "torn").unwrap();
    assert!(store.renewal_key().unwrap().is_none());
    let key = KeyPair::generate().unwrap();
    let lock = store.lock_for(&old).unwrap();
    store.keep_renewal_key(&lock, &key).unwrap();
    for wrong in ["torn".to_owned(), chain(&KeyPair::generate().unwrap())] {
        std::fs::write(path(RENEWAL_CHAIN), wrong).unwrap();
        assert!(store.successor().unwrap().is_none());
        assert!(!store.is_half_promoted().unwrap());
        assert_eq!(store.load().unwrap().unwrap().chain, old.chain);
    }
    store.drop_successor(&lock).unwrap();
    assert_eq!(
        names(&dir),
        ["ca.pem", "chain.pem", "identity.json", "key.pem"]
    );
}
