//! Limits as they are typed and shown: quantities in kubectl's form. Ranges are the api-server's to judge.

use zhylon_proto::daemons::v1 as api;

use crate::args::LimitFlags;

/// A limit, or none any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit<T>(Option<T>);

const UNITS: [(&str, u32); 4] = [("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];

/// A number of files, or `none`.
pub(crate) fn nofile(text: &str) -> Result<Limit<i32>, String> {
    limit(text, |text| text.parse().ok(), "a number of files")
}

/// Bytes, with a binary unit or without, or `none`.
pub(crate) fn memory(text: &str) -> Result<Limit<i64>, String> {
    let form = "bytes, or a number with Ki, Mi, Gi or Ti such as 512Mi";
    limit(
        text,
        |text| {
            let unit = |(unit, shift)| Some((text.strip_suffix(unit)?, shift));
            let (number, shift) = UNITS.into_iter().find_map(unit).unwrap_or((text, 0));
            number.parse::<i64>().ok()?.checked_mul(1 << shift)
        },
        form,
    )
}

/// CPUs with up to three decimals, or thousandths with an `m`, or `none`.
pub(crate) fn cpu(text: &str) -> Result<Limit<i32>, String> {
    limit(text, thousandths, "CPUs such as 0.5 or 2, or 500m")
}

fn thousandths(text: &str) -> Option<i32> {
    if let Some(number) = text.strip_suffix('m') {
        return number.parse().ok();
    }
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = part.len() <= 3 && part.bytes().all(|b| b.is_ascii_digit());
    let part: i32 = format!("{part:0<3}").parse().ok().filter(|_| digits)?;
    whole
        .parse::<i32>()
        .ok()?
        .checked_mul(1000)?
        .checked_add(part)
}

fn limit<T>(text: &str, parse: impl Fn(&str) -> Option<T>, form: &str) -> Result<Limit<T>, String> {
    if text == "none" {
        return Ok(Limit(None));
    }
    let parsed = parse(text).ok_or_else(|| format!("must be {form}, or `none`"))?;
    Ok(Limit(Some(parsed)))
}

/// Puts the flags given into `daemon`; gives the paths they set.
pub(crate) fn apply(flags: &LimitFlags, daemon: &mut api::Daemon) -> Vec<&'static str> {
    let mut limits = api::Limits::default();
    let mut paths = Vec::new();
    if let Some(Limit(nofile)) = flags.limit_nofile {
        limits.nofile = nofile;
        paths.push("limits.nofile");
    }
    if let Some(Limit(memory)) = flags.limit_memory_max {
        limits.memory_max = memory;
        paths.push("limits.memory_max");
    }
    if let Some(Limit(cpu)) = flags.limit_cpu_max {
        limits.cpu_max = cpu;
        paths.push("limits.cpu_max");
    }
    if !paths.is_empty() {
        daemon.limits = Some(limits);
    }
    paths
}

/// One line for people; empty without any limit.
pub(crate) fn shown(limits: Option<&api::Limits>) -> String {
    let limits = limits.copied().unwrap_or_default();
    let all = [
        limits.nofile.map(|files| format!("{files} open files")),
        limits
            .memory_max
            .map(|max| format!("memory {}", bytes(max))),
        limits.cpu_max.map(|max| format!("CPU {max}m")),
    ];
    all.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The largest unit that loses nothing, as it can be typed.
fn bytes(value: i64) -> String {
    let whole = |(unit, shift): (&str, u32)| {
        (value != 0 && value % (1 << shift) == 0).then(|| format!("{}{unit}", value >> shift))
    };
    UNITS
        .into_iter()
        .find_map(whole)
        .unwrap_or_else(|| value.to_string())
}

/// Memory in use, rounded, for a column.
pub(crate) fn rounded(value: i64) -> String {
    let unit = UNITS.iter().find(|(_, shift)| value >= 1 << shift);
    unit.map_or_else(
        || value.to_string(),
        |(unit, shift)| {
            let tenths = ((value >> (shift - 10)) * 10) >> 10;
            format!("{}.{}{unit}", tenths / 10, tenths % 10)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_kubectls() {
        assert_eq!(memory("4096"), Ok(Limit(Some(4096))));
        assert_eq!(memory("512Mi"), Ok(Limit(Some(512 << 20))));
        assert_eq!(memory("none"), Ok(Limit(None)));
        for bad in ["", "Mi", "1.5Gi", "1M", "9999999999Ti", "-"] {
            assert!(memory(bad).is_err(), "{bad}");
        }
        assert_eq!(cpu("0.5"), Ok(Limit(Some(500))));
        assert_eq!(cpu("2"), Ok(Limit(Some(2000))));
        assert_eq!(cpu("1.025"), Ok(Limit(Some(1025))));
        assert_eq!(cpu("250m"), Ok(Limit(Some(250))));
        for bad in ["", "m", ".5", "1.0005", "1,5", "3000000", "1.-5", "1.+5"] {
            assert!(cpu(bad).is_err(), "{bad}");
        }
        assert_eq!(nofile("1024"), Ok(Limit(Some(1024))));
        assert!(nofile("1k").is_err());
    }

    #[test]
    fn what_is_shown_can_be_typed() {
        for value in [1, 4096, 4097, 512 << 20, 3 << 40] {
            assert_eq!(memory(&bytes(value)), Ok(Limit(Some(value))));
        }
        assert_eq!(rounded(512), "512");
        assert_eq!(rounded((1 << 20) + (1 << 19)), "1.5Mi");
        assert_eq!(shown(None), "");
    }
}
