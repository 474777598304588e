//! From a path to a configuration.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::{Config, Problem, parse};
use crate::identity::Digest;

/// A configuration and what tells whether its file has changed.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the file says.
    pub config: Config,
    /// The file, as it was read.
    pub text: Box<str>,
    /// SHA-256 of the file.
    pub digest: Digest,
}

/// Reads and checks the file at `path`. The files it names are not opened.
///
/// # Errors
/// Every problem of the file; or one that names it, if it cannot be read, is not UTF-8 or is
/// larger than 4 MiB.
pub fn load(path: &Path) -> Result<Loaded, Vec<Problem>> {
    let file = path.display().to_string();
    let refuse = |what: String| vec![Problem::of_file(&file, what)];
    let bytes = read(path).map_err(|error| refuse(format!("cannot be read: {error}")))?;
    if bytes.len() > MAX_BYTES {
        return Err(refuse("larger than 4 MiB".to_owned()));
    }
    let text = str::from_utf8(&bytes).map_err(|error| refuse(format!("not UTF-8: byte {}", error.valid_up_to())))?;
    let mut digest = [0; 32];
    digest.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes).as_ref());
    Ok(Loaded { config: parse(&file, text)?, text: text.into(), digest: Digest(digest) })
}

/// The bytes of the file; one more than may be, at most, whatever the file is.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Ten thousand routes are about 2 MiB.
const MAX_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn message(path: &Path) -> String {
        let problems = load(path).expect_err("a problem");
        assert_eq!(problems.len(), 1);
        problems[0].to_string()
    }

    #[test]
    fn a_file_that_cannot_be_read_is_a_problem_that_names_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let missing = dir.path().join("missing.toml");
        assert!(message(&missing).starts_with(&format!("{}: cannot be read: ", missing.display())));
        assert!(message(dir.path()).contains("cannot be read"));
    }

    #[test]
    fn a_file_that_is_not_utf_8_or_too_large_is_a_problem() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(b"# \xff").expect("written");
        assert!(message(file.path()).ends_with(": not UTF-8: byte 2"));
        file.write_all(&vec![b' '; MAX_BYTES]).expect("written");
        assert!(message(file.path()).ends_with(": larger than 4 MiB"));
    }

    #[test]
    fn an_endless_file_is_read_to_the_bound_only() {
        assert!(message(Path::new("/dev/zero")).ends_with(": larger than 4 MiB"));
    }

    #[test]
    fn relative_paths_begin_beside_the_file_and_the_digest_is_of_its_bytes() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("portcullis.toml");
        std::fs::write(&path, super::super::example_toml()).expect("written");
        let loaded = load(&path).expect("no problem");
        assert_eq!(loaded.config.hosts[0].certificates[0].chain, dir.path().join("certs/api.pem"));
        assert_eq!(loaded.config.trust[0].anchors[0].file, dir.path().join("certs/mobile-ca.pem"));
        assert_eq!(loaded.digest, load(&path).expect("no problem").digest);
        std::fs::write(&path, format!("{}\n", super::super::example_toml())).expect("written");
        assert_ne!(loaded.digest, load(&path).expect("no problem").digest);
    }
}
