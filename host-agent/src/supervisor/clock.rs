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

/// How long a process has been running, from its start in clock ticks since boot.
pub(super) fn ran_for(start_time: u64) -> Duration {
    let ticks = rustix::param::clock_ticks_per_second().max(1);
    let started = Duration::from_secs(start_time / ticks)
        + Duration::from_secs(1) * u32::try_from(start_time % ticks).unwrap_or(0)
            / u32::try_from(ticks).unwrap_or(1);
    now().since(Time::new(started))
}
