//! The files that TLS towards a group needs, read once; and what may be wrong with them.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use zeroize::Zeroizing;

use super::spec::TlsSpec;

/// Why an upstream cannot be built: which, which file, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildError {
    /// The upstream's name.
    pub upstream: Box<str>,
    /// The file at fault, if one is.
    pub file: Option<PathBuf>,
    /// What is wrong and what to do about it.
    pub problem: Box<str>,
}

/// A file and what is in it.
pub(super) struct File {
    pub(super) path: PathBuf,
    /// Wiped when dropped: it may hold a private key.
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

/// The files of one group. What is compared on reload and what is parsed are the same bytes.
#[derive(Default)]
pub(super) struct Files {
    pub(super) anchors: Vec<File>,
    /// Certificate chain and private key.
    pub(super) certificate: Option<(File, File)>,
}

/// What is wrong with a file.
pub(super) type Problem = (PathBuf, String);

impl Files {
    /// Reads all files that `spec` names.
    ///
    /// # Errors
    /// Every file that is missing, unreadable or empty.
    pub(super) fn read(spec: &TlsSpec) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut read = |path: &Path| File::read(path).map_err(|problem| problems.push(problem)).ok();
        let anchors: Vec<Option<File>> = spec.anchors.iter().map(|path| read(path)).collect();
        let certificate = spec.certificate.as_ref().map(|files| (read(&files.chain), read(&files.key)));
        if !problems.is_empty() {
            return Err(problems);
        }
        let certificate = certificate.and_then(|(chain, key)| chain.zip(key));
        Ok(Self { anchors: anchors.into_iter().flatten().collect(), certificate })
    }

    /// Differs when any byte of any file differs.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut context = Context::new(&SHA256);
        let certificate = self.certificate.iter().flat_map(|(chain, key)| [chain, key]);
        for file in self.anchors.iter().chain(certificate) {
            // The length first, so that no byte can move from one file to the next unseen.
            context.update(&u64::try_from(file.bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(&file.bytes);
        }
        context.finish().as_ref().try_into().unwrap_or_default()
    }
}

impl File {
    fn read(path: &Path) -> Result<Self, Problem> {
        let bytes = std::fs::read(path).map(Zeroizing::new).map_err(|error| {
            let problem = match error.kind() {
                io::ErrorKind::NotFound => "no such file: correct the path or put the file there".to_owned(),
                io::ErrorKind::PermissionDenied => "may not be read: give the gate's user read permission".to_owned(),
                _ => format!("cannot be read ({error}): correct the path or the file"),
            };
            (path.to_owned(), problem)
        })?;
        if bytes.is_empty() {
            return Err((path.to_owned(), "is empty: put PEM into it".to_owned()));
        }
        Ok(Self { path: path.to_owned(), bytes })
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "upstream {:?}: ", self.upstream)?;
        match &self.file {
            Some(file) => write!(f, "{}: {}", file.display(), self.problem),
            None => f.write_str(&self.problem),
        }
    }
}

impl std::error::Error for BuildError {}
