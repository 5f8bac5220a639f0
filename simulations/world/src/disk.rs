//! Records as a node's store keeps them (`specs/decisions/0002-storage.md`).
//!
//! A step's records are one entry of a journal: after a crash it is there whole or not at all, so a write
//! that was half done leaves nothing. A killed process loses nothing that was written; a machine that
//! loses power also loses what was written within the last second and not forced to the disk.

use std::collections::{BTreeMap, VecDeque};

use bayan_protocol::{
    record::{Change, Key, Record},
    time::Timestamp,
};

use crate::SECOND;

/// Records are forced to the disk within this time.
pub const FORCED_AFTER: u64 = SECOND;

/// What stood under a key before a change of it.
type Before = (Vec<u8>, Option<Record>);

/// One host's records.
#[derive(Debug, Default)]
pub struct Disk {
    live: BTreeMap<Vec<u8>, Record>,
    /// What undoes each entry that is not forced, oldest first.
    tail: VecDeque<(Timestamp, Vec<Before>)>,
}

impl Disk {
    /// Writes one entry.
    pub(crate) fn write(&mut self, now: Timestamp, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        let undo = changes.into_iter().map(|change| self.change(change)).collect();
        self.tail.push_back((now, undo));
        while self.tail.front().is_some_and(|(at, _)| at.0 + FORCED_AFTER <= now.0) {
            self.tail.pop_front();
        }
    }

    fn change(&mut self, change: Change) -> Before {
        match change {
            Change::Put(record) => {
                let key = record.key().0;
                // A machine gets back what can be read, not what it wrote.
                let read = Record::decode(&record.encode()).expect("what is stored can be read");
                let before = self.live.insert(key.clone(), read);
                (key, before)
            }
            Change::Delete(key) => {
                let before = self.live.remove(&key.0);
                (key.0, before)
            }
        }
    }

    /// The power goes: entries that are not forced are lost, from the end up to some `kept`-th of them.
    /// Says how many were there and how many are lost.
    pub(crate) fn lose_tail(&mut self, now: Timestamp, kept: impl FnOnce(u64) -> u64) -> u64 {
        while self.tail.front().is_some_and(|(at, _)| at.0 + FORCED_AFTER <= now.0) {
            self.tail.pop_front();
        }
        let count = self.tail.len() as u64;
        let kept = kept(count).min(count);
        for _ in kept..count {
            let Some((_, undo)) = self.tail.pop_back() else { break };
            for (key, before) in undo.into_iter().rev() {
                match before {
                    Some(record) => self.live.insert(key, record),
                    None => self.live.remove(&key),
                };
            }
        }
        self.tail.clear();
        count - kept
    }

    /// What a host finds when it starts.
    pub(crate) fn read(&self) -> Vec<Record> {
        self.live.values().cloned().collect()
    }

    /// What is there.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.live.values()
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Record> {
        self.live.get(&key.0)
    }

    pub(crate) fn wipe(&mut self) {
        self.live.clear();
        self.tail.clear();
    }
}

#[cfg(test)]
mod tests {
    use bayan_protocol::id::PeerId;

    use super::*;

    fn put(peer: u8, until: u64) -> Change {
        Change::Put(Record::Poisoner { peer: PeerId([peer; 32]), until: Timestamp(until) })
    }

    fn untils(disk: &Disk) -> Vec<u64> {
        let until = |record: &Record| match record {
            Record::Poisoner { until, .. } => until.0,
            _ => 0,
        };
        disk.records().map(until).collect()
    }

    #[test]
    fn power_takes_whole_entries_from_the_end_and_nothing_that_was_forced() {
        let mut disk = Disk::default();
        disk.write(Timestamp(0), vec![put(1, 10), put(2, 20)]);
        disk.write(Timestamp(FORCED_AFTER), vec![put(1, 11)]);
        disk.write(Timestamp(FORCED_AFTER + 1), vec![put(1, 12), put(3, 30)]);
        disk.write(
            Timestamp(FORCED_AFTER + 2),
            vec![Change::Delete(bayan_protocol::record::Key::poisoner(&PeerId([2; 32])))],
        );
        assert_eq!(untils(&disk), [12, 30]);
        assert_eq!(disk.lose_tail(Timestamp(FORCED_AFTER + 3), |count| count - 2), 2);
        assert_eq!(untils(&disk), [11, 20]);
        assert_eq!(
            disk.lose_tail(Timestamp(FORCED_AFTER + 3), |_| 0),
            0,
            "a disk is read after it"
        );
    }
}
