//! Tries the walls from inside, as a guest that broke out would.

use crate::wire::Targets;

/// Makes every try and reports each at once, because the last ones may end this process.
#[cfg(target_os = "linux")]
pub(super) fn probe(targets: &Targets, mut tried: impl FnMut(&str, Option<i32>)) {
    use std::{ffi::CString, io::IoSliceMut, net::SocketAddrV4, net::TcpListener, os::fd::AsFd};

    use nix::{
        sys::{
            ptrace, signal,
            uio::{RemoteIoVec, process_vm_readv},
        },
        unistd::{ForkResult, Pid, execv, fork},
    };
    use rustix::{
        fs::{CWD, Mode, OFlags},
        io::Errno,
        net::{AddressFamily, SocketType, socket},
    };

    let errno = |result: Result<(), Errno>| result.err().map(Errno::raw_os_error);
    let nix_errno = |result: Result<(), nix::Error>| result.err().map(|error| error as i32);
    let open = |path: &str| errno(rustix::fs::open(path, OFlags::RDONLY, Mode::empty()).map(drop));

    for path in &targets.readable {
        tried(&format!("open {path}"), open(path));
    }
    tried("open the parent's memory", open(&format!("/proc/{}/mem", targets.parent)));
    let created = rustix::fs::open(
        targets.creatable.as_str(),
        OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL,
        Mode::RUSR,
    );
    tried("create a file", errno(created.map(drop)));
    tried("make a directory", errno(rustix::fs::mkdir(targets.creatable.as_str(), Mode::RWXU)));
    let listed = rustix::fs::openat(CWD, "/", OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty());
    tried("list the root directory", errno(listed.map(drop)));
    for (what, family, kind) in [
        ("a TCP socket", AddressFamily::INET, SocketType::STREAM),
        ("a UDP socket", AddressFamily::INET, SocketType::DGRAM),
        ("an IPv6 socket", AddressFamily::INET6, SocketType::STREAM),
        ("a Unix socket", AddressFamily::UNIX, SocketType::STREAM),
        ("a netlink socket", AddressFamily::NETLINK, SocketType::RAW),
    ] {
        tried(what, errno(socket(family, kind, None).map(drop)));
    }
    // Whatever socket there is: the call itself must be refused.
    let address = SocketAddrV4::new([127, 0, 0, 1].into(), 9);
    tried("connect", errno(rustix::net::connect(std::io::stdin().as_fd(), &address)));
    let listening = TcpListener::bind("127.0.0.1:0").map(drop);
    tried("listen", listening.err().map(|error| error.raw_os_error().unwrap_or_default()));
    let memory = rustix::fs::memfd_create("probe", rustix::fs::MemfdFlags::CLOEXEC);
    tried("make a memory file", errno(memory.map(drop)));

    let parent = Pid::from_raw(targets.parent as i32);
    let mut byte = [0];
    let remote = RemoteIoVec { base: targets.address as usize, len: 1 };
    let read = process_vm_readv(parent, &mut [IoSliceMut::new(&mut byte)], &[remote]);
    tried("read the parent's memory", nix_errno(read.map(drop)));
    tried("signal the parent", nix_errno(signal::kill(parent, None)));
    let traced = ptrace::seize(parent, ptrace::Options::empty());
    if traced.is_ok() {
        let _ = ptrace::detach(parent, None);
    }
    tried("trace the parent", nix_errno(traced));
    let thread = std::thread::Builder::new().stack_size(64 << 10).spawn(|| ());
    tried("start a thread", thread.err().map(|error| error.raw_os_error().unwrap_or_default()));
    #[expect(unsafe_code, reason = "the try itself; the other process ends at once")]
    // SAFETY: the other process does nothing but end.
    let forked = match unsafe { fork() } {
        Ok(ForkResult::Child) => std::process::exit(0),
        Ok(ForkResult::Parent { .. }) => None,
        Err(error) => Some(error as i32),
    };
    tried("fork", forked);
    let program = CString::new("/proc/self/exe").unwrap_or_default();
    tried("exec", execv(&program, &[&program]).err().map(|error| error as i32));
}

/// No walls are promised elsewhere.
#[cfg(not(target_os = "linux"))]
pub(super) fn probe(_targets: &Targets, _tried: impl FnMut(&str, Option<i32>)) {}
