//! Measuring the links and carrying out what follows: which profile is in force is decided by
//! [`bayan_protocol::link`], what it means to libp2p is said here.

use std::{
    sync::PoisonError,
    time::{Duration, Instant},
};

use bayan_protocol::{
    id::PeerId,
    link::{Effect, Input, Profile, Sample},
};
use libp2p::kad;

use super::Driver;
use crate::{Event, PeerInfo, Traffic, behaviour, meter::Meter, names};

/// Between two looks at what the neighbours have taken.
pub(super) const LOOK: Duration = Duration::from_millis(500);
/// What was measured is told this often.
const TOLD: Duration = Duration::from_secs(10);
/// The application's score of a neighbour over a slow link, in gossip: times its weight it lies
/// between the thresholds of publishing and of ignoring. So the neighbour is in no mesh, is told of no
/// message and sent none, and is still listened to.
const SILENT: f64 = -6.0;
/// The same while this peer itself is in no mesh: now between the thresholds of gossip and of
/// publishing, so that its own adverts still have somebody to go to.
const QUIET: f64 = -2.0;

/// What was there at the last look at a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    at: Instant,
    taken: u64,
    waiting: u64,
}

/// What the neighbour took since the last look.
fn look(meter: &Meter, seen: &mut Option<Seen>, now: Instant) -> Option<Sample> {
    // In this order: bytes written in between count as waiting in neither.
    let sent = meter.sent();
    let waiting = meter.waiting()?.min(sent);
    let this = Seen { at: now, taken: sent - waiting, waiting };
    let last = seen.replace(this)?;
    Some(Sample {
        bytes: this.taken.saturating_sub(last.taken),
        over: now.saturating_duration_since(last.at),
        waiting: last.waiting.min(waiting),
    })
}

impl Driver {
    /// Tells the machine what went over the links since the last look.
    pub(super) fn measure(&mut self, now: Instant) {
        if now < self.next_look {
            return;
        }
        self.next_look = now + LOOK;
        let mut samples = Vec::new();
        for (id, peer) in &mut self.peers {
            for connection in &mut peer.connections {
                if let Some(meter) = &connection.meter
                    && let Some(sample) = look(meter, &mut connection.seen, now)
                {
                    samples.push(Input::Sent(*id, sample));
                }
            }
        }
        for sample in samples {
            self.link(sample);
        }
        if now >= self.next_told {
            self.next_told = now + TOLD;
            for info in self.peer_infos() {
                let Some(rtt) = info.rtt.filter(|_| info.up) else { continue };
                self.tell(Event::Link { peer: info.id, rtt, rate: info.rate });
            }
        }
    }

    /// Passes something on to the machine and carries out what it says.
    pub(super) fn link(&mut self, input: Input) {
        for effect in self.links.step(input) {
            match effect {
                Effect::Towards(peer, profile) => self.adapt_towards(peer, profile),
                Effect::Whole(profile) => self.adapt(profile),
                Effect::Probe(peer) => self.probe_rate(peer),
            }
        }
    }

    fn adapt_towards(&mut self, peer: PeerId, profile: Profile) {
        let rate = self.links.link(&peer).rate.map(|rate| rate.to_string());
        tracing::info!(peer = %peer.short(), ?profile, rate, "the link to a peer has another profile");
        let id = names::to_libp2p(&peer);
        let addresses = self.book.addresses(&peer).to_vec();
        let quiet = self.quiet();
        let behaviour = self.swarm.behaviour_mut();
        match profile {
            Profile::Slow => {
                behaviour.gossip.set_application_score(&id, quiet);
                // It is neither asked for peers nor told of to others.
                behaviour.kad.remove_peer(&id);
                self.close_spares(peer);
            }
            Profile::Full => {
                behaviour.gossip.set_application_score(&id, 0.0);
                if self.peers.get(&peer).is_some_and(|known| known.speaks_kad) {
                    for address in addresses {
                        behaviour.kad.add_address(&id, address);
                    }
                }
            }
        }
    }

    /// Carries out the profile of the peer as a whole.
    pub(super) fn adapt(&mut self, profile: Profile) {
        tracing::info!(?profile, "another profile is in force");
        self.shared.line.write().unwrap_or_else(PoisonError::into_inner).1 = profile;
        let plan = profile.plan();
        let behaviour = self.swarm.behaviour_mut();
        let mode = if plan.serves_discovery { kad::Mode::Server } else { kad::Mode::Client };
        behaviour.kad.set_mode(Some(mode));
        let topic = behaviour::adverts();
        if !plan.passes_adverts_on {
            behaviour.gossip.unsubscribe(&topic);
        } else if let Err(error) = behaviour.gossip.subscribe(&topic) {
            tracing::warn!(%error, "adverts are not heard");
        }
        let quiet = self.quiet();
        let slow: Vec<PeerId> =
            self.peers.keys().filter(|peer| self.is_slow(peer)).copied().collect();
        for peer in slow {
            let id = names::to_libp2p(&peer);
            self.swarm.behaviour_mut().gossip.set_application_score(&id, quiet);
        }
    }

    fn quiet(&self) -> f64 {
        if self.links.whole().plan().passes_adverts_on { SILENT } else { QUIET }
    }

    /// Whether the link to a peer is a slow one.
    pub(super) fn is_slow(&self, peer: &PeerId) -> bool {
        self.links.link(peer).profile == Profile::Slow
    }

    /// What is known of all peers.
    pub(super) fn peer_infos(&self) -> Vec<PeerInfo> {
        let info = |(id, peer): (&PeerId, &super::Peer)| {
            let mut info = peer.info(*id, self.shared.outboxes.contains(id))?;
            let link = self.links.link(id);
            (info.rate, info.profile) = (link.rate, link.profile);
            info.traffic = peer.traffic(&self.shared.ledger.of(id));
            Some(info)
        };
        self.peers.iter().filter_map(info).collect()
    }
}

impl super::Peer {
    /// What went over its open connections; no totals while one of them is not metered.
    fn traffic(&self, purposes: &crate::meter::Purposes) -> Traffic {
        use std::sync::atomic::Ordering::Relaxed;

        let metered: Option<Vec<&Meter>> =
            self.connections.iter().map(|connection| connection.meter.as_deref()).collect();
        let sum = |count: fn(&Meter) -> u64| {
            Some(metered.as_ref()?.iter().map(|meter| count(meter)).sum::<u64>())
        };
        Traffic {
            sent: sum(Meter::sent),
            received: sum(Meter::received),
            work_sent: purposes.work_sent.load(Relaxed),
            work_received: purposes.work_received.load(Relaxed),
            blobs_sent: purposes.blobs_sent.load(Relaxed),
            blobs_received: purposes.blobs_received.load(Relaxed),
        }
    }
}
