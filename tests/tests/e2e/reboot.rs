//! Who follows a log meets the host again after it was started anew, and misses nothing of what is on its disk.

use tokio_stream::StreamExt as _;
use zhylon_proto::daemons::v1::tail_log_request::Start;
use zhylon_proto::daemons::v1::tail_log_response::Event;
use zhylon_tests::daemons::draft;
use zhylon_tests::machine::Machine;
use zhylon_tests::namespace::{reboot, story};
use zhylon_tests::{PATIENCE, World};

/// Says which boot it is, then counts.
const COUNTS: &str = "/bin/bash -c 'read boot < /proc/sys/kernel/random/boot_id; for ((n=0;;n++)); do echo $boot $n; sleep 0.01; done'";

/// What a viewer has: all bytes in order.
#[derive(Default)]
struct Seen {
    text: String,
    cursor: String,
}

impl Seen {
    /// Follows until `enough`; a stream that breaks is called again with the cursor, as every client does.
    async fn follow(&mut self, world: &World, id: &str, enough: impl Fn(&str) -> bool) {
        let following = async {
            'call: loop {
                let start = match self.cursor.as_str() {
                    "" => Start::TailLines(100_000),
                    cursor => Start::Cursor(cursor.to_owned()),
                };
                let mut stream = world.tail(id, start, true).await;
                while let Some(event) = stream.next().await {
                    let cursor = match event.map(|event| event.event) {
                        Ok(Some(Event::Chunk(chunk))) => {
                            self.text.push_str(&String::from_utf8_lossy(&chunk.data));
                            chunk.cursor
                        }
                        Ok(Some(Event::Gap(gap))) => panic!("{gap:?} after {:?}", self.text),
                        Ok(_) => continue,
                        Err(_) => continue 'call,
                    };
                    self.cursor = cursor;
                    if enough(&self.text) {
                        return;
                    }
                }
            }
        };
        let done = tokio::time::timeout(PATIENCE, following).await;
        done.unwrap_or_else(|_| panic!("not enough: {:?}\n{}", self.text, world.log()));
    }

    /// The counts of each boot, in the order of the boots.
    fn counts(&self) -> Vec<(&str, Vec<u64>)> {
        let mut boots: Vec<(&str, Vec<u64>)> = Vec::new();
        for line in self.text.lines() {
            let (boot, number) = line.split_once(' ').expect("a whole line");
            let number = number.parse().unwrap_or_else(|_| panic!("{line:?}"));
            match boots.last_mut() {
                Some((last, numbers)) if *last == boot => numbers.push(number),
                _ => boots.push((boot, vec![number])),
            }
        }
        boots
    }
}

#[test]
fn a_log_is_followed_over_a_reboot_of_its_host() {
    story(async |machine: Machine| {
        let world = World::installed(&machine);
        let id = world.create(draft(COUNTS)).await.id;
        let mut seen = Seen::default();
        seen.follow(&world, &id, |text| text.lines().count() >= 50)
            .await;
        let first = seen.text.split(' ').next().expect("a boot").to_owned();

        reboot();
        let again = world.up_again();
        assert!(again.status.success(), "{again:?}\n{}", world.log());
        let enough = |text: &str| {
            let later = text.lines().filter(|line| !line.starts_with(&first));
            later.count() >= 50
        };
        seen.follow(&world, &id, enough).await;
        // Whoever comes later sees the same.
        let mut late = Seen::default();
        late.follow(&world, &id, enough).await;
        for seen in [&seen, &late] {
            let boots = seen.counts();
            assert_eq!(boots.len(), 2, "{}", seen.text);
            for (boot, numbers) in &boots {
                let all: Vec<u64> = (0..numbers.len() as u64).collect();
                assert_eq!(*numbers, all, "{boot}");
            }
        }
        let first_boot = |seen: &Seen| seen.counts().remove(0).1.len();
        assert_eq!(first_boot(&seen), first_boot(&late));
        assert!(first_boot(&seen) >= 50);
    });
}
