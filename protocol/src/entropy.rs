//! Randomness as data: a stream seeded once by the node, so that a replay draws the same numbers.

/// A BLAKE3 stream of unpredictable bytes.
#[derive(Clone)]
pub struct Entropy(blake3::OutputReader);

impl Entropy {
    /// A stream that is a function of `seed` alone.
    pub fn new(seed: &[u8; 32]) -> Self {
        Self(
            blake3::Hasher::new_derive_key("bayan 2026-11-21 entropy v1")
                .update(seed)
                .finalize_xof(),
        )
    }

    /// The next 32 bytes.
    pub fn draw(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.0.fill(&mut bytes);
        bytes
    }
}
