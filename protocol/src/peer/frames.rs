//! Frames: to the machine that they concern, with what they sign checked first, and out again. A frame that a
//! peer sends to itself (its own slots working for its own jobs) takes the same road as any other, only without
//! a wire.

use alloc::{string::String, vec::Vec};

use super::{Effect, Peer};
use crate::{
    delegate,
    id::PeerId,
    limits::MAX_TEXT,
    relay,
    result::{Reveal, VerifiedBatch},
    source,
    time::Timestamp,
    wire::{Frame, Reason, Refuse, WireError},
    worker,
};

/// Frames of unknown kinds that are tolerated on one stream.
pub(super) const MAX_UNKNOWN: u32 = 100;
/// Commits that may wait for their reveal on one stream.
pub(super) const MAX_COMMITS: usize = 16;

impl Peer {
    pub(super) fn frame(&mut self, now: Timestamp, peer: PeerId, frame: Result<Frame, WireError>) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        let frame = match frame {
            Ok(frame) => frame,
            Err(WireError::UnknownKind) if neighbour.unknown < MAX_UNKNOWN => {
                neighbour.unknown += 1;
                let refuse =
                    Refuse { job: None, reason: Reason::UnknownFrame, text: String::new() };
                return self.out.effects.push(Effect::Send(peer, Frame::Refuse(refuse)));
            }
            Err(error) => return self.violation(now, peer, &alloc::format!("{error}")),
        };
        match (neighbour.hello.is_some(), frame) {
            (false, Frame::Hello(hello)) => self.greet(now, peer, hello),
            (false, Frame::Refuse(refuse)) => neighbour.refused = Some(refuse.reason),
            (false, _) => self.violation(now, peer, "the first frame must be a hello"),
            (true, Frame::Hello(_)) => self.violation(now, peer, "a second hello"),
            (true, frame) => self.work_frame(now, peer, frame),
        }
    }

    pub(super) fn work_frame(&mut self, now: Timestamp, peer: PeerId, frame: Frame) {
        match frame {
            Frame::Hello(_) => {}
            Frame::Offer(offer) => self.offered(now, peer, offer),
            Frame::Lease(lease) => self.leased(now, peer, lease),
            Frame::Cancel(cancel) => self.cancelled(now, peer, cancel),
            Frame::Ack(ack) => self.acked(now, peer, ack),
            Frame::Relayed(relayed) => self.relayed(now, peer, relayed),
            Frame::Route(route) => {
                self.worker(now, worker::Input::Route { peer, route });
                self.relay(now, relay::Input::Route { peer, route });
            }
            Frame::Entrust(entrust) => self.entrust(now, peer, entrust),
            Frame::Entrusted(said) => self.entrusted(now, peer, &said),
            Frame::Settled(settled) => {
                self.keeper(now, delegate::Input::Settled { peer, settled });
            }
            Frame::Vouch(vouch) => self.vouched(now, peer, vouch),
            Frame::Exclude(exclude) => self.relay(now, relay::Input::Exclude { peer, exclude }),
            Frame::Ask => self.asked(now, peer),
            Frame::Credit(credit) => {
                if let Some(neighbour) = self.neighbours.get_mut(&peer) {
                    (neighbour.window, neighbour.below) = (credit.tasks, credit.below);
                    neighbour.refused = None;
                }
                self.share_credit(now);
            }
            Frame::Refuse(refuse) => self.refused(now, peer, &refuse),
            Frame::Renew(renew) => {
                for job in self.job_ids() {
                    self.source(
                        now,
                        job,
                        source::Input::Renew { worker: peer, leases: renew.leases.clone() },
                    );
                }
                self.relay(now, relay::Input::Renew { peer, leases: renew.leases });
            }
            Frame::Commit(commit) => {
                if let Some(neighbour) = self.neighbours.get_mut(&peer) {
                    if neighbour.commits.len() >= MAX_COMMITS {
                        return self.violation(now, peer, "commits that are never revealed");
                    }
                    neighbour.commits.push_back(commit);
                }
            }
            Frame::Reveal(reveal) => self.revealed(now, peer, reveal),
        }
    }

    pub(super) fn revealed(&mut self, now: Timestamp, peer: PeerId, reveal: Reveal) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        let Some(at) = neighbour.commits.iter().position(|commit| commit.root == reveal.root)
        else {
            return self.violation(now, peer, "a reveal without a commit");
        };
        let Some(commit) = neighbour.commits.remove(at) else { return };
        let job = commit.job;
        let Some(submitter) = self.submitter_of(&job, &reveal.opened) else {
            return self.unknown_job(now, peer, &peer, (commit, reveal));
        };
        match VerifiedBatch::check(commit, reveal, &peer, &submitter) {
            Ok(batch) if submitter != self.me => {
                let trails = Vec::new();
                self.relay(now, relay::Input::Results { from: peer, batch, trails });
            }
            Ok(batch) => {
                self.source(now, job, source::Input::Results { worker: peer, batch });
                self.share_credit(now);
            }
            Err(error) => self.violation(now, peer, &alloc::format!("{error}")),
        }
    }

    pub(super) fn refused(&mut self, now: Timestamp, peer: PeerId, refuse: &Refuse) {
        if let Some(neighbour) = self.neighbours.get_mut(&peer) {
            neighbour.refused = Some(refuse.reason);
        }
        if let Some(job) = refuse.job {
            self.source(now, job, source::Input::Leave { worker: peer });
            self.relay(now, relay::Input::Refused { peer, job });
        }
    }

    pub(super) fn violation(&mut self, now: Timestamp, peer: PeerId, what: &str) {
        let text: String = what.chars().take(MAX_TEXT / 4).collect();
        let refuse = Refuse { job: None, reason: Reason::Protocol, text };
        self.send(peer, Frame::Refuse(refuse));
        self.close(now, peer, what);
    }

    /// Has nothing to do with a peer any more: frames of it that are still under way are ignored.
    pub(super) fn close(&mut self, now: Timestamp, peer: PeerId, why: &str) {
        if peer == self.me {
            return;
        }
        self.out.effects.push(Effect::Close(peer, String::from(why)));
        self.down(now, peer);
    }

    pub(super) fn send(&mut self, peer: PeerId, frame: Frame) {
        if peer == self.me {
            self.loopback.push_back(frame);
        } else if self.neighbours.contains_key(&peer) {
            self.out.effects.push(Effect::Send(peer, frame));
        }
    }

    /// Delivers frames to oneself until none is left; each is caused by progress, so this ends.
    pub(super) fn settle_loopback(&mut self, now: Timestamp) {
        while let Some(frame) = self.loopback.pop_front() {
            self.work_frame(now, self.me, frame);
        }
    }
}
