//! One question to the host's name service, asked by a child: should it hang, only that child does, and is killed.
//!
//! Both sides: `by_child` is the worker's, [`main`] the child's. The question goes through a pipe: what a tenant wrote is
//! never an argument or a variable of a program that runs as root.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead as _, Read, Write as _};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Instant;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Account, DEADLINE, Found, Question, Who, no_answer};
use crate::logs::Owner;

/// The agent's argument that makes it the child.
pub(crate) const COMMAND: &str = "look-up";
/// An answer is a few lines of `/etc/passwd` and the numbers of at most 65 536 groups. More is none.
const ANSWER_MAX: u64 = 1 << 20;
/// Between the fields of an answer: none of them can hold it.
const NUL: u8 = 0;

/// The child's life: a question from standard input, its answer to standard output. It ends with its worker.
pub(crate) fn main() -> ExitCode {
    let mut question = String::new();
    let mut stdin = io::stdin().lock();
    let asked = stdin.read_line(&mut question).ok().and_then(|_| {
        let (kind, word) = question.trim_end().split_once(' ')?;
        parse(kind, word)
    });
    let Some(asked) = asked else {
        return ExitCode::FAILURE;
    };
    drop(stdin);
    // The worker keeps the pipe open as long as it waits.
    std::thread::spawn(|| {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        // The main thread may hang in the name service for ever.
        std::process::exit(1);
    });
    match io::stdout().write_all(&encode(&here(&asked))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn parse(kind: &str, word: &str) -> Option<Question> {
    Some(match kind {
        "name" => Question::User(Who::Name(word.to_owned())),
        "uid" => Question::User(Who::Uid(word.parse().ok()?)),
        "group" => Question::Group(word.to_owned()),
        _ => return None,
    })
}

/// Asks by a child, which is gone afterwards.
pub(super) fn by_child(question: &Question) -> Result<Found, String> {
    let mut child = Command::new("/proc/self/exe");
    child.arg0("host-agent").arg(COMMAND).env_clear();
    ask(child, question)
}

/// Asks any program that answers as [`main`] does.
pub(super) fn ask(mut program: Command, question: &Question) -> Result<Found, String> {
    let line = match question {
        Question::User(Who::Name(name)) => format!("name {name}\n"),
        Question::User(Who::Uid(uid)) => format!("uid {uid}\n"),
        Question::Group(name) => format!("group {name}\n"),
    };
    let failed = |error: io::Error| format!("the host's user look-up: {error}");
    let spawned = program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = spawned.map_err(failed)?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let answer = stdin.zip(stdout).ok_or_else(no_answer);
    let answer = answer.and_then(|(mut stdin, stdout)| {
        // A pipe has room for it; one that nobody reads any more shows below.
        let _ = stdin.write_all(line.as_bytes());
        let deadline = Instant::now() + DEADLINE;
        let answer = read_until(File::from(std::os::fd::OwnedFd::from(stdout)), deadline);
        drop(stdin);
        match answer {
            Ok(Some(bytes)) => decode(&bytes)
                .unwrap_or_else(|| Err("the host's user look-up said nothing usable".to_owned())),
            Ok(None) => Err(no_answer()),
            Err(error) => Err(failed(error)),
        }
    });
    // One that answered has nothing left to do; one that did not must not live on.
    let _ = child.kill();
    let _ = child.wait();
    answer
}

/// Everything up to the end of file; `None` if that does not come in time.
fn read_until(mut pipe: File, deadline: Instant) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        };
        let fd = pipe.as_fd();
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let mut piece = [0; 4096];
        match pipe.read(&mut piece)? {
            0 => return Ok(Some(bytes)),
            len => bytes.extend_from_slice(&piece[..len]),
        }
        if bytes.len() as u64 > ANSWER_MAX {
            return Err(io::Error::other("too long an answer"));
        }
    }
}

fn encode(answer: &Result<Found, String>) -> Vec<u8> {
    let number = |number: u32| number.to_string().into_bytes();
    let fields: Vec<Vec<u8>> = match answer {
        Err(error) => vec![b"error".to_vec(), error.clone().into_bytes()],
        Ok(Found::Nothing) => vec![b"nothing".to_vec()],
        Ok(Found::Group(gid)) => vec![b"group".to_vec(), number(*gid)],
        Ok(Found::User(account)) => {
            let Account { owner, shell } = &**account;
            let groups: Vec<String> = owner.groups.iter().map(u32::to_string).collect();
            vec![
                b"user".to_vec(),
                owner.name.clone().into_bytes(),
                number(owner.uid),
                number(owner.gid),
                groups.join(" ").into_bytes(),
                owner.home.as_os_str().as_bytes().to_vec(),
                shell.as_os_str().as_bytes().to_vec(),
            ]
        }
    };
    // The last one too ends with it: what was cut short is none.
    fields
        .into_iter()
        .flat_map(|field| field.into_iter().filter(|b| *b != NUL).chain([NUL]))
        .collect()
}

fn decode(bytes: &[u8]) -> Option<Result<Found, String>> {
    let fields: Vec<&[u8]> = bytes.strip_suffix(&[NUL])?.split(|b| *b == NUL).collect();
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    let number = |bytes: &[u8]| text(bytes)?.parse::<u32>().ok();
    let path = |bytes: &[u8]| OsString::from_vec(bytes.to_vec()).into();
    Some(match fields[..] {
        [b"error", error] => Err(text(error)?),
        [b"nothing"] => Ok(Found::Nothing),
        [b"group", gid] => Ok(Found::Group(number(gid)?)),
        [b"user", name, uid, gid, groups, home, shell] => {
            let groups = text(groups)?;
            let groups = groups.split_ascii_whitespace().map(|gid| gid.parse().ok());
            let owner = Owner {
                name: text(name)?,
                uid: number(uid)?,
                gid: number(gid)?,
                groups: groups.collect::<Option<Vec<u32>>>()?,
                home: path(home),
            };
            let shell = path(shell);
            Ok(Found::User(Arc::new(Account { owner, shell })))
        }
        _ => return None,
    })
}

/// Asks in this process. The C library may wait as long as it likes.
pub(super) fn here(question: &Question) -> Result<Found, String> {
    let said = |error: nix::Error| error.to_string();
    let user = match question {
        Question::Group(name) => {
            let group = Group::from_name(name).map_err(said)?;
            return Ok(group.map_or(Found::Nothing, |group| Found::Group(group.gid.as_raw())));
        }
        Question::User(Who::Name(name)) => User::from_name(name),
        Question::User(Who::Uid(uid)) => User::from_uid(Uid::from_raw(*uid)),
    };
    let Some(user) = user.map_err(said)? else {
        return Ok(Found::Nothing);
    };
    let name = CString::new(user.name.as_str()).map_err(|error| error.to_string())?;
    let groups = getgrouplist(&name, user.gid).map_err(|error| format!("groups: {error}"))?;
    let owner = Owner {
        name: user.name,
        uid: user.uid.as_raw(),
        gid: user.gid.as_raw(),
        groups: groups.into_iter().map(Gid::as_raw).collect(),
        home: user.dir,
    };
    let shell = user.shell;
    Ok(Found::User(Arc::new(Account { owner, shell })))
}

/// Whether the arguments of this program ask for the child.
pub(crate) fn is_asked_for(argument: &OsStr) -> bool {
    argument == COMMAND
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Result<Found, String> {
        let mut program = Command::new("/bin/sh");
        program.args(["-c", script]);
        ask(program, &Question::User(Who::Name("anna".to_owned())))
    }

    #[test]
    fn answers_travel() {
        let owner = Owner {
            name: "anna".to_owned(),
            uid: 1001,
            gid: 1002,
            groups: vec![27, 1002],
            home: OsString::from_vec(b"/home/\xff anna".to_vec()).into(),
        };
        let shell = "/bin/bash".into();
        for answer in [
            Ok(Found::User(Arc::new(Account { owner, shell }))),
            Ok(Found::Nothing),
            Ok(Found::Group(7)),
            Err("the service is away".to_owned()),
        ] {
            let bytes = encode(&answer);
            assert_eq!(decode(&bytes), Some(answer));
            for cut in 0..bytes.len() {
                assert_ne!(decode(&bytes[..cut]), decode(&bytes), "cut at {cut}");
            }
        }
    }

    #[test]
    fn the_question_is_neither_an_argument_nor_a_variable() {
        let look = "read q; tr '\\0' '\\n' < /proc/$$/cmdline | grep -c anna; env | grep -c anna; printf 'error\\0%s\\0' \"$q\"";
        let script = format!("test \"$({look})\" != '' && printf 'error\\0seen\\0'");
        assert_eq!(shell(&script), Err("seen".to_owned()));
        assert_eq!(
            shell("read q; printf 'error\\0%s\\0' \"$q\""),
            Err("name anna".to_owned())
        );
    }

    #[test]
    fn a_child_that_says_nothing_usable_is_no_answer() {
        for script in [
            "",
            "exit 3",
            "echo user",
            "printf 'user\\0anna\\0'",
            "kill -9 $$",
        ] {
            let error = shell(script).unwrap_err();
            assert_eq!(error, "the host's user look-up said nothing usable");
        }
        let error = shell("cat /dev/zero").unwrap_err();
        assert!(error.contains("too long an answer"), "{error}");
    }

    #[test]
    fn a_child_that_hangs_is_killed_at_its_deadline() {
        let dir = tempfile::tempdir().unwrap();
        let pid_file = dir.path().join("pid");
        let began = Instant::now();
        let error = shell(&format!(
            "echo $$ > {}; exec sleep 1000",
            pid_file.display()
        ));
        assert_eq!(
            error.unwrap_err(),
            "the host's user look-up did not answer within 5 s"
        );
        assert!(began.elapsed() >= DEADLINE);
        let pid = std::fs::read_to_string(pid_file).unwrap();
        assert!(!std::path::Path::new("/proc").join(pid.trim()).exists());
    }
}
