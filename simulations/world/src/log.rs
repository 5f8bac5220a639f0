//! Every event as one line of text: `NUMBER +SECONDS what`. The same seed gives the same lines, to the byte.
//!
//! Peers are written as numbers (`h3`), and frames with a digest of everything in them but signatures.
//! Records are written with a digest of their keys. Whoever reads along can stop the world at a line.

use std::{collections::BTreeMap, fmt};

use bayan_protocol::{
    crypto::Signature,
    id::{Hash, PeerId},
    peer::Input,
    record::{Change, Record},
    result::Ended,
    time::Timestamp,
    wire::{Bundle, Frame},
};

use crate::world::{BEGINNING, Number, World};

/// Whoever reads along: is given each line, and says whether to go on.
pub type Reader = Box<dyn FnMut(&Line<'_>) -> bool>;

/// One line.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// Its number, from 1.
    pub number: u64,
    /// Microseconds since the world began.
    pub micros: u64,
    /// What happened.
    pub text: &'a str,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.micros / 1_000_000, self.micros % 1_000_000);
        write!(f, "{:>7} +{seconds}.{micros:06} {}", self.number, self.text)
    }
}

/// The log. Nothing is written, and nothing costs time, until somebody reads.
#[derive(Default)]
pub struct Log {
    reader: Option<Reader>,
    lines: u64,
    halted: bool,
}

impl Log {
    /// Has every line from now on read.
    pub fn read_by(&mut self, reader: impl FnMut(&Line<'_>) -> bool + 'static) {
        self.reader = Some(Box::new(reader));
    }

    /// Has nobody read, or somebody.
    pub(crate) fn reader(&mut self, reader: Option<Reader>) {
        self.reader = reader;
    }

    /// Whether somebody reads.
    pub fn is_on(&self) -> bool {
        self.reader.is_some()
    }

    /// Whether the reader has seen enough: nothing happens any more.
    pub fn is_halted(&self) -> bool {
        self.halted
    }

    pub(crate) fn note(&mut self, now: Timestamp, what: fmt::Arguments<'_>) {
        let Some(reader) = self.reader.as_mut().filter(|_| !self.halted) else { return };
        self.lines += 1;
        let text = what.to_string();
        let line =
            Line { number: self.lines, micros: now.0.saturating_sub(BEGINNING.0), text: &text };
        self.halted = !reader(&line);
    }
}

impl World {
    fn name(&self, peer: &PeerId) -> String {
        self.number(peer).map_or_else(|| peer.short(), |number| format!("h{number}"))
    }

    pub(crate) fn note_input(&mut self, at: Number, input: &Input) {
        if !self.log.is_on() {
            return;
        }
        let text = match input {
            Input::Up { peer, .. } => format!("meets {}", self.name(peer)),
            Input::Down { peer } => format!("loses {}", self.name(peer)),
            Input::Frame { peer, frame: Ok(frame) } => {
                format!("hears {} {}", self.name(peer), frame_text(frame))
            }
            Input::Frame { peer, frame: Err(error) } => {
                format!("hears {} {error}", self.name(peer))
            }
            Input::Advert(bytes) => format!("hears an advert of {} bytes", bytes.len()),
            Input::Submit { manifest_hash, .. } => format!("is given {}", manifest_hash.short()),
            Input::Cancel(job) => format!("cancels {}", job.short()),
            Input::Forget(job) => format!("forgets {}", job.short()),
            Input::Blob { hash, here: true } => format!("has {}", hash.short()),
            Input::Blob { hash, here: false } => format!("lacks {}", hash.short()),
            Input::Content { hash, bytes } => {
                format!("reads {} {}", hash.short(), bytes.as_ref().map_or(0, Vec::len))
            }
            Input::Recalled { job, records } => {
                format!("recalls {} of {}", records.len(), job.short())
            }
            Input::Executed(Ended { attempt, status, output, .. }) => {
                format!("executed {attempt} {status:?} {}", output.hash().short())
            }
            Input::Trust { peer, trusted } => format!("trusts {} {trusted}", self.name(peer)),
            Input::Link { peer, micros, rate } => {
                format!("measures {} {micros} {rate}", self.name(peer))
            }
            Input::Pause => "pauses".to_owned(),
            Input::Resume => "resumes".to_owned(),
            Input::Tick => "ticks".to_owned(),
        };
        self.log.note(self.queue.now, format_args!("h{at} {text}"));
    }

    pub(crate) fn note_records(&mut self, at: Number, changes: &[Change]) {
        if !self.log.is_on() || changes.is_empty() {
            return;
        }
        let (mut counts, mut keys) = (BTreeMap::<&str, u32>::new(), Vec::new());
        for change in changes {
            let (name, key) = match change {
                Change::Put(record) => (name_of(record), record.key()),
                Change::Delete(key) => ("nothing", key.clone()),
            };
            *counts.entry(name).or_default() += 1;
            keys.extend(key.0);
        }
        let counts: Vec<String> =
            counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
        let digest = Hash::of(&keys).short();
        self.log.note(self.queue.now, format_args!("h{at} stores {} {digest}", counts.join(", ")));
    }

    pub(crate) fn note_close(&mut self, at: Number, peer: &PeerId, why: &str) {
        if self.log.is_on() {
            let name = self.name(peer);
            self.log.note(self.queue.now, format_args!("h{at} closes {name}: {why}"));
        }
    }
}

/// What a record is called in a line.
pub(crate) fn name_of(record: &Record) -> &'static str {
    match record {
        Record::Job { .. } => "job",
        Record::Leased { .. } => "leased",
        Record::Vote { .. } => "vote",
        Record::Decided { .. } => "decided",
        Record::Standing { .. } => "standing",
        Record::Caught { .. } => "caught",
        Record::Quarantine { .. } => "quarantine",
        Record::Poisoner { .. } => "poisoner",
        Record::Heard { .. } => "heard",
        Record::Held { .. } => "held",
        Record::Batch { .. } => "batch",
        Record::Handed { .. } => "handed",
        Record::Parcel { .. } => "parcel",
        Record::Hops { .. } => "hops",
        Record::Handover { .. } => "handover",
        Record::Vouched { .. } => "vouched",
        Record::Entrusted { .. } => "entrusted",
        Record::SettledThere { .. } => "settled",
    }
}

/// A frame in a line, with a digest of what it says.
fn frame_text(frame: &Frame) -> String {
    format!("{frame} {}", Hash::of(&unsigned(frame).encode()).short())
}

const NONE: Signature = Signature([0; 64]);

/// A frame without its signatures.
fn unsigned(frame: &Frame) -> Frame {
    let mut frame = frame.clone();
    let bare = |bundle: &mut Bundle| bundle.commit.signature = NONE;
    match &mut frame {
        Frame::Lease(lease) => lease.path.iter_mut().for_each(|hop| hop.signature = NONE),
        Frame::Commit(commit) => commit.signature = NONE,
        Frame::Ack(ack) => ack.signature = NONE,
        Frame::Vouch(vouch) => vouch.signature = NONE,
        Frame::Relayed(relayed) => {
            relayed.bundles.iter_mut().for_each(bare);
            let hops = relayed.trails.iter_mut().flat_map(|trail| &mut trail.hops);
            hops.for_each(|hop| hop.signature = NONE);
        }
        _ => {}
    }
    frame
}
