//! What a delegate of the cast does with its word. Pure: a frame goes in, and what is said in its place
//! comes out.

use std::fmt;

use bayan_protocol::{
    crypto::Keypair,
    delegate::Terms,
    id::{Hash, PeerId},
    result::Output,
    wire::{Frame, Reason, Vouch},
};
use serde_bytes::ByteBuf;

/// How a delegate tells what it has of others' jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// As it is.
    Honest,
    /// It vouches for outputs that it has made up.
    Lies,
    /// It vouches for outputs that it then does not give.
    Promises,
    /// It vouches for outputs under a signature of others.
    Forges,
    /// It keeps jobs and never vouches for anything.
    Silent,
    /// It does not even say that it keeps them.
    Mute,
    /// It says that it keeps nothing, and vouches all the same.
    Denies,
    /// It has heard of more than there is, and there is always more to come.
    Boasts,
    /// It says everything twice.
    Repeats,
}

impl Word {
    /// All that are not honest.
    pub const BAD: [Self; 8] = [
        Self::Lies,
        Self::Promises,
        Self::Forges,
        Self::Silent,
        Self::Mute,
        Self::Denies,
        Self::Boasts,
        Self::Repeats,
    ];

    /// What is said to `to` in place of a frame.
    pub fn give(self, key: &Keypair, to: &PeerId, frame: Frame) -> Vec<Frame> {
        let made_up = |_: &Output| Output::Inline(ByteBuf::from(b"a lie".to_vec()));
        let nowhere = |one: &Output| {
            let hash = Hash::of(one.hash().as_bytes());
            Output::Blob { hash, len: one.len().max(1) }
        };
        match (self, frame) {
            (Self::Lies, Frame::Vouch(vouch)) => vec![signed(key, to, replaced(vouch, made_up))],
            (Self::Promises, Frame::Vouch(vouch)) => {
                vec![signed(key, to, replaced(vouch, nowhere))]
            }
            (Self::Forges, Frame::Vouch(vouch)) => vec![Frame::Vouch(replaced(vouch, made_up))],
            (Self::Silent | Self::Mute, Frame::Vouch(_)) | (Self::Mute, Frame::Entrusted(_)) => {
                Vec::new()
            }
            (Self::Denies, Frame::Entrusted(mut said)) => {
                said.reason = Some(Reason::NotAccepted);
                vec![Frame::Entrusted(said)]
            }
            (Self::Boasts, Frame::Entrusted(mut said)) => {
                (said.upto, said.left) = (u64::MAX, u64::MAX);
                vec![Frame::Entrusted(said)]
            }
            (Self::Boasts, Frame::Vouch(mut vouch)) => {
                vouch.left = u64::MAX;
                vec![Frame::Vouch(vouch)]
            }
            (Self::Repeats, frame @ (Frame::Vouch(_) | Frame::Entrusted(_))) => {
                vec![frame.clone(), frame]
            }
            (_, frame) => vec![frame],
        }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Honest => "honest",
            Self::Lies => "lies",
            Self::Promises => "promises",
            Self::Forges => "forges",
            Self::Silent => "silent",
            Self::Mute => "mute",
            Self::Denies => "denies",
            Self::Boasts => "boasts",
            Self::Repeats => "repeats",
        })
    }
}

fn replaced(mut vouch: Vouch, by: impl Fn(&Output) -> Output) -> Vouch {
    for one in &mut vouch.results {
        one.output = by(&one.output);
    }
    vouch
}

/// The statement anew, signed by the delegate to its submitter.
fn signed(key: &Keypair, submitter: &PeerId, mut vouch: Vouch) -> Frame {
    let terms = Terms { job: vouch.job, submitter: *submitter, delegate: key.peer_id() };
    if let Some(signature) = terms.sign(key, &vouch.results) {
        vouch.signature = signature;
    }
    Frame::Vouch(vouch)
}
