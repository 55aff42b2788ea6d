//! The command line: options before the command, the rest is the command. As with Python's getopt a long option may be cut
//! short, and none may be given twice.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::config::{self, ConfigError};

/// Where the agent listens.
const DEFAULT_SOCKETS: [&str; 2] = ["/run/zhylon-agent/supervisor.sock", "/run/supervisor.sock"];

/// Where Supervisor's own client finds its file. To name one of them is to name none.
const USUAL_CONFIGS: [&str; 2] = ["/etc/supervisor/supervisord.conf", "/etc/supervisord.conf"];

/// Letter, word, and whether a value follows.
const OPTIONS: [(char, &str, bool); 7] = [
    ('c', "configuration", true),
    ('h', "help", false),
    ('i', "interactive", false),
    ('p', "password", true),
    ('r', "history_file", true),
    ('s', "serverurl", true),
    ('u', "username", true),
];

/// What to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// The command and its arguments, joined by spaces as Supervisor does; `None` is a shell.
    pub(super) line: Option<String>,
    /// Sockets to try, in this order.
    pub(super) sockets: Vec<PathBuf>,
    /// Whether a server was named: then no other is meant.
    pub(super) named: bool,
    /// Whether somebody is there to be asked.
    pub(super) interactive: bool,
    pub(super) history: Option<PathBuf>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    Run(Options),
    Usage,
}

/// Reads the command line. `socket` is `ZHYLON_SUPERVISOR_SOCKET`; `-s` and `-c` go before it.
pub(super) fn parse(
    mut args: impl Iterator<Item = OsString>,
    socket: Option<OsString>,
) -> Result<Parsed, String> {
    let mut given: Vec<(char, String)> = Vec::new();
    let mut words = Vec::new();
    while let Some(arg) = args.next() {
        let arg = text(arg)?;
        // As with getopt, the first word that is no option ends them: `tail -f NAME` keeps its own.
        if arg == "--" || arg == "-" || !arg.starts_with('-') {
            if arg != "--" {
                words.push(arg);
            }
            for rest in args.by_ref() {
                words.push(text(rest)?);
            }
            break;
        }
        let mut next = || args.next().map(text).transpose();
        for (letter, shown, value) in split(&arg, &mut next)? {
            if letter == 'h' {
                return Ok(Parsed::Usage);
            }
            if given.iter().any(|(other, _)| *other == letter) {
                return Err(format!("conflicting command line option '{shown}'"));
            }
            given.push((letter, value));
        }
    }
    let value = |letter| {
        let given = given.iter().find(|(other, _)| *other == letter);
        given.map(|(_, value)| value.as_str())
    };
    // There is no password to ask for: the kernel tells the agent who calls. So `-u` and `-p` are taken and not used.
    let mut options = Options {
        line: (!words.is_empty()).then(|| words.join(" ")),
        interactive: words.is_empty() || value('i').is_some(),
        history: value('r').map(PathBuf::from),
        ..Options::default()
    };
    let named = match (value('s'), value('c')) {
        (Some(url), _) => Some(named_socket(url)?),
        (None, Some(file)) if !USUAL_CONFIGS.contains(&file) => Some(socket_of(Path::new(file))?),
        _ => None,
    };
    options.named = named.is_some();
    options.sockets = match (named, socket.filter(|path| !path.is_empty())) {
        (Some(path), _) => vec![path],
        (None, Some(path)) => vec![path.into()],
        (None, None) => DEFAULT_SOCKETS.map(PathBuf::from).to_vec(),
    };
    Ok(Parsed::Run(options))
}

fn named_socket(url: &str) -> Result<PathBuf, String> {
    config::socket(url).ok_or_else(|| {
        format!(
            "option -s: {url} is not unix:// and an absolute path; a server behind http:// is reached by Supervisor's own client"
        )
    })
}

/// Another Supervisor's configuration says where that one listens.
fn socket_of(file: &Path) -> Result<PathBuf, String> {
    let shown = file.display();
    let url = config::server_url(file).map_err(|error| match error {
        ConfigError::Missing => format!("could not find config file {shown}"),
        ConfigError::Io(error) => format!("could not read config file {shown}: {error}"),
        ConfigError::NoSection => ".ini file does not include supervisorctl section".to_owned(),
    })?;
    config::socket(&url).ok_or_else(|| {
        format!("option -c: the server of {shown} listens at {url}; only unix:// and an absolute path can be reached")
    })
}

/// The options of one argument, as letter, spelling and value.
fn split(
    arg: &str,
    next: &mut dyn FnMut() -> Result<Option<String>, String>,
) -> Result<Vec<(char, String, String)>, String> {
    let mut needed =
        |shown: &str| next()?.ok_or_else(|| format!("option {shown} requires argument"));
    if let Some(long) = arg.strip_prefix("--") {
        let (word, attached) = match long.split_once('=') {
            Some((word, value)) => (word, Some(value)),
            None => (long, None),
        };
        let (letter, full, takes) = by_word(word)?;
        let shown = format!("--{full}");
        let value = match (takes, attached) {
            (true, Some(value)) => value.to_owned(),
            (true, None) => needed(&shown)?,
            (false, None) => String::new(),
            (false, Some(_)) => return Err(format!("option {shown} must not have an argument")),
        };
        return Ok(vec![(letter, shown, value)]);
    }
    let mut found = Vec::new();
    let mut letters = arg.chars().skip(1);
    while let Some(letter) = letters.next() {
        let shown = format!("-{letter}");
        let known = OPTIONS.iter().find(|option| option.0 == letter);
        let (_, _, takes) = known.ok_or_else(|| format!("option {shown} not recognized"))?;
        let mut value = String::new();
        if *takes {
            value = letters.by_ref().collect();
            if value.is_empty() {
                value = needed(&shown)?;
            }
        }
        found.push((letter, shown, value));
    }
    Ok(found)
}

fn by_word(word: &str) -> Result<(char, &'static str, bool), String> {
    // The usage text of Supervisor's client spells it like this, though it takes the other only.
    let word = if word == "history-file" {
        "history_file"
    } else {
        word
    };
    let mut begun = OPTIONS.iter().filter(|option| option.1.starts_with(word));
    match (begun.next(), begun.next()) {
        (Some(option), None) => Ok(*option),
        (Some(_), Some(_)) if !OPTIONS.iter().any(|option| option.1 == word) => {
            Err(format!("option --{word} not a unique prefix"))
        }
        _ => Err(format!("option --{word} not recognized")),
    }
}

fn text(arg: OsString) -> Result<String, String> {
    arg.into_string()
        .map_err(|arg| format!("{} is not UTF-8", arg.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Parsed, String> {
        parse(args.iter().map(OsString::from), Some("/env".into()))
    }

    fn options(args: &[&str]) -> Options {
        match parsed(args) {
            Ok(Parsed::Run(options)) => options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_options() {
        let plain = options(&["status"]);
        assert_eq!(plain.line.as_deref(), Some("status"));
        assert_eq!(plain.sockets, [PathBuf::from("/env")]);
        assert!(!plain.named && !plain.interactive);
        for url in [
            &["-s", "unix:///a"][..],
            &["-sunix:///a"],
            &["--serverurl=unix:///a"],
            &["--server", "unix:///a"],
            &["-c", "/etc/x", "-uanna", "-s", "unix:///a"],
            &["-is", "unix:///a"],
        ] {
            let options = options(&[url, &["tail", "-f", "x"]].concat());
            assert_eq!(options.line.as_deref(), Some("tail -f x"), "{url:?}");
            assert_eq!(options.sockets, [PathBuf::from("/a")], "{url:?}");
            assert!(options.named);
        }
        assert_eq!(parsed(&["-h", "status"]), Ok(Parsed::Usage));
        let shell = options(&["-r", "/h"]);
        assert!(shell.interactive && shell.line.is_none());
        assert_eq!(shell.history, Some("/h".into()));
        assert!(options(&["-i", "status"]).interactive);
    }

    #[test]
    fn a_configuration_names_its_server() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.conf");
        let named = file.display().to_string();
        std::fs::write(&file, "[supervisorctl]\nserverurl=unix:///a\n").unwrap();
        let other = options(&["-c", &named, "status"]);
        assert_eq!((other.sockets, other.named), (vec!["/a".into()], true));
        // Debian's usual one is what is meant without any.
        let usual = options(&["-c", USUAL_CONFIGS[0], "status"]);
        assert_eq!((usual.sockets, usual.named), (vec!["/env".into()], false));
        std::fs::write(&file, "[supervisorctl]\n").unwrap();
        let refusal = parsed(&["-c", &named, "status"]).unwrap_err();
        assert!(refusal.contains("http://localhost:9001"), "{refusal}");
        std::fs::write(&file, "secret\n").unwrap();
        let refusal = parsed(&["-c", &named, "status"]).unwrap_err();
        assert_eq!(refusal, ".ini file does not include supervisorctl section");
    }

    #[test]
    fn without_anything_said_tries_both_places() {
        let parsed = parse(["status".into()].into_iter(), None).unwrap();
        let Parsed::Run(options) = parsed else {
            panic!("{parsed:?}");
        };
        assert_eq!(options.sockets, DEFAULT_SOCKETS.map(PathBuf::from));
    }

    #[test]
    fn refuses_the_rest() {
        for (args, why) in [
            (&["-x"][..], "option -x not recognized"),
            (&["-s"], "option -s requires argument"),
            (&["--serv"], "option --serverurl requires argument"),
            (&["--h"], "option --h not a unique prefix"),
            (&["--nosuch"], "option --nosuch not recognized"),
            (&["--help=x"], "must not have an argument"),
            (&["-u", "a", "-ub"], "conflicting command line option '-u'"),
            (&["-s", "http://localhost:9001", "status"], "is not unix://"),
            (&["-s", "unix://relative", "status"], "absolute path"),
            (
                &["-c", "/no/such", "status"],
                "could not find config file /no/such",
            ),
            (&["-ä"], "option -ä not recognized"),
        ] {
            let refusal = parsed(args).unwrap_err();
            assert!(refusal.contains(why), "{args:?}: {refusal}");
        }
    }
}
