//! The one line of a `supervisord.conf` this client has a use for: where its server listens. Never looks for such a file
//! itself, never follows its `[include]`, never shows what else it holds.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Longest file read. Debian's own has 1 KiB.
const FILE_MAX: u64 = 1024 * 1024;

/// What most fit into: one read.
const FILE_USUAL: usize = 8 * 1024;

/// What Supervisor's client assumes where the file says nothing.
const DEFAULT_URL: &str = "http://localhost:9001";

/// Why a file names no server.
#[derive(Debug)]
pub(super) enum ConfigError {
    /// There is no such file.
    Missing,
    /// It can not be read.
    Io(io::Error),
    /// It is for `supervisord` alone.
    NoSection,
}

/// The `serverurl` of a file.
pub(super) fn server_url(path: &Path) -> Result<String, ConfigError> {
    let mut bytes = Vec::with_capacity(FILE_USUAL);
    File::open(path)
        .and_then(|file| file.take(FILE_MAX).read_to_end(&mut bytes))
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ConfigError::Missing,
            _ => ConfigError::Io(error),
        })?;
    let here = path.parent().unwrap_or(Path::new("/"));
    parse(&String::from_utf8_lossy(&bytes), here).ok_or(ConfigError::NoSection)
}

/// The socket a URL names, if it is one.
pub(super) fn socket(url: &str) -> Option<PathBuf> {
    let path = url.strip_prefix("unix://")?;
    path.starts_with('/').then(|| PathBuf::from(path))
}

/// As Python's parser reads it: the last one counts, ` ;` starts a comment. `None` without a `[supervisorctl]`.
fn parse(text: &str, here: &Path) -> Option<String> {
    let mut inside = false;
    let mut url = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix('[') {
            inside = rest.split(']').next() == Some("supervisorctl");
            if inside {
                url.get_or_insert_with(|| DEFAULT_URL.to_owned());
            }
        } else if inside
            && let Some((key, value)) = line.split_once(['=', ':'])
            && key.trim().eq_ignore_ascii_case("serverurl")
        {
            let value = value.split(" ;").next().unwrap_or_default().trim();
            let here = here.to_string_lossy();
            url = Some(value.replace("%(here)s", &here).replace("%%", "%"));
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_line_and_nothing_else() {
        let url = |text: &str| parse(text, Path::new("/etc/here"));
        let debians = "; comment\n[unix_http_server]\nserverurl=no\n\n[supervisorctl]\n\
            serverurl=unix:///var/run/supervisor.sock ; use a unix:// URL\n[include]\nserverurl=no\n";
        assert_eq!(
            url(debians).as_deref(),
            Some("unix:///var/run/supervisor.sock")
        );
        assert_eq!(url("[supervisorctl]\n").as_deref(), Some(DEFAULT_URL));
        assert_eq!(url("[supervisord]\nserverurl=unix:///x\n"), None);
        let spelled = "[supervisorctl] ; x\nServerURL : unix://%(here)s/a%%b\n";
        assert_eq!(url(spelled).as_deref(), Some("unix:///etc/here/a%b"));
        assert_eq!(socket("unix:///a"), Some("/a".into()));
        assert_eq!(socket("unix://a"), None);
        assert_eq!(socket("http://localhost:9001"), None);
    }

    #[test]
    fn a_file_that_is_not_there_or_not_to_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let missing = server_url(&dir.path().join("none"));
        assert!(matches!(missing, Err(ConfigError::Missing)), "{missing:?}");
        let directory = server_url(dir.path());
        assert!(
            matches!(directory, Err(ConfigError::Io(_))),
            "{directory:?}"
        );
    }
}
