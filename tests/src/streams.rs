//! Recording a daemon's log as a viewer sees it, and checking the recording. The recorder is a plain client of the public
//! API: it resumes with the last cursor it was given. The checker knows nothing of our code: it reads the recorded bytes,
//! and what the writers (`promises::daemon::writer`) are known to write.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_stream::StreamExt as _;
use tonic::Code;
use tonic_types::StatusExt as _;
use zhylon_proto::daemons::v1::tail_log_request::Start;
use zhylon_proto::daemons::v1::tail_log_response::Event;
use zhylon_proto::daemons::v1::{TailLogRequest, TailLogResponse};

use crate::World;
use crate::random::Random;

/// How a viewer behaves.
#[derive(Debug)]
pub enum Manner {
    /// Reads what comes.
    Steady,
    /// Hangs up at random and comes back with its cursor.
    Restless(Random),
    /// Stops reading at random.
    Slow(Random),
}

/// What a viewer wrote down.
#[derive(Debug)]
pub struct Recording {
    path: PathBuf,
    file: File,
    /// Last words of writers that came.
    lasts: usize,
    /// The newest bytes: last words may come in two pieces.
    tail: Vec<u8>,
    /// How often the stream ended before the log did, by the reason it gave (`""`: none).
    pub cuts: BTreeMap<String, u64>,
    /// How often the viewer hung up itself.
    pub hung_up: u64,
    /// The cursor after the first piece.
    pub first_cursor: Option<String>,
}

/// What a recording holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Lines, each once and whole.
    pub lines: u64,
    /// Announced gaps.
    pub gaps: u64,
    /// Lines that are in gaps.
    pub missing: u64,
}

const LAST: &[u8] = b" LAST ";

impl Recording {
    /// An empty one at `path`.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self {
            file: File::create(&path).expect("a recording"),
            path,
            lasts: 0,
            tail: Vec::new(),
            cuts: BTreeMap::new(),
            hung_up: 0,
            first_cursor: None,
        }
    }

    /// Follows a log from its beginning until the last words of `writers` came.
    pub async fn follow(
        mut self,
        world: &World,
        id: &str,
        writers: usize,
        mut manner: Manner,
    ) -> Self {
        let mut cursor = None;
        while self.lasts < writers {
            let start = cursor
                .clone()
                .map_or(Start::TailLines(100_000), Start::Cursor);
            let request = TailLogRequest {
                daemon_id: id.to_owned(),
                start: Some(start),
                follow: true,
                instance: None,
            };
            let opened = world.logs().await.tail_log(request).await;
            let mut stream = match opened {
                Ok(stream) => stream.into_inner(),
                Err(status) => {
                    self.cut(&status);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            while self.lasts < writers {
                match stream.next().await {
                    Some(Ok(event)) => self.take(event, &mut cursor),
                    Some(Err(status)) => {
                        self.cut(&status);
                        break;
                    }
                    None => panic!("a stream that follows ended without a word"),
                }
                // How this viewer is, not a wait for anything.
                let pause = match &mut manner {
                    Manner::Steady => None,
                    Manner::Restless(random) => {
                        if random.below(100) == 0 {
                            self.hung_up += 1;
                            break;
                        }
                        None
                    }
                    Manner::Slow(random) => (random.below(50) == 0).then(|| random.below(600)),
                };
                if let Some(pause) = pause {
                    tokio::time::sleep(Duration::from_millis(pause as u64)).await;
                }
            }
        }
        self
    }

    fn take(&mut self, event: TailLogResponse, cursor: &mut Option<String>) {
        let at = match event.event {
            Some(Event::Chunk(chunk)) => {
                writeln!(self.file, "D {}", chunk.data.len()).expect("record");
                self.file.write_all(&chunk.data).expect("record");
                self.look_for_last(&chunk.data);
                chunk.cursor
            }
            Some(Event::Gap(gap)) => {
                writeln!(self.file, "G {} {:?}", gap.bytes, gap.reason()).expect("record");
                gap.cursor
            }
            Some(Event::KeepAlive(alive)) if !alive.cursor.is_empty() => alive.cursor,
            _ => return,
        };
        self.first_cursor.get_or_insert_with(|| at.clone());
        *cursor = Some(at);
    }

    fn look_for_last(&mut self, data: &[u8]) {
        self.tail.extend_from_slice(data);
        let count = self
            .tail
            .windows(LAST.len())
            .filter(|window| *window == LAST);
        self.lasts += count.count();
        let keep = self.tail.len().saturating_sub(LAST.len() - 1);
        self.tail.drain(..keep);
    }

    fn cut(&mut self, status: &tonic::Status) {
        let reason = status.get_details_error_info().map(|info| info.reason);
        let reason = reason.unwrap_or_default();
        let known = [
            "API_SERVER_DRAINING",
            "SERVER_OFFLINE",
            "VIEWER_TOO_SLOW",
            "DATABASE_BUSY",
        ];
        let transport = matches!(
            status.code(),
            Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal
        );
        assert!(
            known.contains(&reason.as_str()) || (reason.is_empty() && transport),
            "no reason to come back: {status:?}"
        );
        *self.cuts.entry(reason).or_default() += 1;
    }

    /// Reads it back. See [`check`].
    #[must_use]
    pub fn check(&self, writers: usize) -> Seen {
        check(&self.path, writers)
    }
}

/// Checks a recording: every line of every writer once, whole and in order up to its last words, but for lines in
/// announced gaps.
///
/// # Panics
/// At the first record that is not as it should be.
#[must_use]
pub fn check(recording: &Path, writers: usize) -> Seen {
    let mut file = BufReader::new(File::open(recording).expect("the recording"));
    let (mut seen, mut next) = (Seen::default(), BTreeMap::<String, u64>::new());
    let (mut rest, mut over) = (Vec::new(), 0);
    // Lines of every writer may be missing here, announced by a gap since that writer's last line.
    let mut excused: BTreeMap<String, bool> = BTreeMap::new();
    let mut head = String::new();
    while file.read_line(&mut head).expect("a record") > 0 {
        let words: Vec<&str> = head.split_whitespace().collect();
        match words.as_slice() {
            ["D", length] => {
                let before = rest.len();
                rest.resize(before + length.parse::<usize>().expect("a length"), 0);
                file.read_exact(&mut rest[before..]).expect("all of it");
            }
            ["G", bytes, reason] => {
                assert!(bytes.parse::<u64>().is_ok_and(|bytes| bytes > 0), "{head}");
                assert_ne!(*reason, "Unspecified", "a gap has its reason");
                // What is missing may begin within a line.
                rest.clear();
                seen.gaps += 1;
                for slot in 0..writers {
                    excused.insert(format!("{slot:02}"), true);
                }
            }
            other => panic!("no record: {other:?}"),
        }
        let mut at = 0;
        while let Some(length) = rest[at..].iter().position(|byte| *byte == b'\n') {
            let line = std::str::from_utf8(&rest[at..at + length]).expect("text");
            at += length + 1;
            let (slot, text) = line.split_once(' ').expect("a slot");
            let due = next.entry(slot.to_owned()).or_insert(1);
            assert_ne!(*due, u64::MAX, "{line:?} after the last words of {slot}");
            let gap = excused.insert(slot.to_owned(), false).unwrap_or_default();
            if let Some(count) = text.strip_prefix("LAST ") {
                let count: u64 = count.parse().expect("a count");
                assert!(
                    count + 1 == *due || (gap && count >= *due),
                    "{line:?} instead of {due} of {slot}"
                );
                seen.missing += count + 1 - *due;
                (*due, over) = (u64::MAX, over + 1);
                continue;
            }
            let (number, filler) = text.split_once(' ').expect("a number");
            let number: u64 = number.parse().expect("a number");
            assert!(
                number == *due || (gap && number > *due),
                "{line:?} instead of {due} of {slot}"
            );
            assert!(
                filler.len() as u64 == number % 97 && filler.bytes().all(|byte| byte == b'x'),
                "torn: {line:?}"
            );
            seen.missing += number - *due;
            *due = number + 1;
            seen.lines += 1;
        }
        rest.drain(..at);
        head.clear();
    }
    assert!(
        rest.is_empty(),
        "it ends in a line: {:?}",
        String::from_utf8_lossy(&rest)
    );
    assert_eq!(
        (next.len(), over),
        (writers, writers),
        "writers, last words"
    );
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(records: &[&str]) -> Seen {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recording");
        let record = |text: &&str| match text.strip_prefix('!') {
            Some(reason) => format!("G 7 {reason}\n"),
            None => format!("D {}\n{text}", text.len()),
        };
        let text: String = records.iter().map(record).collect();
        std::fs::write(&path, text).unwrap();
        check(&path, 1)
    }

    #[test]
    fn a_good_recording_and_every_kind_of_bad_one() {
        let good = ["00 0000000001 x\n00 00000", "00002 xx\n", "00 LAST 2\n"];
        let seen = Seen {
            lines: 2,
            gaps: 0,
            missing: 0,
        };
        assert_eq!(judge(&good), seen);
        let gap = [
            "00 0000000001 x\n",
            "!Cleared",
            "00 0000000003 xxx\n00 LAST 3\n",
        ];
        let seen = Seen {
            lines: 2,
            gaps: 1,
            missing: 1,
        };
        assert_eq!(judge(&gap), seen);
        let bad: [&[&str]; 9] = [
            &["00 0000000001 x\n00 0000000003 xxx\n00 LAST 3\n"],
            &["00 0000000001 x\n00 0000000001 x\n00 LAST 1\n"],
            &["00 0000000001 xx\n00 LAST 1\n"],
            &["00 0000000001 x\n"],
            &["00 0000000001 x\n00 LAST 2\n"],
            &["00 0000000001 x\n00 LAST 1\n00 0000000002 xx\n"],
            &["00 0000000001 x\n", "!Rotated", "0002 xx\n00 LAST 2\n"],
            &["00 0000000001 x\n", "!Unspecified", "00 LAST 1\n"],
            // One gap excuses one jump.
            &[
                "00 0000000001 x\n",
                "!User",
                "00 0000000003 xxx\n00 0000000005 xxxxx\n00 LAST 5\n",
            ],
        ];
        for records in bad {
            let judged = std::panic::catch_unwind(|| judge(records));
            assert!(judged.is_err(), "{records:?}");
        }
    }
}
