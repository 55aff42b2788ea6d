//! A small generator for moments and orders: its seed is printed by the test that fails, so that a run can be repeated.

/// The generator.
#[derive(Debug)]
pub struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    /// One with a seed of this moment.
    #[must_use]
    pub fn seeded() -> Self {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("a clock");
        let seed = (now.as_secs() ^ (u64::from(now.subsec_nanos()) << 20)) | 1;
        Self { seed, state: seed }
    }

    /// One that repeats what another one with this seed did; 0 counts as 1.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        let seed = seed.max(1);
        Self { seed, state: seed }
    }

    /// What it began with.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state % bound as u64) as usize
    }
}
