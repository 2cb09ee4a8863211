//! The bytes of a file: mapped read-only, read into memory, or lent by the host.
//!
//! Weights are computed on where they lie, so whatever the origin, the bytes begin at a multiple of [`ALIGN`].

use std::borrow::Cow;
use std::fs::{File, Metadata, OpenOptions};
use std::io::Read;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use memmap2::{Mmap, MmapMut};

use crate::error::{Result, fail};

/// The first byte of every [`Map`] lies at a multiple of this.
pub const ALIGN: usize = 16;

/// The bytes of one file, immutable and aligned. Dereferences to `[u8]`; never empty when it came from a file.
///
/// A mapped file must not be cut while it is in use: reading behind its new end kills the process (SIGBUS).
/// [`check_unchanged`](Map::check_unchanged) finds that out beforehand but for a race; bytes that were copied have none.
pub struct Map {
    bytes: Bytes,
    origin: Option<Origin>,
}

enum Bytes {
    Mapped(Mmap),
    Lent(Cow<'static, [u8]>),
}

/// The mapped file, kept open so that its size can be asked at any time.
struct Origin {
    file: File,
    path: PathBuf,
    stamp: Stamp,
}

/// What changes when a file is cut, rewritten or replaced.
#[derive(PartialEq, Eq)]
struct Stamp {
    len: u64,
    modified: Option<SystemTime>,
    id: (u64, u64),
}

impl Map {
    /// Maps the file at `path` read-only.
    ///
    /// Fails with `NotFound` when nothing is there, `Format` when it is empty, `InvalidArgument` when it is no regular
    /// file (a directory, a pipe: refused without blocking), `Io` for anything else the system says.
    pub fn open(path: &Path) -> Result<Map> {
        let (file, stamp) = open_regular(path)?;
        // SAFETY: the mapping is read-only and nothing here writes to the file. Other processes might: bytes may then
        // change under a reader, which is why every length and index is kept apart from the mapping once checked, and
        // the file may be cut, which `check_unchanged` reports.
        let map = match unsafe { Mmap::map(&file) } {
            Ok(map) => map,
            Err(e) => fail!(Io, "{}: cannot be mapped: {e}", path.display()),
        };
        if map.len() as u64 != stamp.len {
            fail!(FileChanged, "{}: changed its size while it was opened", path.display());
        }
        // A hint: pages not yet in the page cache come in 2 MB at once, where the file system can. Reading 1.1 GB by faults took
        // 0.7 s instead of 3.1, and decoding then runs on large pages, as a copy in memory would (docs/performance.md).
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Ok(Map { bytes: Bytes::Mapped(map), origin: Some(Origin { file, path, stamp }) })
    }

    /// Reads the file at `path` into memory: it may then change or vanish. Errors as [`open`](Map::open), and
    /// `OutOfMemory`.
    pub fn copy(path: &Path) -> Result<Map> {
        let (mut file, stamp) = open_regular(path)?;
        let name = path.display();
        let Ok(len) = usize::try_from(stamp.len) else {
            fail!(OutOfMemory, "{name}: {} bytes are more than this machine can address", stamp.len);
        };
        let mut memory = anonymous(len, &name)?;
        if let Err(e) = file.read_exact(&mut memory) {
            fail!(Io, "{name}: cannot be read: {e}");
        }
        Ok(Map { bytes: Bytes::Mapped(sealed(memory, &name)?), origin: None })
    }

    /// Bytes that are in memory already. They stay where they are if they begin at a multiple of [`ALIGN`], and are
    /// copied otherwise (`OutOfMemory`).
    pub fn from_bytes(bytes: impl Into<Cow<'static, [u8]>>) -> Result<Map> {
        let bytes = bytes.into();
        if bytes.is_empty() || (bytes.as_ptr() as usize).is_multiple_of(ALIGN) {
            return Ok(Map { bytes: Bytes::Lent(bytes), origin: None });
        }
        let mut memory = anonymous(bytes.len(), &"memory")?;
        memory.copy_from_slice(&bytes);
        Ok(Map { bytes: Bytes::Mapped(sealed(memory, &"memory")?), origin: None })
    }

    /// Whether the bytes are those of a file on disk, shared with whoever maps it too.
    pub fn is_file(&self) -> bool {
        self.origin.is_some()
    }

    /// Gives the memory of a mapped file back to the system, which reads what is asked for again from the file.
    pub fn release(&self) {
        #[cfg(unix)]
        if let (Bytes::Mapped(map), Some(_)) = (&self.bytes, &self.origin) {
            // SAFETY: the pages are those of a file that nobody writes through this mapping: they come back with the same bytes.
            let _ = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) }; // a hint
        }
    }

    /// `FileChanged` if the mapped file was cut, rewritten or replaced since it was opened. A file that was deleted
    /// stays usable, and so do bytes that were copied. Two system calls, no allocation unless it fails.
    pub fn check_unchanged(&self) -> Result<()> {
        let Some(Origin { file, path, stamp }) = &self.origin else { return Ok(()) };
        let name = path.display();
        match file.metadata() {
            Err(e) => fail!(Io, "{name}: its size cannot be asked any more: {e}"),
            Ok(now) if now.len() != stamp.len => {
                fail!(
                    FileChanged,
                    "{name}: had {} bytes when it was opened and has {} now: load it anew",
                    stamp.len,
                    now.len()
                )
            }
            Ok(now) if Stamp::of(&now) != *stamp => {
                fail!(FileChanged, "{name}: was written to since it was opened: load it anew")
            }
            Ok(_) => {}
        }
        match std::fs::metadata(path) {
            Ok(now) if Stamp::of(&now) != *stamp => {
                fail!(FileChanged, "{name}: was replaced by another file since it was opened: load it anew")
            }
            _ => Ok(()),
        }
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Mapped(map) => map,
            Bytes::Lent(bytes) => bytes,
        }
    }
}

impl Stamp {
    fn of(meta: &Metadata) -> Stamp {
        #[cfg(unix)]
        let id = (std::os::unix::fs::MetadataExt::dev(meta), std::os::unix::fs::MetadataExt::ino(meta));
        #[cfg(not(unix))]
        let id = (0, 0);
        Stamp { len: meta.len(), modified: meta.modified().ok(), id }
    }
}

/// Opens a file that has bytes and a length. Looks before it opens, for opening a device may have effects, and looks
/// again at what it opened.
fn open_regular(path: &Path) -> Result<(File, Stamp)> {
    let name = path.display();
    let seen = |meta: std::io::Result<Metadata>| match meta {
        Ok(meta) if meta.is_dir() => fail!(InvalidArgument, "{name}: is a directory, not a file"),
        Ok(meta) if !meta.is_file() => {
            fail!(InvalidArgument, "{name}: is {}, not a regular file: save it to disk first", kind(&meta))
        }
        Ok(meta) if meta.len() == 0 => fail!(Format, "{name}: is empty: fetch it again"),
        Ok(meta) => Ok(Stamp::of(&meta)),
        Err(e) => refused(path, &e),
    };
    seen(std::fs::metadata(path))?;
    let mut options = OpenOptions::new();
    options.read(true);
    // A pipe put there in the meantime does not block the opening.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    match options.open(path) {
        Ok(file) => {
            let stamp = seen(file.metadata())?;
            Ok((file, stamp))
        }
        Err(e) => refused(path, &e),
    }
}

fn refused<T>(path: &Path, e: &std::io::Error) -> Result<T> {
    if e.kind() == std::io::ErrorKind::NotFound {
        fail!(NotFound, "{}: no such file", path.display());
    }
    fail!(Io, "{}: cannot be opened: {e}", path.display())
}

/// What a file that is no regular file is.
fn kind(meta: &Metadata) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let ty = meta.file_type();
        if ty.is_fifo() {
            return "a named pipe";
        } else if ty.is_socket() {
            return "a socket";
        }
    }
    let _ = meta;
    "a device"
}

/// `len` zero bytes, page-aligned, from the system rather than the allocator: too many are an error and no abort. In huge
/// pages where the system gives them: weights are then read a fifth faster than from a mapped file (docs/performance.md).
fn anonymous(len: usize, name: &dyn std::fmt::Display) -> Result<MmapMut> {
    match MmapMut::map_anon(len) {
        Ok(map) => {
            #[cfg(target_os = "linux")]
            let _ = map.advise(memmap2::Advice::HugePage); // a hint
            Ok(map)
        }
        Err(e) => fail!(OutOfMemory, "{name}: no memory for its {len} bytes: {e}"),
    }
}

fn sealed(memory: MmapMut, name: &dyn std::fmt::Display) -> Result<Mmap> {
    match memory.make_read_only() {
        Ok(map) => Ok(map),
        Err(e) => fail!(Io, "{name}: its memory cannot be made read-only: {e}"),
    }
}
