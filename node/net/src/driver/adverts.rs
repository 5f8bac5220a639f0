//! Gossiped adverts: publishing this peer's, judging and passing on those of others.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use bayan_protocol::id::PeerId;
use libp2p::gossipsub::{self, MessageAcceptance, PublishError};

use super::Driver;
use crate::{Event, behaviour::advert_topic, budget::Budget, handle::MAX_ADVERT, names};

/// Adverts passed on per author: a few at once, then one in a while. Peers advertise every minute
/// or two, and after a change no sooner than ten seconds after the last.
const BURST: u32 = 6;
const EVERY: Duration = Duration::from_secs(5);
/// Authors whose allowances are remembered.
const MAX_AUTHORS: usize = 4096;

/// The state of gossip.
#[derive(Default)]
pub(super) struct Adverts {
    /// The latest advert that found nobody to send it to.
    unsent: Option<Vec<u8>>,
    /// The latest advert whose time has not come yet.
    held: Option<Vec<u8>>,
    published: Option<Instant>,
    authors: HashMap<PeerId, Budget>,
}

impl Adverts {
    /// Whether another advert of this author may be passed on now.
    fn allows(&mut self, author: PeerId, now: Instant) -> bool {
        if self.authors.len() >= MAX_AUTHORS && !self.authors.contains_key(&author) {
            self.authors.retain(|_, budget| !budget.is_full(now));
            if self.authors.len() >= MAX_AUTHORS {
                return false;
            }
        }
        self.authors.entry(author).or_insert_with(|| Budget::new(BURST, EVERY, now)).take(now)
    }
}

impl Driver {
    /// Publishes an advert as soon as the profile in force allows it.
    pub(super) fn advertise(&mut self, bytes: Vec<u8>) {
        self.adverts.held = Some(bytes);
        self.publish_due(Instant::now());
    }

    pub(super) fn publish_due(&mut self, now: Instant) {
        let every = self.links.whole().plan().advert_every;
        let due = self.adverts.published.is_none_or(|last| now >= last + every);
        if due && let Some(bytes) = self.adverts.held.take() {
            self.adverts.published = Some(now);
            self.publish(bytes);
        }
    }

    fn publish(&mut self, bytes: Vec<u8>) {
        match self.swarm.behaviour_mut().gossip.publish(advert_topic(), bytes.clone()) {
            Ok(_) => self.adverts.unsent = None,
            Err(PublishError::NoPeersSubscribedToTopic | PublishError::AllQueuesFull(_)) => {
                self.adverts.unsent = Some(bytes);
            }
            Err(error) => tracing::debug!(%error, "advert not published"),
        }
    }

    pub(super) fn on_gossip(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message { propagation_source, message_id, message } => {
                let author = message.source.and_then(|source| names::from_libp2p(&source));
                let verdict = match author {
                    Some(_) if message.data.len() > MAX_ADVERT => MessageAcceptance::Reject,
                    Some(author) if self.adverts.allows(author, Instant::now()) => {
                        MessageAcceptance::Accept
                    }
                    Some(_) => MessageAcceptance::Ignore,
                    None => MessageAcceptance::Reject,
                };
                let accepted = matches!(verdict, MessageAcceptance::Accept);
                let gossip = &mut self.swarm.behaviour_mut().gossip;
                gossip.report_message_validation_result(&message_id, &propagation_source, verdict);
                if let (Some(from), true) = (author, accepted) {
                    self.tell(Event::Advert { from, bytes: message.data });
                }
            }
            gossipsub::Event::Subscribed { .. } => {
                if let Some(unsent) = self.adverts.unsent.take() {
                    self.publish(unsent);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_author_has_an_allowance_and_their_number_is_bounded() {
        let (mut adverts, now) = (Adverts::default(), Instant::now());
        let author = |index: u32| {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&index.to_be_bytes());
            PeerId(id)
        };
        assert!((0..BURST).all(|_| adverts.allows(author(0), now)));
        assert!(!adverts.allows(author(0), now));
        assert!((1..MAX_AUTHORS as u32).all(|index| adverts.allows(author(index), now)));
        assert!(!adverts.allows(author(u32::MAX), now), "no room for another author");
        assert!(
            adverts.allows(author(u32::MAX), now + EVERY),
            "those who kept quiet were forgotten"
        );
        assert!(adverts.authors.len() < MAX_AUTHORS);
    }
}
