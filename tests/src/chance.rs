//! Choices that differ from run to run and can be repeated: everything follows from one seed.

use std::{
    hash::{BuildHasher as _, RandomState},
    ops::Range,
};

/// A source of choices (SplitMix64).
pub struct Chance(u64);

impl Chance {
    /// Seeded by the environment variable `BAYAN_TEST_SEED`, or at random; the seed is printed.
    pub fn new() -> Self {
        let given = std::env::var("BAYAN_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| RandomState::new().hash_one(0));
        println!("repeat the choices of this run with BAYAN_TEST_SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number of a range that is not empty.
    pub fn pick(&mut self, from: Range<u64>) -> u64 {
        from.start + self.next() % (from.end - from.start)
    }

    /// One of several things, taken out.
    pub fn take<T>(&mut self, from: &mut Vec<T>) -> Option<T> {
        let count = u64::try_from(from.len()).ok().filter(|count| *count > 0)?;
        Some(from.swap_remove(usize::try_from(self.pick(0..count)).ok()?))
    }

    /// Bytes that mean nothing.
    pub fn garbage(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

impl Default for Chance {
    fn default() -> Self {
        Self::new()
    }
}
