//! A worker that is killed at any moment goes on from what it stored: no task is lost, and nothing
//! is computed again whose result is in a stored batch.

use alloc::collections::BTreeSet;

use proptest::{prelude::*, test_runner::RngSeed};

use super::*;

#[derive(Debug, Clone)]
enum Op {
    Lease { from: u8, first: u16, count: u16 },
    Execute { count: u8 },
    Pass { millis: u64 },
    Ack { from: u8 },
    Cancel { from: u8, task: u16 },
    Down { from: u8 },
    Up { from: u8 },
    Pause,
    Resume,
    Crash,
}

fn op() -> impl Strategy<Value = Op> {
    let from = 1..3_u8;
    prop_oneof![
        4 => (from.clone(), 0..40_u16, 1..12_u16).prop_map(|(from, first, count)| Op::Lease { from, first, count }),
        6 => (1..9_u8).prop_map(|count| Op::Execute { count }),
        3 => (1..200_u64).prop_map(|millis| Op::Pass { millis }),
        2 => from.clone().prop_map(|from| Op::Ack { from }),
        1 => (from.clone(), 0..40_u16).prop_map(|(from, task)| Op::Cancel { from, task }),
        1 => from.clone().prop_map(|from| Op::Down { from }),
        2 => from.prop_map(|from| Op::Up { from }),
        1 => Just(Op::Pause),
        2 => Just(Op::Resume),
        2 => Just(Op::Crash),
    ]
}

struct Model {
    bench: Bench,
    leases: u16,
    up: BTreeSet<u8>,
    /// Tasks that each source waits for.
    owed: BTreeSet<(u8, TaskId)>,
    /// What each source has got: it does not wait for that again.
    got: BTreeSet<(u8, TaskId)>,
    /// Batches that each source got.
    highest: BTreeMap<u8, u64>,
}

impl Model {
    fn new() -> Self {
        let up = BTreeSet::from([1, 2]);
        Self {
            bench: Bench::ready(2, 2),
            leases: 0,
            up,
            owed: BTreeSet::new(),
            got: BTreeSet::new(),
            highest: BTreeMap::new(),
        }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Lease { from, first, count } if self.up.contains(&from) => {
                self.leases += 1;
                let lease = lease(from, from, self.leases, first..first + count);
                let tasks = lease.tasks.iter().map(|task| (from, task.task));
                self.owed.extend(tasks.filter(|task| !self.got.contains(task)));
                self.bench.lease(lease);
            }
            Op::Execute { count } => {
                for _ in 0..count {
                    if !self.bench.running.is_empty() {
                        self.bench.execute();
                    }
                }
            }
            Op::Pass { millis } => self.bench.pass(MS * u32::try_from(millis).unwrap()),
            Op::Ack { from } if self.up.contains(&from) => {
                let highest = self.highest.get(&from).copied().unwrap_or(0);
                self.bench.step(ack(source(from), job(from), highest));
            }
            Op::Cancel { from, task } if self.up.contains(&from) => {
                let task = lease(from, from, 0, task..task + 1).tasks[0].task;
                self.owed.remove(&(from, task));
                let cancel = Cancel { job: job(from), tasks: vec![task] };
                self.bench.step(Input::Cancel { peer: source(from), cancel });
            }
            Op::Down { from } => {
                if self.up.remove(&from) {
                    self.bench.step(Input::Down { peer: source(from) });
                }
            }
            Op::Up { from } => self.up(from),
            Op::Pause => self.bench.step(Input::Pause),
            Op::Resume => self.bench.step(Input::Resume),
            Op::Crash => self.crash(),
            Op::Lease { .. } | Op::Ack { .. } | Op::Cancel { .. } => {}
        }
        self.receive();
    }

    fn up(&mut self, from: u8) {
        if self.up.insert(from) {
            self.bench.up(from);
        }
    }

    /// The sources take in what was sent; a task that is delivered is no longer owed.
    fn receive(&mut self) {
        for batch in self.bench.batches() {
            let from = batch.opened()[0].leaf.submitter.0[0];
            let highest = self.highest.entry(from).or_default();
            *highest = (*highest).max(batch.commit().sequence);
            for one in batch.opened() {
                self.owed.remove(&(from, one.leaf.task));
                self.got.insert((from, one.leaf.task));
            }
        }
    }

    fn crash(&mut self) {
        self.receive();
        self.up.clear();
        let bench = &mut self.bench;
        bench.now = bench.now + MS;
        let stored: BTreeSet<TaskId> = self.stored();
        let bench = &mut self.bench;
        bench.running.clear();
        bench.fetches.clear();
        bench.worker = Bench::worker(2, 2 + u8::try_from(self.leases % 200).unwrap());
        let begun = bench.runs.len();
        let records = bench.disk.values().cloned().collect();
        let batch = bench.worker.restore(bench.now, records);
        assert!(
            batch.effects.iter().all(|effect| !matches!(effect, Effect::Send(..))),
            "nobody is there"
        );
        bench.carry_out(batch);
        bench.fetch();
        // All that it is going to compute, if nothing else happens.
        while !bench.running.is_empty() {
            bench.execute();
        }
        let again: Vec<&TaskId> =
            bench.runs[begun..].iter().filter(|task| stored.contains(task)).collect();
        assert!(again.is_empty(), "computed again although stored: {again:?}");
    }

    /// Tasks with a result in a stored batch.
    fn stored(&self) -> BTreeSet<TaskId> {
        let mut stored = BTreeSet::new();
        for record in self.bench.disk.values() {
            if let Record::Batch { opened, .. } = record {
                stored.extend(opened.iter().map(|one| one.leaf.task));
            }
        }
        stored
    }

    /// No faults any more: everything owed is delivered, and everything acknowledged forgotten.
    fn finish(&mut self) {
        self.bench.step(Input::Resume);
        self.up(1);
        self.up(2);
        self.bench.fetch();
        while !self.bench.running.is_empty() {
            self.bench.execute();
        }
        self.bench.pass(BATCH_CLOSE);
        self.receive();
        assert!(self.owed.is_empty(), "lost: {:?}", self.owed);
        assert_eq!(self.bench.violations, [""; 0]);
        for from in 1..3 {
            self.bench.step(ack(source(from), job(from), u64::MAX));
        }
        assert!(self.bench.disk.is_empty(), "left over: {:?}", self.bench.disk);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 800,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(20_261_122),
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_task_is_lost_and_nothing_stored_is_computed_again(ops in prop::collection::vec(op(), 0..60)) {
        let mut model = Model::new();
        for op in &ops {
            model.apply(op);
        }
        model.finish();
    }
}

#[test]
fn a_batch_number_is_not_used_again_by_a_worker_that_starts_anew_in_the_same_instant() {
    let mut bench = Bench::ready(1, 1);
    for number in 0..3 {
        bench.lease(lease(1, 1, number, number..number + 1));
        bench.execute();
    }
    bench.worker = Bench::worker(1, 2);
    let records = bench.disk.values().cloned().collect();
    let batch = bench.worker.restore(bench.now, records);
    bench.carry_out(batch);
    bench.sent.clear();
    bench.up(1);
    bench.lease(lease(1, 1, 9, 9..10));
    bench.execute();
    let sequences: BTreeSet<u64> =
        bench.batches().iter().map(|batch| batch.commit().sequence).collect();
    assert_eq!((sequences.len(), bench.disk.len()), (4, 4));
}
