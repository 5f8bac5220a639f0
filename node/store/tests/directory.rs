//! Opening a directory: its secrets, its lock, its version, and what is refused.

#![cfg(unix)]

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use bayan_store::{Directory, Holder, OpenError, Options};

fn open(path: &Path) -> Result<Directory, OpenError> {
    Directory::open(path, Options::default())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_peer_comes_back_as_itself_and_two_peers_differ() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("deep/er");
    let first = open(&path).unwrap();
    let (identity, token) = (first.identity(), first.api_token());
    assert_eq!(token.len(), 64);
    assert!(!format!("{first:?}").contains(&token));
    first.close().unwrap();
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&path.join("identity")), 0o600);
    assert_eq!(mode(&path.join("api_token")), 0o600);

    let again = open(&path).unwrap();
    assert_eq!((again.identity(), again.api_token()), (identity, token.clone()));
    let other = open(&place.path().join("other")).unwrap();
    assert_ne!(other.identity(), identity);
    assert_ne!(other.api_token(), token);
}

#[test]
fn a_damaged_identity_is_an_error_and_stays_as_it_is() {
    let place = tempfile::tempdir().unwrap();
    open(place.path()).unwrap().close().unwrap();
    let path = place.path().join("identity");
    let good = fs::read(&path).unwrap();
    let mut flipped = good.clone();
    flipped[3] ^= 1;
    for bad in [&good[..31], &[], &[&good[..], b"x"].concat(), &flipped] {
        fs::write(&path, bad).unwrap();
        match open(place.path()) {
            Err(OpenError::Corrupt { path: found, .. }) => assert!(found.ends_with("identity")),
            other => panic!("{other:?}"),
        }
        assert_eq!(fs::read(&path).unwrap(), bad);
    }
    fs::remove_file(&path).unwrap();
    assert!(matches!(open(place.path()), Err(OpenError::Corrupt { .. })));
    assert!(!path.exists(), "a lost identity is not replaced");
    fs::write(&path, &good).unwrap();
    for open_mode in [0o644, 0o640, 0o604, 0o660] {
        set_mode(&path, open_mode);
        match open(place.path()) {
            Err(error @ OpenError::TooOpen { mode, .. }) => {
                assert_eq!(mode, open_mode);
                assert!(error.to_string().contains("chmod 600"));
            }
            other => panic!("{other:?}"),
        }
    }
    set_mode(&path, 0o600);
    open(place.path()).unwrap();
}

#[test]
fn a_damaged_token_is_an_error() {
    let place = tempfile::tempdir().unwrap();
    open(place.path()).unwrap().close().unwrap();
    let path = place.path().join("api_token");
    fs::write(&path, "zz").unwrap();
    assert!(matches!(open(place.path()), Err(OpenError::Corrupt { .. })));
    set_mode(&path, 0o644);
    assert!(matches!(open(place.path()), Err(OpenError::TooOpen { .. })));
}

#[test]
fn a_second_opening_is_told_who_has_it() {
    let place = tempfile::tempdir().unwrap();
    assert_eq!(Directory::peek_holder(place.path()), None);
    let first = open(place.path()).unwrap();
    let pid = Some(std::process::id());
    match open(place.path()) {
        Err(OpenError::Held { holder, .. }) => assert_eq!(holder, Holder { pid, api: None }),
        other => panic!("{other:?}"),
    }
    first.set_holder("127.0.0.1:4567").unwrap();
    let holder = Holder { pid, api: Some("127.0.0.1:4567".to_owned()) };
    assert_eq!(Directory::peek_holder(place.path()), Some(holder.clone()));
    let refused = open(place.path()).unwrap_err();
    assert!(refused.to_string().contains("127.0.0.1:4567"), "{refused}");
    assert!(first.set_holder("127.0.0.1\npid 1").is_err());
    assert_eq!(Directory::peek_holder(place.path()), Some(holder));

    // Handles keep it, so that nobody else writes under them.
    let blobs = first.blobs();
    first.close().unwrap();
    assert!(matches!(open(place.path()), Err(OpenError::Held { .. })));
    drop(blobs);
    assert_eq!(Directory::peek_holder(place.path()), None);
    open(place.path()).unwrap();
}

#[test]
fn looking_who_has_it_never_keeps_anybody_out() {
    let place = tempfile::tempdir().unwrap();
    open(place.path()).unwrap().close().unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                Directory::peek_holder(place.path());
                std::thread::yield_now();
            }
        });
        for _ in 0..10 {
            open(place.path()).unwrap().close().unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn other_versions_are_told_apart() {
    let place = tempfile::tempdir().unwrap();
    open(place.path()).unwrap().close().unwrap();
    let path = place.path().join("format");
    fs::write(&path, "3\n").unwrap();
    assert!(matches!(
        open(place.path()),
        Err(OpenError::NewerVersion { found: 3, supported: 2, .. })
    ));
    for bad in ["", "0\n", "one", "-1", "99999999999999"] {
        fs::write(&path, bad).unwrap();
        assert!(matches!(open(place.path()), Err(OpenError::Corrupt { .. })), "{bad:?}");
    }
    fs::remove_file(&path).unwrap();
    assert!(matches!(open(place.path()), Err(OpenError::Corrupt { .. })));
}

#[test]
fn somebody_elses_directory_is_not_touched() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("thesis.tex"), "x").unwrap();
    set_mode(place.path(), 0o755);
    assert!(matches!(open(place.path()), Err(OpenError::NotOurs { .. })));
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    assert_eq!(mode(place.path()), 0o755);
    let file = place.path().join("thesis.tex");
    assert!(matches!(open(&file), Err(OpenError::Unreadable { .. })));
}

#[test]
fn a_first_start_cut_short_is_begun_again() {
    let place = tempfile::tempdir().unwrap();
    open(place.path()).unwrap().close().unwrap();
    let identity = fs::read(place.path().join("identity")).unwrap();
    // What is there when the process dies before the format is written.
    for name in ["format", "api_token", "records.redb", "records.inventory"] {
        fs::remove_file(place.path().join(name)).unwrap();
    }
    fs::remove_dir_all(place.path().join("journal")).unwrap();
    fs::remove_dir_all(place.path().join("blobs")).unwrap();
    fs::write(place.path().join(".tmp-abc"), "half a token").unwrap();
    open(place.path()).unwrap().close().unwrap();
    assert_eq!(fs::read(place.path().join("identity")).unwrap(), identity);
    assert!(!place.path().join(".tmp-abc").exists());
}

#[test]
fn a_foreign_database_is_set_aside_and_a_lost_one_is_an_error() {
    let place = tempfile::tempdir().unwrap();
    open(place.path()).unwrap().close().unwrap();
    let path = place.path().join("records.redb");
    let len = fs::metadata(&path).unwrap().len() as usize;
    for bad in [vec![0x5A; len], b"short".to_vec()] {
        fs::write(&path, &bad).unwrap();
        let directory = open(place.path()).unwrap();
        let salvage = directory.recovery().salvage.as_ref().unwrap();
        assert!(fs::read(&salvage.path).unwrap() == bad, "the evidence is kept");
        directory.close().unwrap();
    }
    assert_eq!(Directory::set_aside(place.path()).len(), 2);
    fs::remove_file(&path).unwrap();
    assert!(matches!(open(place.path()), Err(OpenError::Corrupt { .. })));
    assert!(!path.exists());
}
