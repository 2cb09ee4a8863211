//! Saving a file so that a reader, or a crash at any moment, finds the old one or the new one, whole.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Error as IoError, Result as IoResult, Write};
#[cfg(feature = "train")]
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::error::{Result, fail};

/// A file under way: written beside its destination under another name, and given its name by
/// [`commit`](SaveFile::commit). Dropped without that, it vanishes and the destination stays as it was.
pub struct SaveFile {
    /// None once committed.
    file: Option<BufWriter<File>>,
    temporary: PathBuf,
    path: PathBuf,
}

impl SaveFile {
    /// Begins the file that will be at `path`. Replaces a regular file, through a symbolic link too; anything else
    /// that is there is `InvalidArgument`, what the system refuses `Io`.
    pub fn create(path: &Path) -> Result<SaveFile> {
        let name = path.display();
        if std::fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
            fail!(InvalidArgument, "{name}: is there and is not a regular file: choose another name");
        }
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let Some(file_name) = path.file_name().and_then(|n| n.to_str()) else {
            fail!(InvalidArgument, "{name}: does not end in a file's name");
        };
        for attempt in 0..100 {
            let temporary = path.with_file_name(format!(".{file_name}.{}.{attempt}.tmp", std::process::id()));
            match OpenOptions::new().write(true).create_new(true).open(&temporary) {
                Ok(file) => {
                    return Ok(SaveFile { file: Some(BufWriter::with_capacity(1 << 16, file)), temporary, path });
                }
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => fail!(Io, "{name}: cannot be written: {e}"),
            }
        }
        fail!(Io, "{name}: left-over files .{file_name}.*.tmp beside it are in the way: delete them")
    }

    /// Writes over the first bytes of the file, which must be there: a header whose numbers are known at the end. What is written
    /// afterwards follows on what was written before.
    #[cfg(feature = "train")]
    pub(crate) fn put_front(&mut self, bytes: &[u8]) -> Result<()> {
        let done = self.file.as_mut().map_or_else(
            || Err(closed()),
            |file| {
                file.rewind()?;
                file.write_all(bytes)?;
                file.seek(SeekFrom::End(0)).map(drop)
            },
        );
        match done {
            Ok(()) => Ok(()),
            Err(e) => fail!(Io, "{}: cannot be written: {e}", self.path.display()),
        }
    }

    /// Brings all bytes to the disk and puts the file in its place.
    pub fn commit(mut self) -> Result<()> {
        let done = self.flush().and_then(|()| {
            if let Some(file) = &self.file {
                file.get_ref().sync_all()?;
            }
            std::fs::rename(&self.temporary, &self.path)?;
            self.file = None;
            // The rename itself lasts once the directory is on disk; some file systems cannot sync directories.
            if let Some(dir) = self.path.parent() {
                let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
                let _ = File::open(dir).and_then(|d| d.sync_all());
            }
            Ok(())
        });
        match done {
            Ok(()) => Ok(()),
            Err(e) => fail!(Io, "{}: cannot be saved: {e}", self.path.display()),
        }
    }
}

impl Write for SaveFile {
    fn write(&mut self, bytes: &[u8]) -> IoResult<usize> {
        let written = self.file.as_mut().map_or_else(|| Err(closed()), |f| f.write(bytes));
        written.map_err(|e| IoError::new(e.kind(), format!("{}: {e}", self.path.display())))
    }

    fn flush(&mut self) -> IoResult<()> {
        self.file.as_mut().map_or_else(|| Err(closed()), |f| f.flush())
    }
}

fn closed() -> IoError {
    IoError::other("the file is committed already")
}

impl Drop for SaveFile {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            // What the buffer still holds is not wanted.
            drop(file.into_parts());
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_file_stays_until_commit() {
        let dir = std::env::temp_dir().join(format!("qorus-save-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("file");
        std::fs::write(&path, "old").unwrap();
        let mut file = SaveFile::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        let mut file = SaveFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        file.commit().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "a temporary file was left");
        assert!(SaveFile::create(&dir).is_err(), "a directory is not to be replaced");
        assert!(SaveFile::create(&dir.join("none/file")).is_err());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
