//! The ways of leases: paths as their receivers check them, trails as results bring them back.

use bayan_protocol::{
    cbor,
    crypto::{Keypair, Signature},
    id::{JobId, LeaseId},
    path::{Hop, Trail},
};

use crate::{
    cast,
    file::{Case, File},
};

pub(crate) fn files() -> Vec<File> {
    vec![
        File::new(
            "relay/paths.json",
            "Paths of leases as `receiver` gets them.",
            &["RELAY-2", "RELAY-3"],
            paths(),
        ),
        File::new(
            "relay/trails.json",
            "Trails of results that `worker` signed, as one of their givers or anybody gets them.",
            &["RELAY-5", "RELAY-6"],
            trails(),
        ),
    ]
}

fn about(case: Case, job: JobId) -> Case {
    case.with("job", job.to_string()).with("submitter", cast::submitter().peer_id().to_string())
}

fn path_of(relays: u8) -> Vec<Hop> {
    cast::handed_on(cast::bare(), vec![cast::inline(b"0\n"), cast::inline(b"1\n")], relays).path
}

fn path(case: Case, path: &[Hop]) -> Case {
    about(case, cast::JOB)
        .with("receiver", cast::worker().peer_id().to_string())
        .bytes("path", &cbor::encode(&path))
}

fn paths() -> Vec<Case> {
    let changed = |change: &dyn Fn(&mut Vec<Hop>)| {
        let mut path = path_of(2);
        change(&mut path);
        path
    };
    let invalid = |name: &str, error: &str, hops: Vec<Hop>| path(Case::invalid(name, error), &hops);
    let own = |key: &Keypair, parent| {
        let errand = cast::handed_on(cast::bare(), vec![cast::inline(b"0\n")], 0).errand();
        errand.hand(key, parent, LeaseId([9; 32]), &key.peer_id(), std::iter::empty())
    };
    let mut loops = path_of(1);
    loops.push(own(&cast::submitter(), Some(loops[1].lease)));
    vec![
        path(Case::valid("straight from the submitter"), &path_of(0)),
        path(Case::valid("through one relay"), &path_of(1)),
        path(Case::valid("through seven relays"), &path_of(7)),
        invalid("no hop", "length", Vec::new()),
        invalid("nine hops", "length", path_of(8)),
        invalid(
            "it begins with a relay",
            "start",
            changed(&|path| path.retain(|hop| hop.giver != cast::submitter().peer_id())),
        ),
        invalid(
            "a hop is left out",
            "signature",
            changed(&|path| path.retain(|hop| hop.giver != cast::relay(1).peer_id())),
        ),
        invalid("the last hop is left out", "signature", changed(&|path| path.truncate(2))),
        invalid("two hops change places", "signature", changed(&|path| path.swap(1, 2))),
        invalid("another lease", "signature", changed(&|path| path[1].lease.0[0] ^= 1)),
        invalid("other tasks", "signature", changed(&|path| path[2].root.0[31] ^= 1)),
        invalid(
            "no signature",
            "signature",
            changed(&|path| path[0].signature = Signature([0; 64])),
        ),
        invalid("the submitter twice", "loop", loops),
        about(Case::invalid("of another job", "signature"), cast::OTHER_JOB)
            .with("receiver", cast::worker().peer_id().to_string())
            .bytes("path", &cbor::encode(&path_of(1))),
    ]
}

fn trail(case: Case, trail: &Trail) -> Case {
    about(case, cast::JOB)
        .with("worker", cast::worker().peer_id().to_string())
        .bytes("trail", &cbor::encode(trail))
}

fn trails() -> Vec<Case> {
    let whole = Trail { parent: None, hops: path_of(2) };
    let cut = |at: u8| whole.below(&cast::relay(at).peer_id());
    let elsewhere = Trail { parent: Some(LeaseId([7; 32])), ..cut(0) };
    let headless = Trail { parent: None, ..cut(0) };
    let twofold = Trail { parent: Some(LeaseId([7; 32])), ..whole.clone() };
    let mut short = cut(0);
    short.hops.pop();
    vec![
        trail(Case::valid("whole, for whom it does not lead through"), &whole),
        trail(Case::valid("as the submitter gets it"), &cut(0)),
        trail(Case::valid("as the first relay gets it"), &cut(1)),
        trail(Case::invalid("under another lease", "signature"), &elsewhere),
        trail(Case::invalid("from a relay, under nothing", "start"), &headless),
        trail(Case::invalid("from the submitter, under a lease", "start"), &twofold),
        trail(Case::invalid("it ends before the worker", "signature"), &short),
        trail(
            Case::invalid("of no hop", "length"),
            &Trail { parent: Some(LeaseId([7; 32])), hops: Vec::new() },
        ),
    ]
}
