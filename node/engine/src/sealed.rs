//! Memory that can be handed to other processes as a descriptor and that nobody can change.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::OwnedFd,
};

/// A sealed memory file with these bytes, positioned at its start.
#[cfg(target_os = "linux")]
pub(crate) fn seal(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    use std::io::Seek;

    use rustix::{
        fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create},
        io::Errno,
    };

    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = match memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        // Before Linux 6.3.
        Err(Errno::INVAL) => memfd_create(name, flags),
        other => other,
    }?;
    let mut file = File::from(file);
    file.write_all(bytes)?;
    file.rewind()?;
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}

/// A file without a name, opened for reading, with these bytes.
#[cfg(not(target_os = "linux"))]
pub(crate) fn seal(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    use std::hash::{BuildHasher, RandomState};

    let unique = RandomState::new().hash_one(bytes.len());
    let path = std::env::temp_dir().join(format!("{name}-{unique:016x}"));
    let written = File::create_new(&path).and_then(|mut file| file.write_all(bytes));
    let opened = written.and_then(|()| File::open(&path));
    std::fs::remove_file(&path)?;
    Ok(opened?.into())
}
