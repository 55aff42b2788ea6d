//! Engine time: the time since boot. Its origin lies before every process, so the start of an adopted one has a time.

use std::time::{Duration, SystemTime};

use host_agent_engine::time::Time;
use rustix::time::{ClockId, clock_gettime};

/// Now.
pub(super) fn now() -> Time {
    let since_boot = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(since_boot.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(since_boot.tv_nsec).unwrap_or(0);
    Time::new(Duration::new(seconds, nanos))
}

/// Wall-clock time of an engine time.
pub(super) fn wall(time: Time) -> SystemTime {
    let now = now();
    let wall = SystemTime::now();
    let shifted = if time > now {
        wall.checked_add(time.since(now))
    } else {
        wall.checked_sub(now.since(time))
    };
    shifted.unwrap_or(wall)
}

/// Clock ticks per second in `/proc`: the same on every machine we run on.
const TICKS: u32 = 100;

/// How long a process has been running, from its start in clock ticks since boot.
pub(super) fn ran_for(start_time: u64) -> Duration {
    let (seconds, rest) = (start_time / u64::from(TICKS), start_time % u64::from(TICKS));
    let started =
        Duration::from_secs(seconds) + Duration::from_millis(rest * 1000 / u64::from(TICKS));
    now().since(Time::new(started))
}
