//! What a relay of the cast does with what it is to pass on. Pure: a frame goes in, and what is sent in
//! its place comes out, with how much later.

use bayan_protocol::{
    crypto::Keypair,
    id::PeerId,
    result::Output,
    task::Input,
    wire::{Frame, Lease, Relayed},
};
use serde_bytes::ByteBuf;

use crate::behaviour::{Board, Claim};

/// Virtual or real microseconds.
pub type Micros = u64;

/// Frames that are reordered come up to so much later.
const SHUFFLED: Micros = 2_000_000;

/// How a relay passes things on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passing {
    /// As it should.
    Honest,
    /// Nothing comes through, neither results nor acknowledgements.
    Drops,
    /// It comes so much later.
    Delays(Micros),
    /// What was sent later may come earlier.
    Reorders,
    /// Outputs are not what their workers signed.
    Forges,
    /// Inputs are not what the submitter gave.
    Alters,
    /// Only workers of a ring are given work, so that all that comes through it is theirs.
    Colludes(String),
    /// It tells a ring every result that comes through, for its members to repeat.
    Leaks(String),
}

impl Passing {
    /// What is sent to `to` in place of a frame, and how much later; `chance` is any number.
    pub fn pass(
        &self,
        key: &Keypair,
        to: &PeerId,
        frame: Frame,
        (board, chance): (&mut Board, u64),
    ) -> Option<(Micros, Frame)> {
        let me = key.peer_id();
        let through = match &frame {
            Frame::Relayed(_) => true,
            Frame::Ack(ack) => ack.check(&me).is_err(),
            _ => false,
        };
        match (self, frame) {
            (Self::Drops, _) if through => None,
            (Self::Delays(by), frame) if through => Some((*by, frame)),
            (Self::Reorders, frame) if through => Some((chance % SHUFFLED, frame)),
            (Self::Forges, Frame::Relayed(relayed)) => Some((0, Frame::Relayed(forge(relayed)))),
            (Self::Alters, Frame::Lease(lease)) if lease.submitter != me => {
                Some((0, Frame::Lease(alter(key, to, lease))))
            }
            (Self::Colludes(ring), Frame::Offer(_)) if !board.has_mate(ring, to) => None,
            (Self::Leaks(ring), Frame::Relayed(relayed)) => {
                leak(board, ring, &relayed);
                Some((0, Frame::Relayed(relayed)))
            }
            (_, frame) => Some((0, frame)),
        }
    }
}

fn leak(board: &mut Board, ring: &str, relayed: &Relayed) {
    for one in relayed.bundles.iter().flat_map(|bundle| &bundle.opened) {
        if let Output::Inline(output) = &one.output {
            let (status, fuel) = (one.leaf.status, one.leaf.fuel);
            board.leak(ring, &one.leaf.task, &Claim { status, output: output.to_vec(), fuel });
        }
    }
}

fn forge(mut relayed: Relayed) -> Relayed {
    for one in relayed.bundles.iter_mut().flat_map(|bundle| &mut bundle.opened) {
        one.output = Output::Inline(ByteBuf::from(b"forged".to_vec()));
    }
    relayed
}

/// Another input than was given, with the id and the hop made out to it.
fn alter(key: &Keypair, to: &PeerId, mut lease: Lease) -> Lease {
    lease.tasks.truncate(1);
    for task in &mut lease.tasks {
        task.input = Input::Inline(ByteBuf::from(b"other".to_vec()));
        task.task = lease.program.task_id(&task.input.hash());
    }
    let parent = lease.path.len().checked_sub(2).map(|at| lease.path[at].lease);
    let ids = lease.tasks.iter().map(|one| one.task);
    let hop = lease.errand().hand(key, parent, lease.lease, to, ids);
    lease.path.pop();
    lease.path.push(hop);
    lease
}
