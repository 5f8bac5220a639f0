//! How a job runs its course while nobody cheats: which part of its results is replicated, by whom,
//! and how the workers' records grow meanwhile.
//!
//! A mean field: workers return results at one pace, each step replicates the expected part of them,
//! and each kind of replica is shared equally among those who may compute it.

use alloc::{collections::BTreeMap, vec, vec::Vec};

use super::{Known, Rungs};
use crate::{offer::Prefix, standing::ESTABLISHED};

/// Steps in which a job is looked at; early ones are shorter, because rates change most there.
const STEPS: u32 = 400;

/// Where a job ends up.
#[derive(Debug)]
pub(super) struct Course {
    /// Results of each worker.
    pub(super) results: f64,
    /// The part of results that is replicated.
    pub(super) replicated: f64,
    /// Which part of the replicas is computed on each rung.
    pub(super) rungs: Rungs<f64>,
    /// The replicas that nobody was there to compute.
    pub(super) missing: f64,
    /// Each worker's passes when the job begins.
    pub(super) before: Vec<f64>,
    /// Each worker's passes when the job ends.
    pub(super) after: Vec<f64>,
    /// Each worker's checks as the first worker.
    checks: Vec<f64>,
}

impl Course {
    /// Of `tasks` tasks over `workers` at a `rate` that depends on passes; own slots may compute
    /// replicas of `own` tasks.
    pub(super) fn run(tasks: f64, workers: &[Known], own: f64, rate: impl Fn(f64) -> f64) -> Self {
        let results = (tasks / workers.len().max(1) as f64).max(1.0);
        let before: Vec<f64> = workers.iter().map(|known| f64::from(known.k())).collect();
        let mut course = Self {
            results,
            replicated: 0.0,
            rungs: Rungs::default(),
            missing: 0.0,
            after: before.clone(),
            before,
            checks: vec![0.0; workers.len()],
        };
        let mut own = own;
        for step in 0..STEPS {
            let until = |step: u32| results * f64::from(step * step) / f64::from(STEPS * STEPS);
            course.step(workers, until(step + 1) - until(step), &mut own, &rate);
        }
        let replicas = course.rungs.sum();
        if replicas > 0.0 {
            course.replicated = replicas / (results * workers.len() as f64);
            course.rungs = course.rungs.map(|part| part / replicas);
        }
        course
    }

    /// Takes each worker `results` further.
    fn step(&mut self, workers: &[Known], results: f64, own: &mut f64, rate: &impl Fn(f64) -> f64) {
        let crowd = Crowd::new(workers, &self.after);
        let mut done = Rungs::default();
        let mut passes = vec![0.0; workers.len()];
        for (index, known) in workers.iter().enumerate() {
            let wanted = results * rate(self.after[index]);
            let by_own = if crowd.has_established(index) { 0.0 } else { wanted.min(*own) };
            *own -= by_own;
            let rest = wanted - by_own;
            done.own += by_own;
            passes[index] = wanted;
            match crowd {
                _ if crowd.has_established(index) => done.established += rest,
                _ if crowd.has_others_elsewhere(known) => done.elsewhere += rest,
                _ if workers.len() > 1 => done.anyone += rest,
                _ => {
                    self.missing += rest;
                    passes[index] = by_own;
                }
            }
            self.checks[index] += passes[index];
        }
        for (index, passes) in passes.iter().enumerate() {
            self.after[index] += passes + crowd.duty(index, &done);
        }
        self.rungs = self.rungs.zip(done, |before, more| before + more);
    }

    /// Passes for each check of the workers that `of` selects: one as the first worker, the rest as a
    /// replica of others.
    pub(super) fn growth(&self, of: impl Fn(usize) -> bool) -> f64 {
        let (mut passes, mut checks) = (0.0, 0.0);
        for index in (0..self.checks.len()).filter(|index| of(*index)) {
            passes += self.after[index] - self.before[index];
            checks += self.checks[index];
        }
        if checks > 0.0 { passes / checks } else { 1.0 }
    }
}

/// Who may compute replicas at one moment.
struct Crowd {
    established: Vec<bool>,
    /// Established workers, and those of them whose network does not matter.
    all: usize,
    anywhere: usize,
    /// The others of the established ones by network.
    networks: BTreeMap<Prefix, usize>,
    /// All workers by network.
    everyone: BTreeMap<Prefix, usize>,
    workers: Vec<Known>,
}

impl Crowd {
    fn new(workers: &[Known], passes: &[f64]) -> Self {
        let mut crowd = Self {
            established: passes.iter().map(|k| *k >= f64::from(ESTABLISHED)).collect(),
            all: 0,
            anywhere: 0,
            networks: BTreeMap::new(),
            everyone: BTreeMap::new(),
            workers: workers.to_vec(),
        };
        for (known, established) in workers.iter().zip(&crowd.established) {
            *crowd.everyone.entry(known.prefix).or_default() += 1;
            if *established {
                crowd.all += 1;
                if known.trusted {
                    crowd.anywhere += 1;
                } else {
                    *crowd.networks.entry(known.prefix).or_default() += 1;
                }
            }
        }
        crowd
    }

    /// Whether an established worker may replicate for the one at `index`.
    fn has_established(&self, index: usize) -> bool {
        let known = &self.workers[index];
        if known.trusted {
            return self.all > usize::from(self.established[index]);
        }
        let near = self.networks.get(&known.prefix).copied().unwrap_or(0);
        self.anywhere + (self.all - self.anywhere - near) > 0
    }

    /// Whether there is anyone in another network than this worker's.
    fn has_others_elsewhere(&self, known: &Known) -> bool {
        self.everyone.get(&known.prefix).is_some_and(|near| *near < self.workers.len())
    }

    /// How many replicas of those `done` the worker at `index` computed.
    fn duty(&self, index: usize, done: &Rungs<f64>) -> f64 {
        let strangers = self.workers.len() - self.all;
        let unknown = done.elsewhere + done.anyone;
        match (self.established[index], strangers) {
            (true, 0) => (done.established + unknown) / self.all as f64,
            (true, _) => done.established / self.all as f64,
            (false, _) => unknown / strangers as f64,
        }
    }
}
