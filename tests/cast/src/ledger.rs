//! What one member has claimed, and how much of that was wrong. The judge of a test reads it, so it
//! counts what was sent, not what was planned.

use std::collections::{BTreeMap, BTreeSet};

use bayan_protocol::{
    id::TaskId,
    limits::MAX_JOB_TASKS,
    result::{Opened, Outcome},
};

#[derive(Debug, Clone)]
struct Made {
    outcome: Outcome,
    /// None while nobody here knows what the task comes to.
    right: Option<bool>,
    sent: bool,
}

/// The claims of a member, of all its identities.
#[derive(Debug, Default)]
pub struct Ledger {
    /// By identity and task: whoever comes back may be given a task again.
    made: BTreeMap<(u32, TaskId), Made>,
    identity: u32,
    withheld: u64,
}

/// Results sent, sorted by what they were worth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// What the task came to.
    pub right: u64,
    /// Something else.
    pub wrong: u64,
    /// Guesses about tasks that nobody here has computed.
    pub unknown: u64,
    /// Committed to and never revealed.
    pub withheld: u64,
}

impl Ledger {
    /// The member is somebody else from now on.
    pub fn next_identity(&mut self) {
        self.identity += 1;
    }

    /// A claim is made; it counts once it is sent.
    pub fn claim(&mut self, task: TaskId, outcome: Outcome, right: Option<bool>) {
        let key = (self.identity, task);
        let fits = (self.made.len() as u64) < MAX_JOB_TASKS;
        if fits || self.made.contains_key(&key) {
            self.made.insert(key, Made { outcome, right, sent: false });
        }
    }

    /// Results go out, in a form that is wrong whatever they were if `forged`; how many are new.
    pub fn send(&mut self, opened: &[Opened], forged: bool) -> u64 {
        let mut new = 0;
        for one in opened {
            let key = (self.identity, one.leaf.task);
            let Some(made) = self.made.get_mut(&key) else { continue };
            new += u64::from(!made.sent);
            made.sent = true;
            if forged {
                made.right = Some(false);
            }
        }
        new
    }

    /// Results are kept back after they were committed to.
    pub fn withhold(&mut self, opened: &[Opened]) {
        self.withheld += opened.len() as u64;
    }

    /// Settles what can be known of guesses.
    pub fn resolve(&mut self, known: impl Fn(&TaskId) -> Option<Outcome>) {
        for ((_, task), made) in self.made.iter_mut().filter(|(_, made)| made.right.is_none()) {
            made.right = known(task).map(|outcome| outcome == made.outcome);
        }
    }

    /// What was sent so far.
    pub fn count(&self) -> Count {
        let mut count = Count { withheld: self.withheld, ..Count::default() };
        for made in self.made.values().filter(|made| made.sent) {
            match made.right {
                Some(true) => count.right += 1,
                Some(false) => count.wrong += 1,
                None => count.unknown += 1,
            }
        }
        count
    }

    /// The tasks of which something of this worth was sent, in order.
    pub fn tasks(&self, right: Option<bool>) -> BTreeSet<TaskId> {
        let such = self.made.iter().filter(|(_, made)| made.sent && made.right == right);
        such.map(|((_, task), _)| *task).collect()
    }
}

#[cfg(test)]
mod tests {
    use bayan_protocol::{
        id::{Hash, JobId, LeaseId, PeerId},
        result::{Leaf, Output},
        task::Status,
    };
    use serde_bytes::ByteBuf;

    use super::*;

    fn outcome(output: u8) -> Outcome {
        Outcome { status: Status::Exited(0), output: Hash([output; 32]), fuel: 1 }
    }

    fn opened(task: u8) -> Opened {
        let leaf = Leaf {
            task: TaskId([task; 32]),
            job: JobId([0; 32]),
            submitter: PeerId([0; 32]),
            lease: LeaseId([0; 32]),
            worker: PeerId([0; 32]),
            status: Status::Exited(0),
            output_commit: Hash([0; 32]),
            fuel: 1,
        };
        let output = Output::Inline(ByteBuf::new());
        Opened { leaf, nonce: Hash([0; 32]), output, log: ByteBuf::new(), micros: 1 }
    }

    #[test]
    fn what_was_sent_counts_once_and_guesses_are_settled_later() {
        let mut ledger = Ledger::default();
        for (task, right) in [(1, Some(true)), (2, Some(false)), (3, None), (4, Some(false))] {
            ledger.claim(TaskId([task; 32]), outcome(task), right);
        }
        assert_eq!(ledger.send(&[opened(1), opened(2), opened(3), opened(9)], false), 3);
        assert_eq!(ledger.send(&[opened(2)], false), 0, "said again");
        let count = Count { right: 1, wrong: 1, unknown: 1, withheld: 0 };
        assert_eq!(ledger.count(), count);
        ledger.resolve(|_| Some(outcome(8)));
        assert_eq!(ledger.count(), Count { wrong: 2, unknown: 0, ..count });
        assert_eq!(ledger.tasks(Some(false)), BTreeSet::from([TaskId([2; 32]), TaskId([3; 32])]));
    }

    #[test]
    fn another_identity_claims_anew() {
        let mut ledger = Ledger::default();
        for _ in 0..2 {
            ledger.claim(TaskId([1; 32]), outcome(1), Some(false));
            assert_eq!(ledger.send(&[opened(1)], false), 1);
            ledger.next_identity();
        }
        assert_eq!((ledger.count().wrong, ledger.tasks(Some(false)).len()), (2, 1));
    }

    #[test]
    fn what_is_forged_on_its_way_out_is_wrong() {
        let mut ledger = Ledger::default();
        ledger.claim(TaskId([1; 32]), outcome(1), Some(true));
        ledger.send(&[opened(1)], true);
        assert_eq!(ledger.count().wrong, 1);
    }
}
