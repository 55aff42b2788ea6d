//! Times of logs as people type them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `15m` ago, or Unix seconds.
pub(crate) fn since(text: &str) -> Result<SystemTime, String> {
    let bad = || "write so long ago as in 90s, 15m, 2h or 1d, or Unix seconds".to_owned();
    let (number, factor) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], Some(1)),
        Some((at, 'm')) => (&text[..at], Some(60)),
        Some((at, 'h')) => (&text[..at], Some(3600)),
        Some((at, 'd')) => (&text[..at], Some(86_400)),
        _ => (text, None),
    };
    let number: u32 = number.parse().map_err(|_| bad())?;
    let seconds = Duration::from_secs(u64::from(number) * factor.unwrap_or(1));
    let time = match factor {
        None => UNIX_EPOCH.checked_add(seconds),
        Some(_) => SystemTime::now().checked_sub(seconds),
    };
    time.filter(|time| *time >= UNIX_EPOCH).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_logs() {
        assert_eq!(since("7").unwrap(), UNIX_EPOCH + Duration::from_secs(7));
        let ago = |text: &str| since(text).unwrap().elapsed().unwrap().as_secs();
        for (text, seconds) in [
            ("0s", 0),
            ("90s", 90),
            ("15m", 900),
            ("2h", 7200),
            ("1d", 86_400),
        ] {
            assert!((seconds..seconds + 60).contains(&ago(text)), "{text}");
        }
        for text in ["", "s", "-1", "1w", "1.5h", "99999999d", "ä"] {
            assert!(since(text).is_err(), "{text}");
        }
    }
}
