//! One ledger file: a header line (`zhylon-ledger VERSION LENGTH SHA256`) and JSON. What does not fit its header is
//! refused as a whole; nothing is guessed.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

const MAGIC: &str = "zhylon-ledger";
/// Version of the format. Another one is refused, so a downgraded agent stops nothing it does not understand.
const VERSION: u32 = 1;
/// A longer file is not one of ours: thousands of daemons with full environments stay below it.
const LEDGER_MAX_BYTES: u64 = 256 * 1024 * 1024;

/// Makes a directory that only its owner may enter. Its parents must be there.
pub(super) fn make_private_dir(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

/// Reads a ledger; an absent one is the default.
///
/// # Errors
/// Why it can not be trusted, for people.
pub(super) fn load<T: DeserializeOwned + Default>(path: &Path) -> Result<T, String> {
    let told = |why: String| format!("{}: {why}", path.display());
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(T::default()),
        Err(error) => return Err(told(error.to_string())),
    };
    let mut bytes = Vec::new();
    file.take(LEDGER_MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| told(error.to_string()))?;
    decode(&bytes).map_err(told)
}

/// Replaces a ledger, durably: when this returns it survives a power cut.
pub(super) fn store<T: Serialize>(dir: &Path, name: &str, ledger: &T) -> io::Result<()> {
    let temporary = dir.join(format!("{name}.tmp"));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(&encode(ledger)?)?;
    file.sync_all()?;
    std::fs::rename(&temporary, dir.join(name))?;
    File::open(dir)?.sync_all()
}

fn encode<T: Serialize>(ledger: &T) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(ledger)?;
    let mut bytes = header(&json).into_bytes();
    bytes.extend(json);
    Ok(bytes)
}

fn header(json: &[u8]) -> String {
    format!(
        "{MAGIC} {VERSION} {} {:x}\n",
        json.len(),
        Sha256::digest(json)
    )
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let torn = || "torn, or not a ledger".to_owned();
    let line = bytes.iter().position(|b| *b == b'\n').ok_or_else(torn)?;
    let (head, json) = bytes.split_at(line + 1);
    let mut words = std::str::from_utf8(head)
        .map_err(|_| torn())?
        .split_ascii_whitespace();
    if words.next() != Some(MAGIC) {
        return Err(torn());
    }
    let version: u32 = words.next().and_then(|v| v.parse().ok()).ok_or_else(torn)?;
    if version != VERSION {
        return Err(format!(
            "has format version {version}, this agent knows {VERSION}: use the agent that wrote it"
        ));
    }
    if head != header(json).as_bytes() {
        return Err(torn());
    }
    serde_json::from_slice(json).map_err(|error| error.to_string())
}
