//! `[logs]` in the configuration of an agent that runs: read again on `host-agent reload` and on SIGHUP, in force for the logs
//! that are being written, and no daemon is touched.

use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;
use tokio_stream::StreamExt as _;
use tonic::Streaming;
use zhylon_proto::daemons::v1::TailLogResponse;
use zhylon_proto::daemons::v1::tail_log_request::Start;
use zhylon_proto::daemons::v1::tail_log_response::Event;
use zhylon_tests::daemons::{Watched, draft, log_file};
use zhylon_tests::machine::Said;
use zhylon_tests::world::programs;
use zhylon_tests::{PATIENCE, World, eventually};

/// Bytes of one burst: more than the smallest file, and than a pipe without privilege.
const BURST: usize = 100_000;
/// Of one line.
const LINE: usize = 100;

struct Story {
    world: World,
    id: String,
    bursts: usize,
    config: String,
    viewer: Streaming<TailLogResponse>,
    /// The line the viewer reads next, and what it has of it.
    next: usize,
    rest: Vec<u8>,
}

impl Story {
    /// A daemon that says a burst of numbered lines whenever it is told to.
    async fn begin() -> Self {
        let world = World::up();
        let command = format!(
            "perl -e '$|=1; my $n=0; for my $burst (0..99) {{ until(-e \"$ARGV[0]/go.$burst\") {{select(undef,undef,undef,0.02)}} \
             my $text=\"\"; for (1..{}) {{ $text.=sprintf(\"%09d %s\\n\",$n++,\"y\" x {}) }} print $text }}' {}",
            BURST / LINE,
            LINE - 11,
            world.dir().display()
        );
        let id = world.create(draft(&command)).await.id;
        world.running(&id).await;
        let config = fs::read_to_string(world.dir().join("host-agent.toml")).expect("its rules");
        let viewer = world.tail(&id, Start::TailLines(100_000), true).await;
        Self {
            world,
            id,
            bursts: 0,
            config,
            viewer,
            next: 0,
            rest: Vec::new(),
        }
    }

    fn write_rules(&self, rules: &str) {
        let text = format!("{}\n[logs]\n{rules}\n", self.config);
        fs::write(self.world.dir().join("host-agent.toml"), text).expect("write the rules");
    }

    fn reload(&self) -> Said {
        let mut command = self.world.command(programs().path("host-agent"));
        let config = self.world.dir().join("host-agent.toml");
        command.arg("reload").arg("--config").arg(config);
        command.output().expect("start it").into()
    }

    /// One more burst.
    fn go(&mut self) {
        let path = self.world.dir().join(format!("go.{}", self.bursts));
        fs::write(path, "").expect("tell it");
        self.bursts += 1;
    }

    /// The viewer gets all that was said so far, once and in order, and no gap.
    async fn read(&mut self) {
        let all = self.bursts * BURST / LINE;
        let reading = async {
            while self.next < all {
                let event = self.viewer.next().await.expect("more").expect("no error");
                match event.event {
                    Some(Event::Chunk(chunk)) => self.rest.extend_from_slice(&chunk.data),
                    Some(Event::Gap(gap)) => panic!("{gap:?} after line {}", self.next),
                    _ => continue,
                }
                let whole = self.rest.len() / LINE * LINE;
                for line in self.rest[..whole].chunks(LINE) {
                    let number = std::str::from_utf8(&line[..9]).expect("text").parse();
                    assert_eq!((number, line[LINE - 1]), (Ok(self.next), b'\n'));
                    self.next += 1;
                }
                self.rest.drain(..whole);
            }
        };
        let read = tokio::time::timeout(PATIENCE, reading).await;
        read.unwrap_or_else(|_| panic!("all {all} lines"));
    }

    fn rotated(&self) -> Vec<PathBuf> {
        let log = log_file(&self.id);
        let name = format!("{}.", log.file_name().expect("a name").to_string_lossy());
        let files = fs::read_dir(log.parent().expect("a directory")).expect("its directory");
        let mut found: Vec<PathBuf> = files
            .map(|file| file.expect("a file").path())
            .filter(|path| {
                path.file_name()
                    .is_some_and(|file| file.to_string_lossy().starts_with(&name))
            })
            .collect();
        found.sort();
        found
    }

    fn size(&self) -> u64 {
        fs::metadata(log_file(&self.id)).map_or(0, |file| file.len())
    }

    fn said(&self, words: &str) {
        eventually(&format!("{words:?} in\n{}", self.world.log()), || {
            self.world.log().contains(words).then_some(())
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_for_logs_hold_for_what_runs_once_they_are_read_again() {
    let mut story = Story::begin().await;
    let daemon = Watched::new(&story.world, &story.id).await;
    // As it comes: a file is far from full.
    story.go();
    story.read().await;
    assert_eq!(story.size(), BURST as u64);

    // Smaller files, and one of them besides: from the next line end on.
    story.write_rules("file_size = '64 KiB'\nrotated_files = 1");
    let said = story.reload();
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        said.out.contains("The rules for logs are in force"),
        "{said:?}"
    );
    let mut newest = Vec::new();
    for _ in 0..3 {
        story.go();
        newest = eventually("another rotated file, and none but it", || {
            let now = story.rotated();
            (now.len() == 1 && now != newest).then_some(now)
        });
        story.read().await;
    }

    // What is not usable changes nothing, whoever asks for it.
    story.write_rules("file_size = '1 KiB'");
    let said = story.reload();
    assert_ne!(said.code, 0, "{said:?}");
    assert!(said.err.contains("logs.file_size"), "{said:?}");
    let worker = eventually("a worker", || story.world.process("ZHYLON_WORKER_PID"));
    worker.signal(Signal::HUP).expect("signal it");
    story.said("policy and rules for logs stay as they were");
    story.go();
    eventually("they are as they were", || {
        let now = story.rotated();
        (now.len() == 1 && now != newest).then_some(())
    });
    story.read().await;

    // Room: at once. More is to stay free than the disk has, so nothing is written, and nothing is lost.
    story.write_rules(
        "rotated_files = 9\nkeep_free = '16000000 GiB'\nkeep_free_percent = 99\nwhen_full = 'block'",
    );
    let said = story.reload();
    assert_eq!(said.code, 0, "{said:?}");
    // A look at the disk that was found good holds for a moment.
    let before = loop {
        let before = story.size();
        story.go();
        let blocked = eventually("it is written, or there is no room", || {
            let blocked = story.world.log().contains("and then its daemon does");
            (blocked || story.size() > before).then_some(blocked)
        });
        if blocked {
            break before;
        }
    };
    story.go();
    assert_eq!(story.size(), before);
    story.write_rules("keep_free = '0'");
    assert_eq!(story.reload().code, 0);
    story.said("the log is written again");

    story.read().await;
    daemon.untouched();
    for file in story.rotated() {
        let _ = fs::remove_file(file);
    }
}
