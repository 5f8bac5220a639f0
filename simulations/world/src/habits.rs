//! How fast hosts are, when they sleep, how often their engines fail.
//!
//! The figures that are published of BOINC's hosts: they are available 68% of the time (Anderson and
//! Fedak, "The computational and storage potential of volunteer computing", 2006: on, connected and
//! allowed to compute), about one in twenty of their jobs fails, and their speeds are log-normal.

use crate::{
    SECOND,
    world::{Number, World},
};

/// Share of the time for which a volunteer's machine computes, in a million.
pub const AVAILABLE: u64 = 680_000;
/// Jobs in a million that fail on a volunteer's machine.
pub const FAILS: u64 = 50_000;

const MILLION: f64 = 1_000_000.0;

/// Speeds that are log-normal: the median and the spread of their logarithm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speeds {
    /// Microseconds a task on the median host.
    pub median: u64,
    /// Standard deviation of the natural logarithm; 0 makes all alike.
    pub sigma: f64,
}

impl Speeds {
    /// One host's microseconds a task.
    pub fn draw(&self, world: &mut World) -> u64 {
        if self.sigma == 0.0 {
            return self.median;
        }
        let (one, other) = (unit(world), unit(world));
        let normal = libm::sqrt(-2.0 * libm::log(one)) * libm::cos(core::f64::consts::TAU * other);
        let pace = self.median as f64 * libm::exp(self.sigma * normal);
        (pace as u64).clamp(1, 3600 * SECOND)
    }
}

/// A number above 0 and up to 1.
fn unit(world: &mut World) -> f64 {
    (world.draw(1_000_000) + 1) as f64 / MILLION
}

/// An exponentially distributed time with this mean.
fn wait(world: &mut World, mean: u64) -> u64 {
    (-libm::log(unit(world)) * mean as f64) as u64
}

/// When hosts sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sleep {
    /// Share of the time for which they are awake, in a million.
    pub available: u64,
    /// Microseconds for which they are awake at a time, on average.
    pub awake: u64,
}

/// Sends hosts to sleep.
#[derive(Debug)]
pub struct Sandman {
    sleep: Sleep,
    /// When each of the hosts goes to sleep next.
    next: Vec<(Number, u64)>,
}

impl Sandman {
    /// Of these hosts; each is awake first.
    pub fn new(world: &mut World, sleep: Sleep, hosts: impl Iterator<Item = Number>) -> Self {
        let now = world.now().0;
        let next = hosts.map(|host| (host, now + wait(world, sleep.awake))).collect();
        Self { sleep, next }
    }

    /// When somebody goes to sleep next, in microseconds since the epoch.
    pub fn next(&self) -> Option<u64> {
        self.next.iter().map(|(_, at)| *at).min()
    }

    /// Sends those to sleep whose time it is.
    pub fn visit(&mut self, world: &mut World) {
        let now = world.now().0;
        let available = self.sleep.available.clamp(1, 1_000_000);
        let mean = u128::from(self.sleep.awake) * u128::from(1_000_000 - available)
            / u128::from(available);
        let mean = u64::try_from(mean).unwrap_or(u64::MAX);
        for (host, at) in &mut self.next {
            if *at > now {
                continue;
            }
            let asleep = wait(world, mean);
            if asleep > 0 {
                world.sleep(*host, asleep);
            }
            *at = now + asleep + wait(world, self.sleep.awake).max(1);
        }
    }
}
