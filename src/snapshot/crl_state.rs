//! The newest revocation list of each issuer, kept for the next start: a list that was rolled back
//! while the gate was down is told by it.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use super::{Snapshot, state_file};
use crate::config::{self, Config, Problem};
use crate::revocation::Mark;
use crate::tls::TrustSpec;

/// A thousand issuers have a quarter of it.
const MAX_BYTES: u64 = 1 << 20;

/// What earlier runs have seen. A file that is not there is no problem, or no gate would ever start;
/// but it is said.
///
/// # Errors
/// A file that is not what a gate wrote.
pub(super) fn read(config: &Config, spec: &TrustSpec, warnings: &mut Vec<Problem>) -> Result<Vec<Mark>, Vec<Problem>> {
    let Some(path) = &spec.crl_state else { return Ok(Vec::new()) };
    let problem = |what: &str, hint: &str| config.places.problem_with(path, what, hint);
    match content(path) {
        Ok(text) => config::parse_crl_state(&path.display().to_string(), &text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let what = "not there yet: the CRLs are believed to be the newest ones, and are noted in it";
            let hint =
                if spec.crl.is_empty() { "" } else { "after the first start this means that somebody removed it" };
            warnings.push(problem(what, hint));
            Ok(Vec::new())
        }
        Err(error) => Err(vec![problem(&error.to_string(), "put it back, or remove it and see that the CRLs are new")]),
    }
}

/// Notes the lists of a snapshot that is in force. What cannot be written is an error in the log: to
/// refuse a list for it would keep access from being taken away.
pub(super) fn write(snapshot: &Snapshot) {
    for trust in snapshot.trust.values() {
        let Some(path) = &trust.store.spec().crl_state else { continue };
        let text = config::crl_state_toml(&trust.crls.marks().cloned().collect::<Vec<_>>());
        if content(path).is_ok_and(|known| known == text) {
            continue;
        }
        if let Err(error) = state_file::replace(path, text.as_bytes()) {
            tracing::error!(
                target: "portcullis::reload",
                "{}: cannot be written ({error}): an older CRL would be believed at the next start", path.display()
            );
        }
    }
}

fn content(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(MAX_BYTES).read_to_string(&mut text)?;
    Ok(text)
}
