//! Published tables and figures, computed again.

mod adaptive;
mod bayanihan_faults;
mod bayanihan_speedup;
mod bayanihan_volunteer_server;
mod cpu_torrent;
mod credibility;
mod planet;
mod spot_check;
mod voting;

use crate::{report::Answer, study::Study};

/// A paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// First-m voting.
    Voting,
    /// Spot-checks with blacklist and backtracking.
    SpotCheck,
    /// Acceptance by credibility.
    Credibility,
    /// Policies that check by record.
    Adaptive,
    /// Bayanihan's fault-tolerance table.
    BayanihanFaults,
    /// Bayanihan's speedup by depth.
    BayanihanSpeedup,
    /// Bayanihan's server at the end of a slow line.
    BayanihanVolunteerServer,
    /// CPU Torrent's queue.
    CpuTorrent,
    /// Capacity and energy of a planet of peers.
    Planet,
}

impl Name {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::Voting,
        Self::SpotCheck,
        Self::Credibility,
        Self::Adaptive,
        Self::BayanihanFaults,
        Self::BayanihanSpeedup,
        Self::BayanihanVolunteerServer,
        Self::CpuTorrent,
        Self::Planet,
    ];

    /// As on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Voting => "voting",
            Self::SpotCheck => "spot-check",
            Self::Credibility => "credibility",
            Self::Adaptive => "adaptive",
            Self::BayanihanFaults => "bayanihan-faults",
            Self::BayanihanSpeedup => "bayanihan-speedup",
            Self::BayanihanVolunteerServer => "bayanihan-volunteer-server",
            Self::CpuTorrent => "cpu-torrent",
            Self::Planet => "planet",
        }
    }

    /// Runs it.
    pub fn run(self, study: &Study) -> Answer {
        match self {
            Self::Voting => voting::run(study),
            Self::SpotCheck => spot_check::run(study),
            Self::Credibility => credibility::run(study),
            Self::Adaptive => adaptive::run(study),
            Self::BayanihanFaults => bayanihan_faults::run(study),
            Self::BayanihanSpeedup => bayanihan_speedup::run(study),
            Self::BayanihanVolunteerServer => bayanihan_volunteer_server::run(study),
            Self::CpuTorrent => cpu_torrent::run(study),
            Self::Planet => planet::run(study),
        }
    }
}
