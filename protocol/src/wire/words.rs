//! Frames in a line each, for logs.

use core::fmt;

use super::Frame;

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello(hello) => write!(f, "hello {} slots", hello.slots),
            Self::Offer(offer) => write!(f, "offer {} over {}", offer.job.short(), offer.hops),
            Self::Ask => f.write_str("ask"),
            Self::Credit(credit) => write!(f, "credit {} below {}", credit.tasks, credit.below),
            Self::Lease(lease) => write!(
                f,
                "lease {} of {} over {}, job {}",
                lease.lease.short(),
                lease.tasks.len(),
                lease.path.len(),
                lease.job.short()
            ),
            Self::Refuse(refuse) => {
                write!(f, "refuse {}", refuse.reason)?;
                refuse.job.map_or(Ok(()), |job| write!(f, ", job {}", job.short()))
            }
            Self::Renew(renew) => write!(f, "renew {}", renew.leases.len()),
            Self::Commit(commit) => {
                write!(f, "commit {} of {}", commit.root.short(), commit.count)
            }
            Self::Reveal(reveal) => write!(f, "reveal {}", reveal.root.short()),
            Self::Ack(ack) => write!(f, "ack up to {}", ack.highest),
            Self::Cancel(cancel) => {
                write!(f, "cancel {}, job {}", cancel.tasks.len(), cancel.job.short())
            }
            Self::Relayed(relayed) => write!(f, "relayed {}", relayed.bundles.len()),
            Self::Route(route) => {
                let away = route
                    .away_ms
                    .map_or_else(|| "there".into(), |ms| alloc::format!("away {ms} ms"));
                write!(f, "route {away}, job {}", route.job.short())
            }
            Self::Exclude(exclude) => {
                write!(f, "exclude {}, job {}", exclude.workers.len(), exclude.job.short())
            }
            Self::Entrust(entrust) => write!(f, "entrust job {}", entrust.job.short()),
            Self::Entrusted(one) => {
                write!(f, "entrusted up to {}, {} left, ", one.upto, one.left)?;
                one.reason.map_or(Ok(()), |reason| write!(f, "not kept: {reason}, "))?;
                write!(f, "job {}", one.job.short())
            }
            Self::Settled(settled) => {
                write!(f, "settled {} up to {}, ", settled.tasks.len(), settled.upto)?;
                write!(f, "job {}", settled.job.short())
            }
            Self::Vouch(vouch) => {
                write!(f, "vouch {}, {} left, ", vouch.results.len(), vouch.left)?;
                write!(f, "job {}", vouch.job.short())
            }
        }
    }
}

impl Frame {
    /// The kinds of version 1, as they stand on the wire (spec WIRE-5).
    pub const KINDS: [&str; 18] = [
        "hello",
        "offer",
        "ask",
        "credit",
        "lease",
        "refuse",
        "renew",
        "commit",
        "reveal",
        "ack",
        "cancel",
        "relayed",
        "route",
        "exclude",
        "entrust",
        "entrusted",
        "settled",
        "vouch",
    ];

    /// Its kind, as on the wire (spec WIRE-9).
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Offer(_) => "offer",
            Self::Ask => "ask",
            Self::Credit(_) => "credit",
            Self::Lease(_) => "lease",
            Self::Refuse(_) => "refuse",
            Self::Renew(_) => "renew",
            Self::Commit(_) => "commit",
            Self::Reveal(_) => "reveal",
            Self::Ack(_) => "ack",
            Self::Cancel(_) => "cancel",
            Self::Relayed(_) => "relayed",
            Self::Route(_) => "route",
            Self::Exclude(_) => "exclude",
            Self::Entrust(_) => "entrust",
            Self::Entrusted(_) => "entrusted",
            Self::Settled(_) => "settled",
            Self::Vouch(_) => "vouch",
        }
    }
}
