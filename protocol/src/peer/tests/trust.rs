//! Whom a job reaches, whom its blobs are given to, and what is kept of those who were caught.

use super::*;
use crate::{job::Audience, task};

impl Bench {
    /// Starts the peer again on what it stored.
    fn restart(&mut self) {
        self.peer = Self::peer(self.slots, 9, self.now);
        let records = self.disk.values().cloned().collect();
        let manifests = self.manifests.clone();
        let batch = self.peer.restore(self.now, records, |hash| manifests.get(hash).cloned());
        self.carry_out(batch);
    }

    /// Submits a job for an audience whose module is that of [`manifest`].
    fn submit_for(&mut self, audience: Audience, confidential: bool) -> JobId {
        let salt = self.jobs.len() as u8;
        let mut manifest = manifest(8, Policy::None, Local::Never, salt);
        (manifest.audience, manifest.confidential) = (audience, confidential);
        let manifest_hash = Hash::of(&crate::cbor::encode(&manifest));
        self.manifests.insert(manifest_hash, manifest.clone());
        self.step(Input::Submit { manifest_hash, manifest });
        *self.jobs.last().unwrap()
    }

    fn may_fetch(&self, number: u8, hash: &Hash) -> bool {
        self.peer.may_fetch(self.now, &id(number), hash)
    }

    fn trust(&mut self, number: u8, trusted: bool) {
        self.step(Input::Trust { peer: id(number), trusted });
    }
}

fn module() -> Hash {
    Hash::of(b"module")
}

#[test]
fn a_job_for_named_peers_is_offered_to_no_other() {
    let mut bench = Bench::new(0);
    bench.worker(1, 8);
    bench.worker(2, 8);
    bench.submit_for(Audience::Named(vec![id(1)]), true);
    assert_eq!((bench.offers(1), bench.offers(2)), (1, 0));
    assert_eq!((bench.leases(1).len(), bench.leases(2).len()), (1, 0));
    bench.frame(2, Frame::Ask);
    assert_eq!(bench.offers(2), 0, "asking does not help");
}

#[test]
fn a_job_for_trusted_peers_waits_until_somebody_is_trusted() {
    let mut bench = Bench::new(0);
    bench.worker(1, 8);
    let job = bench.submit_for(Audience::Trusted, false);
    assert_eq!(bench.offers(1), 0);
    let waits = bench.peer.job(&job).unwrap().view().waiting.unwrap();
    assert!(waits.contains("trust list"), "{waits}");
    bench.trust(1, true);
    assert_eq!(bench.leases(1).len(), 1);
    bench.trust(1, false);
    assert!(!bench.peer.job(&job).unwrap().works_with(&id(1)));
    let named = bench.submit_for(Audience::Named(vec![id(9)]), false);
    let waits = bench.peer.job(&named).unwrap().view().waiting.unwrap();
    assert!(waits.contains("that it names"), "{waits}");
}

#[test]
fn blobs_of_a_confidential_job_are_for_those_who_compute_it() {
    let mut bench = Bench::new(0);
    bench.worker(1, 8);
    bench.worker(2, 8);
    assert!(!bench.may_fetch(1, &module()), "what no job needs is given to nobody");
    bench.submit_for(Audience::Named(vec![id(1)]), true);
    assert_eq!((bench.may_fetch(1, &module()), bench.may_fetch(2, &module())), (true, false));
    let trusted = bench.submit_for(Audience::Trusted, true);
    bench.trust(2, true);
    assert!(bench.may_fetch(2, &module()), "one of the jobs is for it");
    bench.trust(2, false);
    assert!(!bench.may_fetch(2, &module()));

    let open = bench.submit_for(Audience::Anyone, false);
    assert!(bench.may_fetch(2, &module()) && bench.may_fetch(77, &module()));
    assert!(!bench.may_fetch(2, &Hash::of(b"another")));
    for job in [open, trusted] {
        bench.step(Input::Cancel(job));
        bench.step(Input::Forget(job));
    }
    assert_eq!((bench.may_fetch(1, &module()), bench.may_fetch(2, &module())), (true, false));
}

#[test]
fn a_restart_opens_nothing() {
    let mut bench = Bench::new(0);
    bench.worker(1, 8);
    bench.worker(2, 8);
    bench.submit_for(Audience::Named(vec![id(1)]), true);
    bench.restart();
    assert_eq!((bench.may_fetch(1, &module()), bench.may_fetch(2, &module())), (true, false));
}

#[test]
fn a_banned_peer_gets_nothing_of_a_confidential_job() {
    let mut bench = Bench::new(0);
    bench.worker(1, 8);
    bench.submit_for(Audience::Named(vec![id(1)]), true);
    let day = core::time::Duration::from_secs(86_400);
    let reason = crate::standing::BanReason::Operator;
    bench.peer.standings.ban(bench.now, id(1), day, reason);
    assert!(!bench.may_fetch(1, &module()));
}

#[test]
fn an_output_is_for_whom_it_was_computed() {
    let mut bench = Bench::new(1);
    let output = Output::Blob { hash: Hash::of(b"output"), len: 6 };
    assert!(!bench.may_fetch(1, &output.hash()));
    let leaf = Leaf {
        task: TaskId([1; 32]),
        job: JobId([2; 32]),
        submitter: id(1),
        lease: LeaseId([3; 32]),
        worker: id(ME),
        status: Status::Exited(0),
        output_commit: output_commit(&output.hash(), &[4; 32]),
        fuel: 1,
    };
    let opened = vec![Opened {
        leaf,
        nonce: Hash([4; 32]),
        output,
        log: serde_bytes::ByteBuf::new(),
        micros: 0,
    }];
    let commit = Commit::sign(&key(ME), JobId([2; 32]), 1, &opened);
    let record = Record::Batch { source: id(1), commit, opened, trails: Vec::new() };
    bench.disk.insert(record.key(), record);
    bench.restart();
    let output = Hash::of(b"output");
    assert_eq!((bench.may_fetch(1, &output), bench.may_fetch(2, &output)), (true, false));
}

#[test]
fn an_accusation_shows_nothing_of_a_confidential_job() {
    let mut bench = Bench::new(0);
    let open = bench.submit_for(Audience::Anyone, false);
    let secret = bench.submit_for(Audience::Named(vec![id(1)]), true);
    let accusation = |job: &JobId| bench.peer.accusation(job, 3, &id(1)).unwrap();
    let shown = accusation(&open);
    assert!(shown.carries);
    let task::Input::Inline(bytes) = &shown.input else { panic!("{shown:?}") };
    let hidden = accusation(&secret);
    assert!(!hidden.carries);
    let task::Input::Blob { hash, len } = hidden.input else { panic!("{hidden:?}") };
    assert_eq!((hash, len), (Hash::of(bytes), bytes.len() as u64));
    assert_eq!(hidden.vote, Key::vote(&secret, 3, &id(1)));
    assert_eq!(bench.peer.accusation(&JobId([9; 32]), 3, &id(1)), None);
}
