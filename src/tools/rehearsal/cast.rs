//! Who plays: certificates of a CA that was made for it, and the folder in which that CA lies.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;

use super::super::pki::{Authority, KeyKind, LeafSpec, PkiError, Validity};
use super::imitate::Wish;
use crate::identity::Digest;

/// Somebody with a certificate.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) label: String,
    pub(super) key: Arc<CertifiedKey>,
    /// What the admin listener calls it.
    pub(super) id: String,
}

/// Where certificates come from.
#[derive(Debug)]
pub(super) struct Office {
    pub(super) ca: Authority,
    name: String,
    wish: Wish,
    validity: Validity,
}

/// A folder that only its owner can look into; gone with this.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Office {
    pub(super) fn new(wish: &Wish, now: Duration) -> Result<Self, PkiError> {
        let name = wish.issuer("Portcullis rehearsal CA");
        let ca = Authority::new(&name, KeyKind::EcdsaP256)?;
        Ok(Self { ca, name, wish: wish.clone(), validity: Validity::current(now) })
    }

    /// A certificate that the gate lets in.
    pub(super) fn person(&self, label: &str) -> Result<Person, PkiError> {
        self.signed(&self.ca, label)
    }

    /// Certificates that nobody with a CA would make: signed by one of the same name, and by one of another.
    pub(super) fn forged(&self) -> Result<[Person; 2], PkiError> {
        let [same, other] = [&*self.name, "Somebody's CA"].map(|name| Authority::new(name, KeyKind::EcdsaP256));
        Ok([self.signed(&same?, "rehearsal-forged")?, self.signed(&other?, "rehearsal-foreign")?])
    }

    fn signed(&self, ca: &Authority, label: &str) -> Result<Person, PkiError> {
        let spec: LeafSpec = self.wish.certificate(label, self.validity);
        let issued = ca.issue(&spec)?;
        let key = any_supported_type(&issued.key_der()).map_err(|_| rcgen::Error::CouldNotParseKeyPair)?;
        let id = Digest::of(issued.cert_der().as_ref()).to_string();
        Ok(Person { label: label.to_owned(), key: Arc::new(CertifiedKey::new(issued.chain_der(), key)), id })
    }
}

impl Person {
    /// This one's certificate with somebody else's key.
    pub(super) fn without_its_key(&self, other: &Self) -> Arc<CertifiedKey> {
        Arc::new(CertifiedKey::new(self.key.cert.clone(), Arc::clone(&other.key.key)))
    }
}

impl Folder {
    pub(super) fn new() -> io::Result<Self> {
        let mut chance = [0; 8];
        aws_lc_rs::rand::fill(&mut chance).map_err(io::Error::other)?;
        let name = format!("portcullis-rehearsal-{:016x}", u64::from_be_bytes(chance));
        // Whole: in a file in it, a part of a path would begin there (see `config`), and not where this began.
        let path = std::path::absolute(std::env::temp_dir())?.join(name);
        // Fails if it is there, whosever it is.
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// A new file for its owner only.
    pub(super) fn write(&self, name: &str, content: &[u8]) -> io::Result<PathBuf> {
        let path = self.0.join(name);
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?.write_all(content)?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left of it is for its owner only, and its CA is trusted by nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_folder_is_its_owners_and_goes_with_the_rehearsal() {
        let folder = Folder::new().unwrap();
        let file = folder.write("a.key", b"secret").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(folder.path()), mode(&file)), (0o700, 0o600));
        assert!(folder.write("a.key", b"again").is_err());
        let path = folder.path().to_owned();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn everybody_has_a_key_of_his_own_and_a_thief_has_not_the_victims() {
        let office = Office::new(&Wish::default(), Duration::from_secs(1_700_000_000)).unwrap();
        let (a, b) = (office.person("a").unwrap(), office.person("b").unwrap());
        assert!(a.id != b.id && a.id.len() == 64);
        assert!(a.key.keys_match().is_ok());
        assert!(a.without_its_key(&b).keys_match().is_err());
        assert!(office.forged().unwrap().iter().all(|forged| forged.key.keys_match().is_ok()));
    }
}
