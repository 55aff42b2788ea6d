//! The command line: options before the command, the rest is the command.

use std::ffi::OsString;
use std::path::PathBuf;

/// Where the agent listens.
const DEFAULT_SOCKETS: [&str; 2] = ["/run/zhylon-agent/supervisor.sock", "/run/supervisor.sock"];

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// The command and its arguments, joined by spaces as Supervisor does.
    pub(super) line: String,
    /// Sockets to try, in this order.
    pub(super) sockets: Vec<PathBuf>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    Run(Options),
    Usage,
}

/// Reads the command line. `socket` is `ZHYLON_SUPERVISOR_SOCKET`; `-s` goes before it.
pub(super) fn parse(
    mut args: impl Iterator<Item = OsString>,
    socket: Option<OsString>,
) -> Result<Parsed, String> {
    let mut sockets = match socket.filter(|path| !path.is_empty()) {
        Some(path) => vec![PathBuf::from(path)],
        None => DEFAULT_SOCKETS.map(PathBuf::from).to_vec(),
    };
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
        let (flag, mut attached) = split_flag(&arg);
        let mut value = |flag: &str| match attached.take() {
            Some(value) => Ok(value.to_owned()),
            None => args
                .next()
                .ok_or_else(|| format!("option {flag} requires argument"))
                .and_then(text),
        };
        match flag {
            "-h" | "--help" => return Ok(Parsed::Usage),
            "-s" | "--serverurl" => {
                let url = value(flag)?;
                let path = url
                    .strip_prefix("unix://")
                    .filter(|path| path.starts_with('/'));
                let path = path.ok_or_else(|| {
                    format!("option {flag}: {url} is not unix:// and an absolute path")
                })?;
                sockets = vec![PathBuf::from(path)];
            }
            // Scripts written for Supervisor give these. There is no file to read and no password to ask for: the
            // kernel tells the agent who calls.
            "-c" | "--configuration" | "-u" | "--username" | "-p" | "--password" | "-r"
            | "--history-file" => {
                value(flag)?;
            }
            "-i" | "--interactive" => return Err(NO_SHELL.to_owned()),
            other => return Err(format!("option {other} not recognized")),
        }
    }
    if words.is_empty() {
        return Err(NO_SHELL.to_owned());
    }
    let line = words.join(" ");
    Ok(Parsed::Run(Options { line, sockets }))
}

const NO_SHELL: &str =
    "there is no interactive shell; name a command, for example: supervisorctl status";

/// `-sURL` and `--serverurl=URL` to flag and value.
fn split_flag(arg: &str) -> (&str, Option<&str>) {
    if arg.starts_with("--") {
        return match arg.split_once('=') {
            Some((flag, value)) => (flag, Some(value)),
            None => (arg, None),
        };
    }
    let end = arg.char_indices().nth(2).map_or(arg.len(), |(at, _)| at);
    let (flag, value) = arg.split_at(end);
    (flag, (!value.is_empty()).then_some(value))
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

    fn line(args: &[&str]) -> (String, Vec<PathBuf>) {
        match parsed(args) {
            Ok(Parsed::Run(options)) => (options.line, options.sockets),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_options() {
        assert_eq!(line(&["status"]), ("status".into(), vec!["/env".into()]));
        for url in [
            &["-s", "unix:///a"][..],
            &["-sunix:///a"],
            &["--serverurl=unix:///a"],
            &["--serverurl", "unix:///a"],
            &["-c", "/etc/x", "-uanna", "-s", "unix:///a"],
        ] {
            let args = [url, &["tail", "-f", "x"]].concat();
            assert_eq!(
                line(&args),
                ("tail -f x".into(), vec!["/a".into()]),
                "{args:?}"
            );
        }
        assert_eq!(parsed(&["-h", "status"]), Ok(Parsed::Usage));
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
            (&[][..], "no interactive shell"),
            (&["-i"], "no interactive shell"),
            (&["-x"], "option -x not recognized"),
            (&["-s"], "option -s requires argument"),
            (&["-s", "http://localhost:9001", "status"], "is not unix://"),
            (&["-s", "unix://relative", "status"], "absolute path"),
            (&["-ä"], "option -ä not recognized"),
        ] {
            let refusal = parsed(args).unwrap_err();
            assert!(refusal.contains(why), "{args:?}: {refusal}");
        }
    }
}
