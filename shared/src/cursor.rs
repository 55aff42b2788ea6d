//! Places in one daemon's log: opaque to callers, the position in the daemon's own byte stream to us.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::id::DaemonId;

/// A text that is not a cursor of this daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of this daemon's log: use one from an earlier response of the same daemon")]
pub struct NotACursor;

const VERSION: u8 = 1;

/// The cursor of `position` (bytes since the daemon was created) in the log of `daemon`.
#[must_use]
pub fn encode(daemon: &DaemonId, position: u64) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend(position.to_be_bytes());
    bytes.extend(check(daemon, position));
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads a cursor of the log of `daemon`.
///
/// # Errors
/// When it is not one, or one of another daemon.
pub fn decode(daemon: &DaemonId, text: &str) -> Result<u64, NotACursor> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NotACursor)?;
    let [VERSION, rest @ ..] = bytes.as_slice() else {
        return Err(NotACursor);
    };
    let (position, sum) = rest.split_first_chunk::<8>().ok_or(NotACursor)?;
    let position = u64::from_be_bytes(*position);
    if sum == check(daemon, position) {
        Ok(position)
    } else {
        Err(NotACursor)
    }
}

/// Tells a cursor of another daemon, or a mutilated one, from a right one; not a secret: a cursor grants nothing.
fn check(daemon: &DaemonId, position: u64) -> [u8; 4] {
    let mut hash = Sha256::new();
    hash.update(b"zhylon log cursor");
    hash.update(daemon.bare());
    hash.update(position.to_be_bytes());
    let digest = hash.finalize();
    [digest[0], digest[1], digest[2], digest[3]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_refusals() {
        let (a, b) = (DaemonId::random().unwrap(), DaemonId::random().unwrap());
        for position in [0, 1, u64::MAX] {
            let text = encode(&a, position);
            assert_eq!(decode(&a, &text), Ok(position));
            assert_eq!(decode(&b, &text), Err(NotACursor));
            assert_eq!(decode(&a, &text[1..]), Err(NotACursor));
        }
        for text in ["", "AA", "!!!!", "AQAAAAAAAAAAAAAAAA"] {
            assert_eq!(decode(&a, text), Err(NotACursor));
        }
    }
}
