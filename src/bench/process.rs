//! What the system knows of a process: processor time, memory, and which one is at the other end of a
//! connection.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use procfs::Current as _;
use procfs::process::{FDTarget, Process};

/// What a process has used so far.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Of all its threads, the kernel's work for it included.
    pub cpu_seconds: f64,
    /// Resident, at its most.
    pub memory_peak_bytes: u64,
}

/// `None`: there is no such process, or it may not be looked at.
pub fn usage(pid: i32) -> Option<Usage> {
    let process = Process::new(pid).ok()?;
    let stat = process.stat().ok()?;
    let ticks = (stat.utime + stat.stime) as f64;
    Some(Usage {
        cpu_seconds: ticks / procfs::ticks_per_second() as f64,
        memory_peak_bytes: process.status().ok()?.vmhwm? * 1024,
    })
}

/// The server, by its connection with this process; `None` where it is not on this machine, or belongs to somebody
/// whose processes may not be looked at.
pub fn server() -> Option<i32> {
    let own: HashSet<u64> = sockets(&Process::myself().ok()?).collect();
    let mut all = procfs::net::tcp().unwrap_or_default();
    all.extend(procfs::net::tcp6().unwrap_or_default());
    let ours: HashSet<_> = all
        .iter()
        .filter(|entry| own.contains(&entry.inode))
        .map(|entry| (plain(entry.remote_address), plain(entry.local_address)))
        .collect();
    let others: HashSet<u64> = all
        .iter()
        .filter(|e| ours.contains(&(plain(e.local_address), plain(e.remote_address))))
        .map(|entry| entry.inode)
        .collect();
    let of_the_server = |process: &Process| {
        let is_server = process.stat().is_ok_and(|stat| stat.comm.starts_with("nats"));
        is_server && sockets(process).any(|inode| others.contains(&inode))
    };
    let processes = procfs::process::all_processes().ok()?;
    processes.flatten().find(of_the_server).map(|process| process.pid)
}

/// How many threads of this machine wanted a processor, on average of the last minute.
pub fn load_average() -> Option<f64> {
    Some(f64::from(procfs::LoadAverage::current().ok()?.one))
}

fn sockets(process: &Process) -> impl Iterator<Item = u64> {
    process.fd().into_iter().flatten().flatten().filter_map(|fd| match fd.target {
        FDTarget::Socket(inode) => Some(inode),
        _ => None,
    })
}

/// A server that listens on all addresses sees IPv4 in the form of IPv6.
fn plain(address: SocketAddr) -> (IpAddr, u16) {
    (address.ip().to_canonical(), address.port())
}
