//! `[logs]`: the host's rules for log files, read and checked.

use super::reader::Reader;
use crate::logs::{Rules, Size, WhenFull};

/// Below it a busy log would be renamed all the time; above, a file is nothing a person opens.
const FILE_SIZES: std::ops::RangeInclusive<u64> = 64 * 1024..=16 * 1024 * 1024 * 1024;
/// What `file_size` must be, in words.
const FILE_SIZE: &str = "a size from \"64 KiB\" to \"16 GiB\"";
/// Most rotated files of one daemon: each is looked at when the next one is put aside.
const ROTATED_MAX: i64 = 1000;

impl Reader {
    pub(super) fn logs(&mut self, key: &str) -> Rules {
        let mut rules = Rules::default();
        let Some(mut inner) = self.table(key) else {
            return rules;
        };
        if let Some(bytes) = inner.size("file_size", FILE_SIZE, |size| FILE_SIZES.contains(&size)) {
            rules.rotation.bytes = bytes;
        }
        if let Some(keep) = inner.number("rotated_files", 0..=ROTATED_MAX) {
            rules.rotation.keep = keep;
        }
        let total = "a size like \"2 GiB\", not below `file_size`, or \"0\" for no bound";
        let file_size = rules.rotation.bytes;
        let may_be = |size| size == 0 || size >= file_size;
        if let Some(total) = inner.size("total_size", total, may_be) {
            rules.total_bytes = (total > 0).then_some(total);
        }
        if let Some(bytes) = inner.size("keep_free", "a size like \"1 GiB\", or \"0\"", |_| true) {
            rules.keep_free.bytes = bytes;
        }
        if let Some(percent) = inner.number("keep_free_percent", 0..=99) {
            rules.keep_free.percent = percent;
        }
        let word = "`drop` or `block`";
        rules.when_full = inner
            .word("when_full", word, WhenFull::from_word)
            .unwrap_or_default();
        self.adopt(inner);
        rules
    }

    /// A size as people write it, if it `may_be`.
    fn size(&mut self, key: &str, rule: &str, may_be: impl Fn(u64) -> bool) -> Option<u64> {
        self.word(key, rule, |text| {
            let Size(bytes) = Size::from_text(text)?;
            may_be(bytes).then_some(bytes)
        })
    }

    /// A text that means something.
    fn word<T>(&mut self, key: &str, rule: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let text = self.text(key)?;
        let read = read(&text);
        if read.is_none() {
            self.refuse(key, &format!("must be {rule}, is `{text}`"));
        }
        read
    }

    fn number<T: TryFrom<i64>>(
        &mut self,
        key: &str,
        range: std::ops::RangeInclusive<i64>,
    ) -> Option<T> {
        let rule = format!("a number from {} to {}", range.start(), range.end());
        let number = self.take(key, &rule, |value| value.as_integer())?;
        let inside = range.contains(&number).then_some(number);
        let taken = inside.and_then(|number| number.try_into().ok());
        if taken.is_none() {
            self.refuse(key, &format!("must be {rule}, is `{number}`"));
        }
        taken
    }
}
