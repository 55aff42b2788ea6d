//! Bounds on what a daemon may use. Whether a host can keep them is for that host to say.

use serde::{Deserialize, Serialize};

use super::FieldViolation;

/// Fewest open files: fewer do not load a program and its libraries.
pub const NOFILE_MIN: i64 = 16;
/// Most open files: above what any kernel's `fs.nr_open` is set to.
pub const NOFILE_MAX: i64 = 1 << 30;
/// Least memory, bytes: less holds no program at all.
pub const MEMORY_MIN: i64 = 4 << 20;
/// Most memory, bytes: a petabyte, far from where numbers lose digits on their way through JSON.
pub const MEMORY_MAX: i64 = 1 << 50;
/// Least CPU, thousandths: the kernel's smallest quota, 1 ms of each 100 ms.
pub const CPU_MIN: i64 = 10;
/// Most CPU, thousandths: 1024 CPUs.
pub const CPU_MAX: i64 = 1_024_000;

/// In front of the limits in a hash. No variable name begins so, so nothing else can look like it.
const TAG: &[u8] = b"=limits";

/// Checked limits. `None`: the host's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    nofile: Option<u32>,
    memory_max: Option<u64>,
    cpu_max: Option<u32>,
}

/// Limits as they come in: anything may be wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the fields are those of Limits, unchecked")]
pub struct LimitsDraft {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nofile: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_max: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_max: Option<i64>,
}

impl LimitsDraft {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Limits {
    /// Checks a draft; adds what is broken to `bad`.
    pub(super) fn check(draft: &LimitsDraft, bad: &mut Vec<FieldViolation>) -> Self {
        Self {
            nofile: checked("nofile", draft.nofile, NOFILE_MIN, NOFILE_MAX, bad),
            memory_max: checked("memory_max", draft.memory_max, MEMORY_MIN, MEMORY_MAX, bad),
            cpu_max: checked("cpu_max", draft.cpu_max, CPU_MIN, CPU_MAX, bad),
        }
    }

    /// Open files of each process, 16 to 2^30.
    #[must_use]
    pub fn nofile(self) -> Option<u32> {
        self.nofile
    }
    /// Bytes of memory of all instances together, 4 MiB to 2^50.
    #[must_use]
    pub fn memory_max(self) -> Option<u64> {
        self.memory_max
    }
    /// Thousandths of a CPU of all instances together, 10 to 1024000.
    #[must_use]
    pub fn cpu_max(self) -> Option<u32> {
        self.cpu_max
    }

    /// What a hash takes in; `None` without any limit, so that such hashes are as if there were no limits at all.
    pub(super) fn hash_parts(self) -> Option<[Vec<u8>; 4]> {
        let (nofile, cpu_max) = (self.nofile.map(Into::into), self.cpu_max.map(Into::into));
        hash_parts([nofile, self.memory_max, cpu_max])
    }
}

/// The parts of a hash over nofile, memory_max and cpu_max; `None` where there is none of them.
pub(crate) fn hash_parts(limits: [Option<u64>; 3]) -> Option<[Vec<u8>; 4]> {
    if limits == [None; 3] {
        return None;
    }
    let [nofile, memory_max, cpu_max] =
        limits.map(|limit| limit.map_or(Vec::new(), |limit| limit.to_be_bytes().to_vec()));
    Some([TAG.to_vec(), nofile, memory_max, cpu_max])
}

impl From<Limits> for LimitsDraft {
    fn from(limits: Limits) -> Self {
        Self {
            nofile: limits.nofile.map(Into::into),
            memory_max: limits.memory_max.map(u64::cast_signed),
            cpu_max: limits.cpu_max.map(Into::into),
        }
    }
}

fn checked<T: TryFrom<i64>>(
    field: &str,
    value: Option<i64>,
    min: i64,
    max: i64,
    bad: &mut Vec<FieldViolation>,
) -> Option<T> {
    let value = value?;
    let inside = (min..=max).contains(&value);
    let checked = T::try_from(value).ok().filter(|_| inside);
    if checked.is_none() {
        let text = format!("must be {min} to {max}, is {value}");
        let field = format!("limits.{field}");
        bad.push(FieldViolation::new(&field, "RANGE", text));
    }
    checked
}
