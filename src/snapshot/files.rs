//! The files that a configuration is made of.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use zeroize::Zeroizing;

use crate::config::{Config, Loaded};
use crate::identity::Digest;

/// The longest file that is accepted anywhere (a revocation list), so what is beyond need not be
/// seen; and an endless file has an end.
const MOST: u64 = 512 << 20;

/// The configuration file, every file it names, and what is in the folders it names.
#[must_use]
pub fn files(file: &Path, config: &Config) -> Vec<PathBuf> {
    let mut files = vec![file.to_owned()];
    files.extend(named(config));
    files
}

/// Every file that a configuration names, and what is in the folders it names.
pub(super) fn named(config: &Config) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in config.files() {
        files.push(path.to_owned());
        let mut inside: Vec<_> = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        inside.sort();
        files.extend(inside);
    }
    files
}

/// The digest of a configuration file, as it was read, and of every file it names. A file that
/// cannot be read counts as such; that it is missing is reported where it is used.
#[must_use]
pub fn digest(loaded: &Loaded) -> Digest {
    let mut all = loaded.digest.0.to_vec();
    for path in named(&loaded.config) {
        all.extend_from_slice(&Digest::of(path.as_os_str().as_encoded_bytes()).0);
        all.extend_from_slice(&content(&path).unwrap_or(Digest([0; 32])).0);
    }
    Digest::of(&all)
}

/// Piece by piece: a revocation list may be large, and a key must not stay in memory.
fn content(path: &Path) -> io::Result<Digest> {
    const PIECE: usize = 64 * 1024;
    let file = File::open(path)?;
    if file.metadata()?.len() > MOST {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut file = file.take(MOST);
    let (mut hash, mut piece) = (Context::new(&SHA256), Zeroizing::new(vec![0; PIECE]));
    loop {
        match file.read(&mut piece)? {
            0 => break,
            read => hash.update(piece.get(..read).unwrap_or_default()),
        }
    }
    let mut out = [0; 32];
    out.copy_from_slice(hash.finish().as_ref());
    Ok(Digest(out))
}
