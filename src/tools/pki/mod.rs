//! A development PKI: a CA, a server, a good client, and clients that must not get in.
//!
//! The keys lie about unencrypted and the P12's password is in this file: nothing made here may ever
//! be trusted outside a developer's machine.

mod crl;
mod files;
mod mint;
mod p12;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use self::crl::RevocationSpec;
pub use self::mint::{Authority, Issued, KeyKind, LeafSpec, Name, Usage, Validity};

use self::files::{Directory, Existing};
use crate::clock::Clock;

/// The password of `client.p12`, which is also written beside it.
pub const P12_PASSWORD: &str = "portcullis";

/// What happens to files of the set that are already there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// Nothing is ever overwritten.
    Keep,
    /// The whole set is made anew.
    Overwrite,
}

/// Whether [`make`] wrote anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every file is new.
    Made,
    /// A complete set that is still valid was there; nothing was written.
    Reused,
}

/// What [`make`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Where the set is.
    pub directory: PathBuf,
    /// Whether it is new.
    pub outcome: Outcome,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory = self.directory.display();
        match self.outcome {
            Outcome::Made => write!(f, "made a development PKI in {directory}"),
            Outcome::Reused => write!(f, "reusing the development PKI in {directory} (complete and still valid)"),
        }
    }
}

/// Why a PKI, a certificate or a P12 could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// Other users may look into the directory.
    #[error("{0} is open to other users: run `chmod 700` on it first")]
    Exposed(PathBuf),
    /// Some files of the set are there and some are not.
    #[error("{directory} has an incomplete set, without {}: --force makes it anew", list(.missing))]
    Incomplete {
        /// Where.
        directory: PathBuf,
        /// The names that are not there.
        missing: Vec<&'static str>,
    },
    /// A file could not be read or written.
    #[error("{path}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The certificate generator refused.
    #[error("cannot make a certificate")]
    Mint(#[from] rcgen::Error),
    /// A time before 1970 or after 9999.
    #[error("a certificate cannot carry this time")]
    OutOfTime,
    /// The P12 writer refused.
    #[error("cannot make a P12")]
    P12(#[from] p12_keystore::error::Error),
    /// Certificates of the set are out of their time or unreadable.
    #[error("{directory} has certificates that are not valid now: {}: --force makes the set anew", list(.names))]
    Stale {
        /// Where.
        directory: PathBuf,
        /// The names of the files.
        names: Vec<&'static str>,
    },
}

/// Makes the set in `directory` (`certs/dev`), or finds it there complete and valid and leaves it alone.
/// The directory and every file in it are for their owner only, from the moment they exist.
///
/// # Errors
///
/// [`PkiError::Incomplete`] and [`PkiError::Stale`] with [`Force::Keep`] when what is there cannot be used;
/// [`PkiError::Exposed`] if the directory is open to other users; [`PkiError::Io`] as it comes.
pub fn make(directory: &Path, force: Force, clock: &Clock) -> Result<Report, PkiError> {
    let report = |outcome| Report { directory: directory.to_owned(), outcome };
    let target = Directory::open(directory)?;
    if force == Force::Keep {
        match target.existing(clock.unix())? {
            Existing::Nothing => {}
            Existing::Usable => return Ok(report(Outcome::Reused)),
        }
    }
    let set = mint_set(clock.unix())?;
    target.write(&set, force)?;
    Ok(report(Outcome::Made))
}

/// One file of the set, in memory.
struct File {
    name: &'static str,
    content: Vec<u8>,
}

fn mint_set(now: Duration) -> Result<Vec<File>, PkiError> {
    let valid = Validity::current(now);
    let ca = Authority::within("Portcullis Demo CA", KeyKind::EcdsaP256, valid)?;
    let foreign_ca = Authority::within("Foreign Demo CA", KeyKind::EcdsaP256, valid)?;
    let server = ca.issue(&LeafSpec::server("localhost", server_names(), valid))?;
    let client = ca.issue(&device(valid))?;
    let late = ca.issue(&device(Validity::over(now)))?;
    // Says the same as the good one: only the chain tells them apart.
    let foreign = foreign_ca.issue(&device(valid))?;

    let text = |name, content: &str| File { name, content: content.as_bytes().to_vec() };
    Ok(vec![
        text("ca.key", &ca.key_pem()),
        text("server.key", &server.key_pem()),
        text("server.pem", &server.pem()),
        text("client.key", &client.key_pem()),
        text("client.pem", &client.pem()),
        File { name: "client.p12", content: client.p12(DEVICE, P12_PASSWORD)? },
        text("client.p12.password", P12_PASSWORD),
        text("expired.key", &late.key_pem()),
        text("expired.pem", &late.pem()),
        text("foreign-ca.key", &foreign_ca.key_pem()),
        text("foreign-ca.pem", &foreign_ca.pem()),
        text("foreign.key", &foreign.key_pem()),
        text("foreign.pem", &foreign.pem()),
        text(LAST, &ca.pem()),
    ])
}

fn device(validity: Validity) -> LeafSpec {
    LeafSpec {
        organization: Some("Portcullis Demo".to_owned()),
        names: vec![Name::Uri("spiffe://portcullis.example/app/demo/device/0001".to_owned())],
        ..LeafSpec::client(DEVICE, validity)
    }
}

fn server_names() -> Vec<Name> {
    vec![
        Name::Dns("localhost".to_owned()),
        Name::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        Name::Ip(IpAddr::V6(Ipv6Addr::LOCALHOST)),
    ]
}

fn list(names: &[&str]) -> String {
    names.join(", ")
}

const DEVICE: &str = "demo-device-0001";

/// Written last, and removed first when a set is overwritten: without it a set is incomplete, so a
/// run that was cut short is never mistaken for a whole one.
const LAST: &str = "ca.pem";

/// Every file of the set.
const NAMES: [&str; 14] = [
    "ca.key",
    "server.key",
    "server.pem",
    "client.key",
    "client.pem",
    "client.p12",
    "client.p12.password",
    "expired.key",
    "expired.pem",
    "foreign-ca.key",
    "foreign-ca.pem",
    "foreign.key",
    "foreign.pem",
    LAST,
];

/// The certificates that must be valid for a set to be usable (`expired.pem` never is).
const CURRENT: [&str; 5] = ["server.pem", "client.pem", "foreign-ca.pem", "foreign.pem", LAST];

#[cfg(test)]
mod tests;
