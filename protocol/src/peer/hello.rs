//! Getting to know a peer: hello, versions, and what follows from them.

use alloc::{collections::VecDeque, format};

use super::{Neighbour, Peer};
use crate::{
    id::PeerId,
    offer::{Prefix, Proximity},
    relay,
    time::Timestamp,
    wire::{Frame, Hello, Reason, Refuse, VERSION},
    worker,
};

impl Neighbour {
    pub(super) fn new(proximity: Proximity, prefix: Prefix) -> Self {
        Self {
            proximity,
            prefix,
            hello: None,
            window: 0,
            below: 0,
            commits: VecDeque::new(),
            unknown: 0,
            refused: None,
        }
    }
}

impl Peer {
    /// What this peer says first.
    pub(super) fn hello(&self) -> Hello {
        Hello {
            versions: [VERSION].into(),
            agent: self.config.agent.clone(),
            profiles: self.config.lending.profiles.clone(),
            slots: self.config.lending.slots,
            memory: self.config.lending.memory,
            relays: u8::from(self.config.lending.relays),
        }
    }

    /// A peer is its own neighbour: its slots get its jobs by the same rules as anybody's.
    pub(super) fn meet_oneself(&mut self, now: Timestamp) {
        let mut oneself = Neighbour::new(Proximity::Own, Prefix::default());
        oneself.hello = Some(self.hello());
        self.neighbours.insert(self.me, oneself);
        let up = worker::Input::Up { peer: self.me, proximity: Proximity::Own };
        self.worker(now, up);
        let slots = self.config.lending.slots;
        self.relay(now, relay::Input::Up { peer: self.me, slots });
    }

    pub(super) fn greet(&mut self, now: Timestamp, peer: PeerId, hello: Hello) {
        if !hello.versions.contains(&VERSION) {
            let text = format!("this peer speaks version {VERSION}");
            let refuse = Refuse { job: None, reason: Reason::Version, text };
            self.send(peer, Frame::Refuse(refuse));
            return self.close(now, peer, "no common version of the work protocol");
        }
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        let slots = hello.slots;
        neighbour.hello = Some(hello);
        let proximity = neighbour.proximity;
        self.relay(now, relay::Input::Up { peer, slots });
        self.worker(now, worker::Input::Up { peer, proximity });
        for job in self.job_ids() {
            self.join(now, job, peer);
        }
        self.delegate_met(now, peer);
    }
}
