//! What an engine process can do from behind its walls: nothing.

use std::io::Write;

use bayan_engine::Engines;

fn probe(secret: &std::path::Path) -> bayan_engine::Probe {
    let engines = Engines::start(crate::common::double(1, &[]), |_, _| {}).unwrap();
    engines.probe(Some(secret)).unwrap()
}

#[test]
fn everything_is_refused() {
    let mut secret = tempfile::NamedTempFile::new().unwrap();
    secret.write_all(b"key").unwrap();
    let probe = probe(secret.path());
    for tried in &probe.tries {
        println!("{tried}");
    }
    println!("{}", probe.walls);
    assert!(probe.tries.len() >= 20, "only {} tries", probe.tries.len());
    let secret = format!("open {}", secret.path().display());
    for what in [secret.as_str(), "open /etc/passwd", "fork", "exec"] {
        assert!(probe.tries.iter().any(|tried| tried.what == what), "{what} was not tried");
    }
    let allowed: Vec<_> = probe.tries.iter().filter(|tried| tried.refused.is_none()).collect();
    assert!(allowed.is_empty(), "allowed: {allowed:?}");
    assert!(probe.is_tight());
    assert!(probe.walls.seccomp && probe.walls.no_new_privileges && probe.walls.limits);
    assert!(probe.walls.parent_death_signal && probe.walls.undumpable && probe.walls.idle_io);
    assert_eq!(probe.walls.nice, 19);
}
