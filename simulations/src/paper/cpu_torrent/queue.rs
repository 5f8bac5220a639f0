//! A queue of jobs before some slots, event by event, with offloading of each job's first part.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use fastrand::Rng;

/// What is handed to others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Offload {
    /// Nothing.
    Never,
    /// The first part of a job that finds no slot free; used if it is back when the job's turn comes.
    WhileWaiting {
        /// Of the provider, home being 1.
        speed: f64,
    },
    /// The first part of every job, which is waited for.
    Always {
        /// Of the provider, home being 1.
        speed: f64,
    },
}

/// A queue that goes on for ever.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setup {
    pub(super) slots: u32,
    /// Jobs an hour.
    pub(super) lambda: f64,
    /// Mean length of a job.
    pub(super) hours: f64,
    /// First part of a job.
    pub(super) alpha: f64,
    pub(super) offload: Offload,
}

/// Hours over all counted jobs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    /// From arrival to the end.
    pub(super) spent: f64,
    /// In slots at home.
    pub(super) work: f64,
    /// Waiting for a slot.
    pub(super) waited: f64,
    pub(super) jobs: u32,
}

/// Time in the queue as an ordered number: hours are never negative, so their bits order them.
fn bits(time: f64) -> u64 {
    time.max(0.0).to_bits()
}

#[derive(Debug, Clone, Copy)]
struct Job {
    arrived: f64,
    hours: f64,
    /// When it asks for a slot.
    ready: f64,
}

struct Queue {
    slots: u32,
    alpha: f64,
    offload: Offload,
    waiting: VecDeque<Job>,
    /// When the slots that are taken come free.
    ends: BinaryHeap<Reverse<u64>>,
    totals: Totals,
    counted: bool,
}

impl Queue {
    fn new(slots: u32, alpha: f64, offload: Offload) -> Self {
        Self {
            slots,
            alpha,
            offload,
            waiting: VecDeque::new(),
            ends: BinaryHeap::new(),
            totals: Totals::default(),
            counted: true,
        }
    }

    fn is_full(&self) -> bool {
        self.ends.len() >= self.slots as usize
    }

    /// Ends whatever ends until `now`, and starts what waits.
    fn advance(&mut self, now: f64) {
        while let Some(Reverse(end)) =
            self.ends.peek().copied().filter(|Reverse(end)| *end <= bits(now))
        {
            self.ends.pop();
            if let Some(job) = self.waiting.pop_front() {
                self.start(job, f64::from_bits(end));
            }
        }
    }

    fn start(&mut self, job: Job, now: f64) {
        let work = match self.offload {
            Offload::Never => job.hours,
            Offload::Always { .. } => (1.0 - self.alpha) * job.hours,
            Offload::WhileWaiting { speed } => {
                let back = self.alpha * job.hours / speed <= now - job.ready && now > job.ready;
                if back { (1.0 - self.alpha) * job.hours } else { job.hours }
            }
        };
        self.ends.push(Reverse(bits(now + work)));
        if self.counted {
            self.totals.spent += now + work - job.arrived;
            self.totals.waited += now - job.ready;
            self.totals.work += work;
            self.totals.jobs += 1;
        }
    }

    fn ask(&mut self, job: Job) {
        self.advance(job.ready);
        if self.is_full() {
            self.waiting.push_back(job);
        } else {
            self.start(job, job.ready);
        }
    }
}

/// An exponential length of this mean.
fn exponential(rng: &mut Rng, mean: f64) -> f64 {
    -mean * (1.0 - rng.f64()).ln()
}

/// Plays `jobs` jobs; the first tenth only fills the queue.
pub(super) fn run(setup: Setup, jobs: u32, seed: u64) -> Totals {
    let mut rng = Rng::with_seed(seed);
    let mut queue = Queue::new(setup.slots, setup.alpha, setup.offload);
    let mut now = 0.0;
    // Jobs whose first part is with a provider, by when it is back.
    let mut away: BinaryHeap<Reverse<(u64, u64, u64)>> = BinaryHeap::new();
    for number in 0..jobs {
        now += exponential(&mut rng, 1.0 / setup.lambda);
        let hours = exponential(&mut rng, setup.hours);
        queue.counted = number >= jobs / 10;
        if let Offload::Always { speed } = setup.offload {
            let back = now + setup.alpha * hours / speed;
            away.push(Reverse((bits(back), bits(now), bits(hours))));
            while let Some(Reverse((ready, arrived, hours))) = away.peek().copied()
                && f64::from_bits(ready) <= now
            {
                away.pop();
                let [ready, arrived, hours] = [ready, arrived, hours].map(f64::from_bits);
                queue.ask(Job { arrived, hours, ready });
            }
        } else {
            queue.ask(Job { arrived: now, hours, ready: now });
        }
    }
    queue.totals
}

/// Jobs that come together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Burst {
    /// Hour of the week.
    pub(super) at: f64,
    pub(super) jobs: u32,
    /// Hours within which they come.
    pub(super) over: f64,
}

/// A week with two bursts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Week {
    pub(super) slots: u32,
    pub(super) lambda: f64,
    pub(super) hours: f64,
    pub(super) alpha: f64,
    pub(super) bursts: [Burst; 2],
}

const HOURS: f64 = 168.0;

impl Week {
    /// Both peaks of the queue, hours for which somebody waited after each burst, mean wait; and how
    /// many waited, hour by hour.
    pub(super) fn run(&self, offload: Offload, seed: u64) -> ([f64; 5], Vec<(f64, f64)>) {
        let mut rng = Rng::with_seed(seed);
        let mut jobs: Vec<(f64, f64)> = Vec::new();
        let mut now = exponential(&mut rng, 1.0 / self.lambda);
        while now < HOURS {
            jobs.push((now, exponential(&mut rng, self.hours)));
            now += exponential(&mut rng, 1.0 / self.lambda);
        }
        for burst in self.bursts {
            for _ in 0..burst.jobs {
                let at = burst.at + burst.over * rng.f64();
                jobs.push((at, exponential(&mut rng, self.hours)));
            }
        }
        jobs.sort_by(|one, two| one.0.total_cmp(&two.0));
        let mut queue = Queue::new(self.slots, self.alpha, offload);
        let (mut peaks, mut full) = ([0.0_f64; 2], [0.0; 2]);
        let mut curve = Vec::new();
        let mut next = jobs.into_iter().peekable();
        let tick = 0.1;
        for step in 0..(HOURS / tick) as u32 {
            let now = f64::from(step) * tick;
            while let Some((arrived, hours)) = next.next_if(|(at, _)| *at <= now) {
                queue.ask(Job { arrived, hours, ready: arrived });
            }
            queue.advance(now);
            let waiting = queue.waiting.len() as f64;
            let after = usize::from(now >= self.bursts[1].at);
            peaks[after] = peaks[after].max(waiting);
            full[after] += if waiting > 0.0 && now >= self.bursts[0].at { tick } else { 0.0 };
            if step % 10 == 0 {
                curve.push((now, waiting));
            }
        }
        let wait = queue.totals.waited / f64::from(queue.totals.jobs.max(1));
        ([peaks[0], peaks[1], full[0], full[1], wait], curve)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::formulas, *};

    #[test]
    fn without_offloading_the_queue_is_as_theory_says() {
        let setup =
            Setup { slots: 4, lambda: 3.0, hours: 1.0, alpha: 0.5, offload: Offload::Never };
        let found = run(setup, 400_000, 1);
        let wait = found.waited / f64::from(found.jobs);
        let expected = formulas::wait(3.0, 4);
        assert!((wait / expected - 1.0).abs() < 0.03, "{wait} instead of {expected}");
    }

    #[test]
    fn always_offloading_takes_the_first_part_from_home() {
        let offload = Offload::Always { speed: 4.0 };
        let setup = Setup { slots: 4, lambda: 0.01, hours: 1.0, alpha: 0.5, offload };
        let found = run(setup, 10_000, 1);
        // Nobody waits: an eighth with the provider, half at home.
        let spent = found.spent / f64::from(found.jobs);
        assert!((spent - 0.625).abs() < 0.02, "{spent}");
    }
}
