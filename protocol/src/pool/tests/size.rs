//! The cost of a large job, counted in steps that must stay cheap rather than in seconds.

use super::*;

/// Runs a job to its end, every worker returning the oldest task it holds in turn.
fn run(count: u32, need: u32, workers: u8) -> usize {
    let mut pool = pool(count, need, 512, 1);
    let mut queues: BTreeMap<u8, alloc::collections::VecDeque<TaskIndex>> = BTreeMap::new();
    let mut need_left = vec![need; count as usize];
    let (mut now, mut steps) = (Timestamp(0), 0);
    let mut inputs = Vec::new();
    for worker in 1..=workers {
        inputs.push(Input::Joined { worker: peer(worker), slots: 4, own: false, reserved: false });
        inputs.push(Input::Credit { worker: peer(worker), tasks: 1024, below: 0 });
    }
    loop {
        for input in inputs.drain(..) {
            steps += 1;
            for effect in pool.step(now, input) {
                match effect {
                    Effect::Lease { worker, tasks, .. } => {
                        queues.entry(worker.0[0]).or_default().extend(tasks)
                    }
                    Effect::Cancel { worker, tasks } => {
                        queues.entry(worker.0[0]).or_default().retain(|task| !tasks.contains(task));
                    }
                }
            }
        }
        assert_eq!(pool.first_starved(), None);
        assert!(pool.is_finished() || pool.next_wake().is_some());
        now = now + Duration::from_micros(500);
        for (worker, queue) in &mut queues {
            let Some(task) = queue.pop_front() else { continue };
            let left = &mut need_left[task as usize];
            *left = left.saturating_sub(1);
            inputs.push(Input::Returned { worker: peer(*worker), task, wants: want(task, *left) });
        }
        if inputs.is_empty() {
            break;
        }
    }
    assert!(pool.is_finished());
    steps
}

#[test]
fn a_hundred_thousand_tasks_are_handed_out_without_looking_at_all_of_them_each_time() {
    // Quadratic work would be 10^10 looks at tasks: minutes, not the second that this takes.
    let steps = run(100_000, 1, 8);
    assert!(steps < 101_000, "{steps} steps: work was done twice");
}

#[test]
fn replicated_tasks_cost_no_more_than_their_copies() {
    let steps = run(30_000, 2, 8);
    assert!(steps < 61_000, "{steps} steps: work was done twice");
}
