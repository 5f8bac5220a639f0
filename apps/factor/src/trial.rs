//! The search: how candidates are cut into packets, and the division itself.

use std::{fmt, fmt::Write as _};

use bayan_guest::{Args, Failure};

/// Candidates in a packet unless the job says otherwise: a tenth of a second or so of work.
const DEFAULT_PACKET: u64 = 10_000_000;

/// A divisor that was found, with its partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Divisor {
    /// At most the square root of the number.
    pub divisor: u64,
    /// The number divided by it.
    pub cofactor: u64,
    /// Whether the divisor is prime.
    pub prime: bool,
}

impl fmt::Display for Divisor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.prime { "prime" } else { "composite" };
        write!(formatter, "{} {} {kind}", self.divisor, self.cofactor)
    }
}

/// A search for the divisors of one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Search {
    number: u64,
    packet: u64,
}

impl Search {
    /// The search for divisors of `number` in packets of `packet` candidates.
    ///
    /// # Errors
    /// The number is below 2 or the packet empty.
    pub fn new(number: u64, packet: u64) -> Result<Self, Failure> {
        if number < 2 {
            return Err(Failure::usage(format!("--number {number}: must be at least 2")));
        }
        if packet == 0 {
            return Err(Failure::usage("--packet 0: must be at least 1"));
        }
        Ok(Self { number, packet })
    }

    /// The search that a job's arguments describe: `--number N`, `--packet SIZE` (10^7 if missing).
    ///
    /// # Errors
    /// As [`Search::new`], and arguments that are missing, unknown or of the wrong type.
    pub fn from_args(args: &mut Args) -> Result<Self, Failure> {
        let number = args.require("number")?;
        let packet = args.take_or("packet", DEFAULT_PACKET)?;
        args.finish()?;
        Self::new(number, packet)
    }

    /// How many packets, and so tasks, the search has.
    pub fn packets(&self) -> u64 {
        self.number.isqrt() / self.packet + 1
    }

    /// The divisors in packet `index`, smallest first.
    ///
    /// # Errors
    /// There is no such packet.
    pub fn divisors(&self, index: u64) -> Result<Vec<Divisor>, Failure> {
        if index >= self.packets() {
            return Err(Failure::usage(format!(
                "there is no packet {index}: the search has {}",
                self.packets()
            )));
        }
        // The index is in range, so the first candidate is at most the root.
        let start = index * self.packet;
        let last = start.saturating_add(self.packet - 1).min(self.number.isqrt());
        let (first, step) = match self.number % 2 {
            0 => (start.max(2), 1),
            _ => (start.max(3) | 1, 2),
        };
        let mut found = Vec::new();
        let mut candidate = first;
        // The root is below 2^32, so neither this sum nor the square below overflows.
        while candidate <= last {
            if self.number.is_multiple_of(candidate) {
                let prime = is_prime(candidate);
                let cofactor = self.number / candidate;
                found.push(Divisor { divisor: candidate, cofactor, prime });
            }
            candidate += step;
        }
        Ok(found)
    }

    /// The divisors in packet `index` as a task writes them.
    ///
    /// # Errors
    /// There is no such packet.
    pub fn packet(&self, index: u64) -> Result<String, Failure> {
        let mut lines = String::new();
        for divisor in self.divisors(index)? {
            writeln!(lines, "{divisor}").map_err(|_| Failure::failed("cannot format a line"))?;
        }
        Ok(lines)
    }
}

/// Whether `number`, which is at least 2 and at most 2^32, is prime.
fn is_prime(number: u64) -> bool {
    (2..)
        .take_while(|factor| factor * factor <= number)
        .all(|factor| !number.is_multiple_of(factor))
}

#[cfg(test)]
mod tests {
    use super::{Search, is_prime};

    /// All divisors up to the root over all packets.
    fn all(number: u64, packet: u64) -> Vec<u64> {
        let search = Search::new(number, packet).unwrap();
        (0..search.packets())
            .flat_map(|index| search.divisors(index).unwrap())
            .map(|found| {
                assert_eq!(found.divisor * found.cofactor, number);
                found.divisor
            })
            .collect()
    }

    #[test]
    fn packets_of_any_size_find_every_divisor_once() {
        for number in 2..400 {
            let expected: Vec<u64> =
                (2..=number).filter(|d| d * d <= number && number % d == 0).collect();
            for packet in [1, 2, 3, 7, 20, u64::MAX] {
                assert_eq!(all(number, packet), expected, "{number} in packets of {packet}");
            }
        }
    }

    #[test]
    fn the_classic_run_has_112_packets() {
        let search = Search::new(1_234_567_890_123_456_789, 10_000_000).unwrap();
        assert_eq!(search.packets(), 112);
        // 3 * 3 * 101 * 3541 * 3607 * 3803 * 27961
        let small = Search::new(1_234_567_890_123_456_789, 4_000).unwrap().divisors(0).unwrap();
        let primes: Vec<u64> = small.iter().filter(|d| d.prime).map(|d| d.divisor).collect();
        assert_eq!(primes, [3, 101, 3541, 3607, 3803]);
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        // 2^64 - 1 = 3 * 5 * 17 * 257 * 641 * 65537 * 6700417: the root is 2^32 - 1.
        let search = Search::new(u64::MAX, 1 << 16).unwrap();
        assert_eq!(search.packets(), 1 << 16);
        let last = search.divisors(search.packets() - 1).unwrap();
        assert_eq!(
            last.last().map(|d| (d.divisor, d.cofactor)),
            Some((4_294_967_295, 4_294_967_297))
        );
        // The square of the largest prime below 2^32.
        let prime = 4_294_967_291;
        let square = Search::new(prime * prime, 1 << 16).unwrap();
        let found = square.divisors(square.packets() - 1).unwrap();
        assert_eq!(found.iter().map(|d| (d.divisor, d.prime)).collect::<Vec<_>>(), [(prime, true)]);
        assert_eq!(Search::new(u64::MAX, u64::MAX).unwrap().packets(), 1);
    }

    #[test]
    fn primes_are_told_from_composites() {
        let primes: Vec<u64> = (2..30).filter(|&n| is_prime(n)).collect();
        assert_eq!(primes, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
        assert!(!is_prime(65_537 * 65_521));
    }
}
