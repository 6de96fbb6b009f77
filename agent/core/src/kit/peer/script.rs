//! What a scripted peer does with one connection.

use std::sync::Arc;

/// What a peer does after it has sent its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Keeps the connection open and reads on, saying nothing.
    Silence,
    /// Closes the connection in order (FIN).
    Close,
    /// Resets the connection (RST).
    Reset,
}

/// What a peer does with every connection that it accepts.
#[derive(Clone, Debug)]
pub struct Script {
    pub(super) after_request: bool,
    pub(super) send: Arc<[u8]>,
    pub(super) times: usize,
    pub(super) then: Then,
}

impl Script {
    /// Accepts, reads, never says anything: half-open.
    pub fn silent() -> Self {
        Self::bytes(Vec::new())
    }

    /// Closes at once.
    pub fn close() -> Self {
        Self::silent().then(Then::Close)
    }

    /// Resets at once.
    pub fn reset() -> Self {
        Self::silent().then(Then::Reset)
    }

    /// Sends these bytes, then stays silent.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        let send = bytes.into().into();
        Self { after_request: false, send, times: 1, then: Then::Silence }
    }

    /// Sends `len` pseudo-random bytes; the same seed gives the same bytes.
    pub fn garbage(seed: u64, len: usize) -> Self {
        Self::bytes(random_bytes(seed, len))
    }

    /// Waits for the first bytes of the other side before it acts.
    pub fn after_request(mut self) -> Self {
        self.after_request = true;
        self
    }

    /// Sends the bytes `times` times in all.
    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    /// What comes after the bytes.
    pub fn then(mut self, then: Then) -> Self {
        self.then = then;
        self
    }
}

/// `len` pseudo-random bytes from a seed (SplitMix64, Steele, Lea, Flood 2014).
pub fn random_bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        out.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    out.truncate(len);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        assert_eq!(random_bytes(7, 13), random_bytes(7, 13));
        assert_ne!(random_bytes(7, 13), random_bytes(8, 13));
        // First output of SplitMix64 for seed 0, as published with the algorithm.
        assert_eq!(random_bytes(0, 8), 0xE220_A839_7B1D_CDAF_u64.to_le_bytes());
    }
}
