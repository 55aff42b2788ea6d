//! A line that never ends, in a drainer of its own whose memory is measured.

use super::kill::{Besides, Drainer, INSTANCES};
use super::*;

/// Of one line, in MiB, unless the environment asks for more.
const LINE_MIB: u64 = 160;
const MORE: &str = "ZHYLON_TEST_LINE_MIB";
/// Most of the drainer's memory that may ever be resident. It is a debug build of all of this crate's tests.
const RESIDENT_MAX_KIB: u64 = 64 * 1024;

#[test]
fn a_line_longer_than_any_buffer_takes_no_memory() {
    let world = World::quiet();
    let fifos: Vec<_> = (0..INSTANCES)
        .map(|index| world.fifo(world.run(index, 1)))
        .collect();
    let mut drainer = Drainer::start(&world, Besides::Nothing);
    let mib = std::env::var(MORE)
        .ok()
        .and_then(|mib| mib.parse().ok())
        .unwrap_or(LINE_MIB);
    let (_, stdout) = &fifos[0];
    let block = vec![b'x'; 1024 * 1024];
    for _ in 0..mib {
        let mut stdout = stdout;
        stdout.write_all(&block).unwrap();
    }
    let reader = || {
        let bytes = fs::read(world.index()).unwrap_or_default();
        bytes
            .get(..STATE_LEN)
            .and_then(State::decode)
            .map_or(0, |state| state.position)
    };
    // All but what the FIFO still may hold.
    eventually(|| match reader() >= (mib - 1) << 20 {
        true => Ok(()),
        false => Err(reader().to_string()),
    });
    let status = fs::read_to_string(format!("/proc/{}/status", drainer.child.id())).unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(
        peak < RESIDENT_MAX_KIB,
        "{peak} KiB for a line of {mib} MiB"
    );
    drainer.finish();
    // Every byte is there or in a rotated file that had to go; each cut is one line end of ours.
    let mut there = 0;
    for (_, path) in world.rotated() {
        there += fs::metadata(path).unwrap().len();
    }
    let written = fs::metadata(world.file()).unwrap().len();
    there += written;
    let (mut cuts, mut said, entries) = (0, 0, world.entries());
    let state = State::decode(&fs::read(world.index()).unwrap()[..STATE_LEN]).unwrap();
    // Whatever was under way has arrived.
    let end = state.position + (written - state.offset);
    for (number, entry) in entries.iter().enumerate() {
        let next = entries.get(number + 1).map_or(end, |next| next.position);
        match entry.kind {
            Kind::Data => said += next - entry.position,
            Kind::Newline => cuts += next - entry.position,
            _ => {}
        }
    }
    let _ = std::io::Write::write_all(
        &mut std::io::stdout(),
        format!("a line of {mib} MiB: {cuts} cuts, at most {peak} KiB resident\n").as_bytes(),
    );
    if mib == LINE_MIB {
        assert_eq!((said, there), (mib << 20, said + cuts));
        assert_eq!(cuts, mib);
    }
}
