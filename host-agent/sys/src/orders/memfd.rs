//! Orders in memory that nobody can change any more.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};
use rustix::io::Errno;

use super::{MAX_BYTES, Orders};

/// Neither bytes nor size nor these seals can change.
const SEALS: SealFlags = SealFlags::WRITE
    .union(SealFlags::SHRINK)
    .union(SealFlags::GROW)
    .union(SealFlags::SEAL);

/// The orders in a new sealed memfd, close-on-exec, at its beginning.
///
/// # Errors
/// InvalidInput for orders out of bounds, else what the kernel said.
pub fn to_sealed_memfd(orders: &Orders) -> io::Result<OwnedFd> {
    let bytes = orders.encode()?;
    let mut file = File::from(create()?);
    file.write_all(&bytes)?;
    file.rewind()?;
    fcntl_add_seals(&file, SEALS)?;
    Ok(file.into())
}

/// Kernels from 6.3 can be told to refuse memory files that might be executed; older ones do not know the flag.
fn create() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match memfd_create("zhylon-orders", flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => Ok(memfd_create("zhylon-orders", flags)?),
        result => Ok(result?),
    }
}

/// Reads orders from a memfd.
///
/// # Errors
/// InvalidInput when it is not sealed, too long, or not orders; else what the kernel said.
pub fn read_sealed(memfd: OwnedFd) -> io::Result<Orders> {
    let refused = |why: &'static str| io::Error::new(io::ErrorKind::InvalidInput, why);
    let seals = fcntl_get_seals(&memfd).map_err(|_| refused("orders are no memory file"))?;
    if !seals.contains(SEALS) {
        return Err(refused("orders are not sealed"));
    }
    let mut file = File::from(memfd);
    let len = file.metadata()?.len();
    if len > MAX_BYTES as u64 {
        return Err(refused("orders are too long"));
    }
    let mut bytes = vec![0; len as usize];
    file.rewind()?;
    file.read_exact(&mut bytes)?;
    Ok(Orders::decode(&bytes)?)
}
