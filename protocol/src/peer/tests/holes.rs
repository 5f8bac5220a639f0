//! A restart from a store that has lost records here and there.

use super::*;

/// SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The precious ones are there: the store keeps these twice.
fn with_holes(bench: &mut Bench, seed: u64) {
    let mut state = seed;
    bench.disk.retain(|key, _| {
        Key::PRECIOUS.iter().any(|prefix| key.0.starts_with(prefix))
            || !next(&mut state).is_multiple_of(3)
    });
    bench.running.clear();
    bench.fetches.clear();
    bench.peer = Bench::peer(bench.slots, 9, bench.now);
    let records = bench.disk.values().cloned().collect();
    let manifests = bench.manifests.clone();
    let batch = bench.peer.restore(bench.now, records, |hash| manifests.get(hash).cloned());
    bench.carry_out(batch);
}

fn outputs(bench: &Bench) -> usize {
    let votes = bench.disk.values().filter_map(|record| match record {
        Record::Vote { task, .. } => Some(*task),
        _ => None,
    });
    votes.collect::<alloc::collections::BTreeSet<_>>().len()
}

#[test]
fn a_job_with_holes_in_its_past_is_completed_with_every_output() {
    for seed in 0..30 {
        let policy = [Policy::None, Policy::Vote(1), Policy::Vote(3)][seed as usize % 3];
        let mut bench = Bench::new(2);
        let job = bench.submit(12, policy, Local::Always);
        for hash in core::mem::take(&mut bench.fetches) {
            bench.step(Input::Blob { hash, here: true });
        }
        for _ in 0..seed % 12 {
            let Some((attempt, task)) = bench.running.pop() else { break };
            let output = Output::Inline(ByteBuf::from(task.0.to_vec()));
            let (status, fuel, log, micros) = (Status::Exited(0), 10, Vec::new(), 1000);
            bench.step(Input::Executed(Ended { attempt, status, output, fuel, log, micros }));
        }
        with_holes(&mut bench, seed);
        for _ in 0..40 {
            bench.execute();
            if bench.settled(&job) == 12 {
                break;
            }
            bench.pass(Duration::from_secs(30));
        }
        assert_eq!((bench.settled(&job), outputs(&bench)), (12, 12), "seed {seed}");
    }
}

#[test]
fn a_peer_with_holes_in_its_past_goes_on() {
    for seed in 0..30 {
        let mut bench = Bench::new(2);
        bench.worker(1, 8);
        bench.worker(2, 8);
        let one = bench.submit(20, Policy::Vote(2), Local::Never);
        bench.work(1);
        if seed % 2 == 0 {
            bench.work(2);
        }
        with_holes(&mut bench, seed);
        bench.worker(1, 8);
        bench.worker(2, 8);
        bench.worker(3, 8);
        for _ in 0..10 {
            bench.pass(Duration::from_secs(60));
            (1..4).for_each(|number| bench.work(number));
        }
        assert!(bench.peer.job(&one).is_some(), "seed {seed}");
        assert_eq!(bench.closed, [], "seed {seed}");
        bench.step(Input::Cancel(one));
        bench.step(Input::Forget(one));
    }
}
