//! The set on disk: for its owner only, written whole or not at all, never over somebody's files.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use x509_parser::pem::Pem;

use super::{CURRENT, File, Force, LAST, NAMES, PkiError};

/// A directory that is closed to everybody else.
pub(super) struct Directory<'a>(&'a Path);

/// What of the set was found.
pub(super) enum Existing {
    /// No file of it.
    Nothing,
    /// All of it, valid now.
    Usable,
}

impl<'a> Directory<'a> {
    /// Creates the directory (0700) and those above it, unless it exists.
    pub(super) fn open(path: &'a Path) -> Result<Self, PkiError> {
        let failed = |source| PkiError::Io { path: path.to_owned(), source };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            outcome => outcome.map_err(failed)?,
        }
        let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
        // Who can write here can put another key in place of ours; who can look may find a key that was copied here.
        if mode & 0o077 != 0 {
            return Err(PkiError::Exposed(path.to_owned()));
        }
        Ok(Self(path))
    }

    /// What is there already, if it can be used at `now`.
    pub(super) fn existing(&self, now: Duration) -> Result<Existing, PkiError> {
        let mut missing = Vec::new();
        for name in NAMES {
            let path = self.0.join(name);
            // Not `exists`: a dangling link is somebody's file too.
            match fs::symlink_metadata(&path) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(name),
                Err(source) => return Err(PkiError::Io { path, source }),
            }
        }
        if missing.len() == NAMES.len() {
            return Ok(Existing::Nothing);
        }
        let directory = self.0.to_owned();
        if !missing.is_empty() {
            return Err(PkiError::Incomplete { directory, missing });
        }
        let names: Vec<_> = CURRENT.into_iter().filter(|name| !valid_at(&self.0.join(name), now)).collect();
        if names.is_empty() { Ok(Existing::Usable) } else { Err(PkiError::Stale { directory, names }) }
    }

    /// Writes the files in their order.
    pub(super) fn write(&self, files: &[File], force: Force) -> Result<(), PkiError> {
        if force == Force::Overwrite {
            remove(&self.0.join(LAST))?;
        }
        files.iter().try_for_each(|file| self.write_one(file, force))
    }

    fn write_one(&self, file: &File, force: Force) -> Result<(), PkiError> {
        let target = self.0.join(file.name);
        let failed = |source| PkiError::Io { path: target.clone(), source };
        // By chance, not by process id: those of two containers that share the folder may be the same.
        let mut nonce = [0; 8];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| failed(io::Error::other("no random numbers")))?;
        let temporary = self.0.join(format!(".{}.{:016x}", file.name, u64::from_ne_bytes(nonce)));
        let written = fill(&temporary, &file.content).and_then(|()| match force {
            // A link fails where a rename would replace: what appeared meanwhile stays.
            Force::Keep => fs::hard_link(&temporary, &target),
            Force::Overwrite => fs::rename(&temporary, &target),
        });
        let cleaned = remove(&temporary);
        written.map_err(failed)?;
        cleaned
    }
}

/// Whether the first certificate of a PEM file can be read and is in its time.
fn valid_at(path: &Path, now: Duration) -> bool {
    let Ok(text) = fs::read(path) else { return false };
    let Some(Ok(pem)) = Pem::iter_from_buffer(&text).next() else { return false };
    let Ok(certificate) = pem.parse_x509() else { return false };
    let Ok(now) = i64::try_from(now.as_secs()) else { return false };
    let validity = certificate.validity();
    validity.not_before.timestamp() <= now && now <= validity.not_after.timestamp()
}

/// Creates a file that only its owner can read, from the first moment on.
fn fill(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn remove(path: &PathBuf) -> Result<(), PkiError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome.map_err(|source| PkiError::Io { path: path.clone(), source }),
    }
}
