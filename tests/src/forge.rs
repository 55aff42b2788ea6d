//! Certificates as the agents' authority would have made them at another time: the tests read its key from the directory
//! of `up`, as only its owner can.

use std::time::SystemTime;

use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose, SanType,
};

use crate::World;

/// The files of a host's identity that hold key and certificate.
const IDENTITY: &str = "host-agent/identity";

impl World {
    /// A file of the host's identity.
    #[must_use]
    pub fn identity(&self, name: &str) -> String {
        let path = self.dir().join(IDENTITY).join(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The names of the files of the host's identity.
    #[must_use]
    pub fn identity_files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir().join(IDENTITY)).expect("an identity");
        let mut names: Vec<String> = entries
            .map(|entry| {
                entry
                    .expect("a file")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        names
    }

    /// Gives the host a certificate for the key it has, with these dates. It is used from the next connection on.
    pub fn age_certificate(&self, begin: SystemTime, end: SystemTime) {
        let api = self.dir().join("api-server");
        let read = |name: &str| std::fs::read_to_string(api.join(name)).expect("the authority");
        let (ca_pem, ca_key) = (read("agent-ca.pem"), read("agent-ca.key"));
        let ca_key = KeyPair::from_pem(&ca_key).expect("its key");
        let issuer = Issuer::from_ca_cert_pem(&ca_pem, ca_key).expect("its certificate");
        let key = KeyPair::from_pem(&self.identity("key.pem")).expect("the host's key");
        let server = self.server_id();
        let name = format!(
            "spiffe://daemons.zhylon.net/server/{}",
            server.trim_start_matches("h:")
        );
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = (begin.into(), end.into());
        params.subject_alt_names = vec![SanType::URI(name.try_into().expect("a name"))];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let leaf = params.signed_by(&key, &issuer).expect("a certificate");
        let path = self.dir().join(IDENTITY);
        let next = path.join("aged.tmp");
        std::fs::write(&next, format!("{}{ca_pem}", leaf.pem())).expect("write it");
        std::fs::rename(next, path.join("chain.pem")).expect("put it in its place");
    }
}
