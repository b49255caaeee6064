//! The system calls, and what stands in for them where there is no Unix.

use std::fs::File;
use std::io;
use std::path::Path;

use bytes::Bytes;

/// The most buffers that one vectored write takes on Linux and the BSDs.
#[cfg(unix)]
const IOV_MAX: usize = 1024;

/// Reads up to `len` bytes from `position` on, without clearing the memory first.
#[cfg(unix)]
pub(super) fn read_at(file: &File, position: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(len);
    while out.len() < len {
        let at = position + out.len() as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut out), at) {
            Ok(0) => break,
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The allocator may have given more room than was asked for.
    out.truncate(len);
    Ok(out)
}

#[cfg(not(unix))]
pub(super) fn read_at(file: &File, position: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut out = vec![0; len];
    let read = read_into(file, position, &mut out)?;
    out.truncate(read);
    Ok(out)
}

/// Fills `buf` from `position` on; returns the number of bytes, fewer only at the file's end.
pub(super) fn read_into(file: &File, position: u64, buf: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match pread(file, &mut buf[done..], position + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

#[cfg(unix)]
fn pread(file: &File, buf: &mut [u8], position: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buf, position)
}

#[cfg(windows)]
fn pread(file: &File, buf: &mut [u8], position: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buf, position)
}

/// Writes all buffers from `position` on: one call for up to 1024 of them, more when the system writes less than asked.
#[cfg(unix)]
pub(super) fn write_at(file: &File, mut position: u64, buffers: &[Bytes]) -> io::Result<()> {
    use std::io::IoSlice;

    let mut next = 0;
    // How much of buffers[next] has been written.
    let mut skip = 0;
    let mut slices = Vec::with_capacity(buffers.len().min(IOV_MAX));
    loop {
        while buffers.get(next).is_some_and(|buffer| buffer.len() == skip) {
            next += 1;
            skip = 0;
        }
        let Some(first) = buffers.get(next) else { return Ok(()) };
        slices.clear();
        slices.push(IoSlice::new(&first[skip..]));
        let rest = buffers[next + 1..].iter().filter(|buffer| !buffer.is_empty());
        slices.extend(rest.take(IOV_MAX - 1).map(|buffer| IoSlice::new(buffer)));
        let mut written = match rustix::io::pwritev(file, &slices, position) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        position += written as u64;
        while written > 0 {
            let left = buffers[next].len() - skip;
            if written < left {
                skip += written;
                break;
            }
            written -= left;
            next += 1;
            skip = 0;
        }
    }
}

#[cfg(windows)]
pub(super) fn write_at(file: &File, mut position: u64, buffers: &[Bytes]) -> io::Result<()> {
    for buffer in buffers {
        let mut done = 0;
        while done < buffer.len() {
            match std::os::windows::fs::FileExt::seek_write(file, &buffer[done..], position) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    done += written;
                    position += written as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Brings a directory's entries to the disk.
#[cfg(unix)]
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Windows cannot sync a directory; its journal orders renames.
#[cfg(not(unix))]
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    std::fs::metadata(path).map(drop)
}

/// Brings the whole file system to the disk, where there is such a call.
#[cfg(target_os = "linux")]
pub(super) fn sync_file_system(path: &Path) -> io::Result<bool> {
    rustix::fs::syncfs(&File::open(path)?)?;
    Ok(true)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn sync_file_system(_path: &Path) -> io::Result<bool> {
    Ok(false)
}

/// Whether an open failed because the process, or the system, has no descriptor left.
pub(super) fn is_out_of_descriptors(error: &io::Error) -> bool {
    #[cfg(unix)]
    {
        use rustix::io::Errno;
        error.raw_os_error().is_some_and(|code| [Errno::MFILE, Errno::NFILE].contains(&Errno::from_raw_os_error(code)))
    }
    #[cfg(not(unix))]
    {
        let _ = error;
        false
    }
}

/// How many descriptors the process may have, if there is a bound.
pub(super) fn descriptor_limit() -> Option<usize> {
    #[cfg(unix)]
    {
        rustix::process::getrlimit(rustix::process::Resource::Nofile)
            .current
            .and_then(|limit| usize::try_from(limit).ok())
    }
    #[cfg(not(unix))]
    {
        None
    }
}

/// A second name for a file. Only where [`has_other_names`] can tell that there are two.
#[cfg(unix)]
pub(super) fn link(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::hard_link(from, to)
}

#[cfg(not(unix))]
pub(super) fn link(_from: &Path, _to: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether the file has names besides this one.
#[cfg(unix)]
pub(super) fn has_other_names(path: &Path) -> io::Result<bool> {
    std::fs::metadata(path).map(|metadata| std::os::unix::fs::MetadataExt::nlink(&metadata) > 1)
}

#[cfg(not(unix))]
pub(super) fn has_other_names(_path: &Path) -> io::Result<bool> {
    Ok(false)
}
