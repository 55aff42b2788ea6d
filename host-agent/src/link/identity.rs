//! The files of `state_dir/identity` (0700): who this host is to the api-server.
//!
//! `identity.json` is written last and read first: without it there is no identity, however much else lies there. The
//! private key is made here, 0600, and never leaves. How one certificate follows another is [`successor`]'s.

mod successor;

pub(super) use successor::fit;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use zhylon_shared::id::ServerId;
use zhylon_shared::redact::Secret;

const ABOUT: &str = "identity.json";
const KEY: &str = "key.pem";
const PENDING_KEY: &str = "pending-key.pem";
const CHAIN: &str = "chain.pem";
const CA: &str = "ca.pem";

/// What `identity.json` holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct About {
    /// The server this host is.
    pub(super) server_id: ServerId,
    /// The agent listener, `host:port`, at least one.
    pub(super) agent_addresses: Vec<String>,
    /// Where it was enrolled.
    pub(super) api_url: String,
}

/// A complete identity.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) about: About,
    /// Private key, PEM.
    pub(super) key: Secret,
    /// Certificate and its issuers, PEM.
    pub(super) chain: String,
    /// Whom the agent listener is trusted by, PEM.
    pub(super) ca: String,
}

/// Tells one identity from the next without reading it.
pub(super) type Stamp = (u64, i64, i64);

/// The directory.
#[derive(Debug, Clone)]
pub(super) struct Store {
    dir: PathBuf,
}

/// Held while an enrolment runs.
#[derive(Debug)]
pub(super) struct EnrollmentLock {
    _dir: File,
}

impl Store {
    pub(super) fn new(state_dir: &Path) -> Self {
        let dir = state_dir.join("identity");
        Self { dir }
    }

    pub(super) fn path(&self) -> &Path {
        &self.dir
    }

    /// Changes whenever another identity is stored; `None` if there is none.
    pub(super) fn stamp(&self) -> Option<Stamp> {
        let metadata = std::fs::metadata(self.dir.join(ABOUT)).ok()?;
        Some((metadata.ino(), metadata.mtime(), metadata.mtime_nsec()))
    }

    /// Who this host is; `None` if it is not enrolled.
    pub(super) fn about(&self) -> io::Result<Option<About>> {
        match std::fs::read(self.dir.join(ABOUT)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The whole identity; `None` if this host is not enrolled.
    pub(super) fn load(&self) -> io::Result<Option<Identity>> {
        let Some(about) = self.about()? else {
            return Ok(None);
        };
        let key = self.read(KEY)?;
        let chain = self.chain_of(&key)?;
        Ok(Some(Identity {
            about,
            key: Secret::new(key),
            chain,
            ca: self.read(CA)?,
        }))
    }

    /// The certificate and its issuers, PEM; `None` if this host is not enrolled.
    pub(super) fn chain(&self) -> io::Result<Option<String>> {
        Ok(self.load()?.map(|identity| identity.chain))
    }

    /// Makes the directory if need be, and keeps a second enrolment out of it until the lock is dropped. `None` if
    /// another one runs.
    pub(super) fn lock(&self) -> io::Result<Option<EnrollmentLock>> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)?;
        let dir = File::open(&self.dir)?;
        match rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(EnrollmentLock { _dir: dir })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The key of an enrolment that was begun and not finished. The api-server gives a lost answer again only to the
    /// same key.
    pub(super) fn pending_key(&self) -> io::Result<Option<Secret>> {
        match self.read(PENDING_KEY) {
            Ok(pem) => Ok(Some(Secret::new(pem))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps the key of an enrolment that begins.
    pub(super) fn keep_pending_key(&self, _lock: &EnrollmentLock, pem: &Secret) -> io::Result<()> {
        self.write(PENDING_KEY, pem.expose())
    }

    /// Stores an identity durably and drops the pending key. A crash in between leaves no identity and the pending key,
    /// never a mixture of two identities.
    pub(super) fn store(&self, _lock: &EnrollmentLock, identity: &Identity) -> io::Result<()> {
        self.remove(ABOUT)?;
        self.drop_renewal()?;
        self.write(KEY, identity.key.expose())?;
        self.write(CHAIN, &identity.chain)?;
        self.write(CA, &identity.ca)?;
        let about = serde_json::to_string_pretty(&identity.about)?;
        self.write(ABOUT, &format!("{about}\n"))?;
        self.remove(PENDING_KEY)
    }

    fn read(&self, name: &str) -> io::Result<String> {
        let path = self.dir.join(name);
        std::fs::read_to_string(&path)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    }

    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let tmp = self.dir.join(format!("{name}.tmp"));
        // One that a crash left may have another mode; the key is never in a file that was not made with this one.
        match std::fs::remove_file(&tmp) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&tmp)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&tmp, self.dir.join(name))?;
        File::open(&self.dir)?.sync_all()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.dir.join(from), self.dir.join(to))?;
        File::open(&self.dir)?.sync_all()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match std::fs::remove_file(self.dir.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => File::open(&self.dir)?.sync_all(),
        }
    }
}
