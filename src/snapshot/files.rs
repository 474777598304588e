//! The files that a configuration is made of.

use std::fmt;
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

/// What a configuration file, and every file that it names, held when they were read.
#[derive(Clone, PartialEq, Eq)]
pub struct Contents {
    file: Digest,
    /// Of the path, and of what was there. A file that cannot be read counts as such; that it is missing is reported
    /// where it is used.
    named: Vec<(Digest, Digest)>,
}

impl Contents {
    /// Reads the files that `loaded` names.
    #[must_use]
    pub fn read(loaded: &Loaded) -> Self {
        let of = |path: PathBuf| (name(&path), content(&path).unwrap_or(Digest([0; 32])));
        Self { file: loaded.digest, named: named(&loaded.config).into_iter().map(of).collect() }
    }

    /// One for all.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let named = self.named.iter().flat_map(|(path, content)| [path.0, content.0]);
        Digest::of(&std::iter::once(self.file.0).chain(named).collect::<Vec<_>>().concat())
    }

    /// The same files, but for what was written into one of them.
    pub(super) fn with(&self, path: &Path, content: &[u8]) -> Self {
        let (path, content) = (name(path), Digest::of(content));
        let put = |(named, before): &(Digest, Digest)| (*named, if *named == path { content } else { *before });
        Self { file: self.file, named: self.named.iter().map(put).collect() }
    }

    /// Of no files that there are: the next reload is one, whatever it finds.
    pub(super) fn of_no_files(&self) -> Self {
        Self { file: Digest::of(&[self.file.0, [OF_NO_FILES; 32]].concat()), named: self.named.clone() }
    }
}

/// Of all together: what a file with a short secret holds could be found by its own digest.
impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Contents").field(&self.digest()).finish()
    }
}

/// Told apart from the digest of a file.
const OF_NO_FILES: u8 = 0xff;

fn name(path: &Path) -> Digest {
    Digest::of(path.as_os_str().as_encoded_bytes())
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
