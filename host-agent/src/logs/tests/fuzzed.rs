//! What the fuzz targets do, with bytes from a seed: quick enough for every run.

use super::super::fuzz;
use super::*;

/// Inputs of each target.
const INPUTS: u64 = 150;

fn each(mut feed: impl FnMut(&[u8])) {
    for seed in 1..=INPUTS {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let length = dice.roll(1500);
        let small = dice.roll(2) == 0;
        let bytes: Vec<u8> = (0..length)
            .map(|_| match small && dice.roll(4) > 0 {
                // Small numbers mean more than large ones.
                true => dice.roll(2) as u8,
                false => dice.roll(256) as u8,
            })
            .collect();
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| feed(&bytes)));
        assert!(caught.is_ok(), "with seed {seed}");
    }
}

#[test]
fn whatever_is_said_whenever_is_in_whole_lines() {
    each(fuzz::log_lines);
}

#[test]
fn whatever_an_index_says_is_read_or_refused() {
    each(fuzz::log_index);
}

#[test]
fn whatever_a_cursor_says_is_its_own_or_refused() {
    each(fuzz::log_cursor);
    fuzz::log_cursor(b"AQAAAAAAAAAAAAAAAA");
}
