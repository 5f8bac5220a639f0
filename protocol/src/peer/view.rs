//! The peer and its neighbourhood as people and programs see them.

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use super::Peer;
use crate::{
    delegate::KeptView,
    hops::HopRecord,
    id::PeerId,
    offer::{Accept, Proximity},
    task::PROFILE_V1,
    wire::Advert,
    worker::Load,
};

/// A connected peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighbourView {
    /// Who.
    pub peer: PeerId,
    /// Its program and version; none before its hello.
    pub agent: Option<String>,
    /// Tasks it computes at once.
    pub slots: u32,
    /// Whether it is on the same network.
    pub near: bool,
    /// Tasks it is willing to hold of ours.
    pub credit: u32,
    /// Why it does not work for us, in words.
    pub refused: Option<String>,
    /// Its engine profiles, if none is ours.
    pub foreign_profiles: Vec<String>,
}

/// The peer's standing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerView {
    /// This peer.
    pub peer: PeerId,
    /// Slots computed on.
    pub slots: u32,
    /// Of these, free.
    pub free: u32,
    /// Fuel units a second and slot.
    pub speed: u64,
    /// Tasks held and not begun.
    pub queued: u64,
    /// Whether the operator paused it.
    pub paused: bool,
    /// Attempts ended since the start.
    pub executed: u64,
    /// Microseconds that slots held a task since the start, all slots together.
    pub busy_micros: u64,
    /// Whose work it takes.
    pub accept: Accept,
    /// Who is connected.
    pub neighbours: Vec<NeighbourView>,
    /// Who was heard of lately, connected or not.
    pub adverts: Vec<Advert>,
    /// How well others pass on what they are given to, of late.
    pub hops: Vec<PassedView>,
    /// Jobs that are kept for others, as their delegate.
    pub kept: Vec<KeptView>,
}

/// How well another peer passes on what it is given to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedView {
    /// Who.
    pub peer: PeerId,
    /// Batches that it brought to their submitter.
    pub delivered: u64,
    /// Batches that had to be brought round it.
    pub dropped: u64,
}

impl PassedView {
    fn of((peer, record): (&PeerId, &HopRecord)) -> Self {
        let (delivered, dropped) = record.counts();
        Self { peer: *peer, delivered, dropped }
    }
}

impl Peer {
    /// The peer's standing now.
    pub fn view(&self) -> PeerView {
        let Load { slots, free, speed, queued, paused, executed, busy_micros } = self.worker.load();
        let neighbours = self.neighbours.iter().filter(|(peer, _)| **peer != self.me).map(
            |(peer, neighbour)| {
                let hello = neighbour.hello.as_ref();
                let foreign =
                    hello.filter(|hello| !hello.profiles.iter().any(|name| name == PROFILE_V1));
                NeighbourView {
                    peer: *peer,
                    agent: hello.map(|hello| hello.agent.clone()),
                    slots: hello.map_or(0, |hello| hello.slots),
                    near: neighbour.proximity <= Proximity::Lan,
                    credit: neighbour.window,
                    refused: neighbour.refused.map(|reason| alloc::format!("{reason}")),
                    foreign_profiles: foreign
                        .map(|hello| hello.profiles.clone())
                        .unwrap_or_default(),
                }
            },
        );
        PeerView {
            peer: self.me,
            slots,
            free,
            speed,
            queued,
            paused,
            executed,
            busy_micros,
            accept: self.config.lending.accept,
            neighbours: neighbours.collect(),
            adverts: self.overlay.adverts().map(|(_, advert)| advert.clone()).collect(),
            hops: self.hops.iter().map(PassedView::of).collect(),
            kept: self.keeper.view(),
        }
    }
}
