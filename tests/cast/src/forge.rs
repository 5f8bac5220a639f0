//! Attacks below the machines: results that are right until they are to be sent. A forger looks at
//! every frame on its way out and says what goes out instead.

use bayan_protocol::{
    crypto::Keypair,
    result::{Commit, Opened, Output, Reveal, output_commit},
    task::Status,
    wire::Frame,
};
use serde_bytes::ByteBuf;

use crate::{behaviour::Lie, role::Role};

/// Commits kept until their reveal comes by.
const MAX_KEPT: usize = 16;

/// What a member does to its own frames.
pub struct Forger {
    role: Role,
    key: Keypair,
    lie: Lie,
    commits: Vec<Commit>,
}

impl Forger {
    /// A member with this role and secret.
    pub fn new(role: &Role, secret: &[u8; 32]) -> Self {
        Self {
            role: role.clone(),
            key: Keypair::from_seed(secret),
            lie: Lie::own(secret),
            commits: Vec::new(),
        }
    }

    /// What is sent in place of a frame, in order.
    pub fn pass(&mut self, frame: Frame) -> Vec<Frame> {
        match (&self.role, frame) {
            (Role::CommitOnly, Frame::Reveal(_)) => Vec::new(),
            (Role::OtherReveal, Frame::Reveal(reveal)) => {
                let opened = self.falsified(&reveal.opened);
                vec![Frame::Reveal(Reveal { root: reveal.root, opened })]
            }
            (Role::Equivocate, Frame::Commit(commit)) => {
                self.commits.truncate(MAX_KEPT);
                self.commits.insert(0, commit.clone());
                vec![Frame::Commit(commit)]
            }
            (Role::Equivocate, Frame::Reveal(reveal)) => self.twice(reveal),
            (_, frame) => vec![frame],
        }
    }

    /// The batch that was committed to, and another one about the same tasks. Which of them is
    /// revealed first is drawn, for either order may be the one that a receiver gets wrong.
    fn twice(&mut self, reveal: Reveal) -> Vec<Frame> {
        let at = self.commits.iter().position(|commit| commit.root == reveal.root);
        let Some(commit) = at.map(|at| self.commits.remove(at)) else {
            return vec![Frame::Reveal(reveal)];
        };
        let opened = self.falsified(&reveal.opened);
        // Under the same number: an acknowledgement of it must not cover a later honest batch.
        let other = Commit::sign(&self.key, commit.job, commit.sequence, &opened);
        let wrong = Reveal { root: other.root, opened };
        let wrong_first = reveal.root.0[0].is_multiple_of(2);
        let (first, second) = if wrong_first { (wrong, reveal) } else { (reveal, wrong) };
        vec![Frame::Commit(other), Frame::Reveal(first), Frame::Reveal(second)]
    }

    fn falsified(&self, opened: &[Opened]) -> Vec<Opened> {
        let falsify = |one: &Opened| {
            let right: &[u8] = match &one.output {
                Output::Inline(bytes) => bytes,
                // What is not at hand is replaced by something short.
                Output::Blob { hash, .. } => &hash.0,
            };
            let output = Output::Inline(ByteBuf::from(self.lie.bytes(&one.leaf.task, right)));
            let mut one = Opened { output, ..one.clone() };
            one.leaf.status = Status::Exited(0);
            one.leaf.output_commit = output_commit(&one.output.hash(), &one.nonce.0);
            one
        };
        opened.iter().map(falsify).collect()
    }
}

#[cfg(test)]
mod tests {
    use bayan_protocol::{
        id::{Hash, JobId, LeaseId, PeerId, TaskId},
        result::{BatchError, Leaf, VerifiedBatch},
    };

    use super::*;

    const SECRET: [u8; 32] = [9; 32];
    const SUBMITTER: PeerId = PeerId([3; 32]);

    fn batch() -> (Commit, Reveal) {
        let key = Keypair::from_seed(&SECRET);
        let output = Output::Inline(ByteBuf::from(b"right"));
        let nonce = Hash([7; 32]);
        let leaf = Leaf {
            task: TaskId([1; 32]),
            job: JobId([2; 32]),
            submitter: SUBMITTER,
            lease: LeaseId([4; 32]),
            worker: key.peer_id(),
            status: Status::Exited(0),
            output_commit: output_commit(&output.hash(), &nonce.0),
            fuel: 5,
        };
        let opened = vec![Opened { leaf, nonce, output, log: ByteBuf::new(), micros: 1 }];
        let commit = Commit::sign(&key, JobId([2; 32]), 1, &opened);
        (commit.clone(), Reveal { root: commit.root, opened })
    }

    fn sends(role: Role) -> Vec<Frame> {
        let mut forger = Forger::new(&role, &SECRET);
        let (commit, reveal) = batch();
        let mut sent = forger.pass(Frame::Commit(commit));
        sent.extend(forger.pass(Frame::Reveal(reveal)));
        sent
    }

    /// Checks what arrives as a receiver does.
    fn arrives(frames: &[Frame]) -> Vec<Result<Vec<u8>, BatchError>> {
        let worker = Keypair::from_seed(&SECRET).peer_id();
        let commits = frames.iter().filter_map(|frame| match frame {
            Frame::Commit(commit) => Some(commit),
            _ => None,
        });
        let commits: Vec<_> = commits.collect();
        let open = |reveal: &Reveal| {
            let commit = commits.iter().find(|commit| commit.root == reveal.root);
            let commit = (*commit.expect("a commit of it was sent")).clone();
            let batch = VerifiedBatch::check(commit, reveal.clone(), &worker, &SUBMITTER)?;
            match &batch.opened()[0].output {
                Output::Inline(bytes) => Ok(bytes.to_vec()),
                Output::Blob { .. } => panic!("outputs are short here"),
            }
        };
        let reveals = frames.iter().filter_map(|frame| match frame {
            Frame::Reveal(reveal) => Some(open(reveal)),
            _ => None,
        });
        reveals.collect()
    }

    #[test]
    fn an_honest_forger_changes_nothing() {
        assert_eq!(arrives(&sends(Role::Always)), [Ok(b"right".to_vec())]);
    }

    #[test]
    fn commits_without_reveals_are_commits_alone() {
        let sent = sends(Role::CommitOnly);
        assert!(matches!(&sent[..], [Frame::Commit(_)]));
    }

    #[test]
    fn another_reveal_does_not_open_the_commit() {
        assert_eq!(arrives(&sends(Role::OtherReveal)), [Err(BatchError::Root)]);
    }

    #[test]
    fn an_equivocator_signs_two_valid_batches_about_one_task() {
        let arrived = arrives(&sends(Role::Equivocate));
        assert_eq!(arrived.len(), 2);
        assert_ne!(arrived[0], arrived[1]);
        assert!(arrived.contains(&Ok(b"right".to_vec())), "{arrived:?}");
        assert!(arrived.iter().all(Result::is_ok), "{arrived:?}");
    }
}
