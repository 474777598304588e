//! Who connects: from files, or made for the run.

use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use p12_keystore::{KeyStore, Pkcs12ImportPolicy};
use parking_lot::Mutex;
use rcgen::{Issuer, KeyPair};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::super::pki::{LeafSpec, Name, PkiError, Validity};
use crate::clock::Clock;
use crate::runtime::{self, Flavor};

/// Certificates with their keys. None: the server is shown nothing.
#[derive(Clone, Debug, Default)]
pub struct Identities(Arc<[Arc<CertifiedKey>]>);

/// Identities that do not exist yet.
#[derive(Clone, Debug)]
pub struct Mint {
    /// How many.
    pub count: NonZeroUsize,
    /// The PEM file of the authority that signs them.
    pub ca: PathBuf,
    /// The PEM file of its key.
    pub ca_key: PathBuf,
}

/// Why there are no identities.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// No file in the folder is an identity.
    #[error("{0}: no NAME.pem with a NAME.key beside it, and no NAME.p12")]
    Empty(PathBuf),
    /// A file that cannot be read.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
    /// The authority cannot issue.
    #[error("{0}: cannot issue certificates with it: {1}")]
    Issue(PathBuf, Box<PkiError>),
    /// Not what it should be.
    #[error("{0}: {1}")]
    Unusable(PathBuf, String),
}

impl Identities {
    /// The one of a PEM chain and its PEM key.
    ///
    /// # Errors
    ///
    /// When a file is missing, is not PEM, or the key is not the certificate's.
    pub fn pem(chain: &Path, key: &Path) -> Result<Self, IdentityError> {
        Ok(Self([pem(chain, key)?].into()))
    }

    /// The one of a P12.
    ///
    /// # Errors
    ///
    /// When it cannot be read or opened.
    pub fn p12(file: &Path, password: &str) -> Result<Self, IdentityError> {
        Ok(Self([p12(file, password)?].into()))
    }

    /// All of a folder: `NAME.pem` with `NAME.key`, and `NAME.p12` with `password`, or else with the one in
    /// `NAME.p12.password`. In the order of their names. PEM files without a key are left out.
    ///
    /// # Errors
    ///
    /// When there is none, or any of them is not usable.
    pub fn folder(folder: &Path, password: Option<&str>) -> Result<Self, IdentityError> {
        let failed = |error| IdentityError::Io(folder.to_owned(), error);
        let entries = fs::read_dir(folder).map_err(failed)?;
        let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>().map_err(failed)?;
        paths.sort();
        let mut all = Vec::new();
        for path in paths {
            let key = path.with_extension("key");
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("pem") if key.exists() => all.push(pem(&path, &key)?),
                Some("p12") => match password {
                    Some(password) => all.push(p12(&path, password)?),
                    None => all.push(p12(&path, &read_password(&path.with_extension("p12.password"))?)?),
                },
                _ => {}
            }
        }
        if all.is_empty() { Err(IdentityError::Empty(folder.to_owned())) } else { Ok(Self(all.into())) }
    }

    /// New ones, all with one key: a key of its own for each would multiply the time it takes to start, and servers
    /// tell clients apart by certificate. `threads` share the work.
    ///
    /// # Errors
    ///
    /// When the authority's files are no authority, or there are no threads to be had.
    pub fn mint(mint: &Mint, threads: NonZeroUsize, clock: &Clock) -> Result<Self, IdentityError> {
        let Mint { count, ca, ca_key } = mint;
        let issue = |error: PkiError| IdentityError::Issue(ca.clone(), error.into());
        let text = Zeroizing::new(read_text(ca_key)?);
        let signer =
            KeyPair::from_pem(&text).map_err(|error| IdentityError::Issue(ca_key.clone(), Box::new(error.into())))?;
        let issuer = Issuer::from_ca_cert_pem(&read_text(ca)?, signer).map_err(|error| issue(error.into()))?;
        let key = Arc::new(KeyPair::generate().map_err(|error| issue(error.into()))?);
        let signing = any_supported_type(&PrivatePkcs8KeyDer::from(key.serialize_der()).into());
        let signing = signing.map_err(|error| unusable(ca_key, &error))?;
        let (issuer, now, threads_) = (Arc::new(issuer), clock.unix(), threads.get());
        let made: Arc<Mutex<Vec<_>>> = Arc::default();
        let (out, count) = (Arc::clone(&made), count.get());
        let workers = runtime::spawn(Flavor::ThreadPerCore, threads, move |seat| {
            let (out, issuer, key) = (Arc::clone(&out), Arc::clone(&issuer), Arc::clone(&key));
            async move {
                let share = (seat.0..count).step_by(threads_);
                let made = share.map(|number| Ok((number, client(number, now).sign_with(&key, &issuer, number)?)));
                let made = made.collect::<Result<Vec<_>, PkiError>>();
                out.lock().push(made);
            }
        });
        for worker in workers.map_err(|error| IdentityError::Io(ca.clone(), error))? {
            // A worker that is gone has left its share out, which the count below tells.
            let _ = worker.join();
        }
        let shares = std::mem::take(&mut *made.lock()).into_iter().collect::<Result<Vec<_>, _>>().map_err(issue)?;
        let mut all: Vec<_> = shares.into_iter().flatten().collect();
        all.sort_unstable_by_key(|(number, _)| *number);
        let certified =
            |(_, der): (usize, CertificateDer<'static>)| Arc::new(CertifiedKey::new(vec![der], Arc::clone(&signing)));
        if all.len() != count {
            return Err(IdentityError::Io(ca.clone(), io::Error::other("not all certificates could be made")));
        }
        Ok(Self(all.into_iter().map(certified).collect()))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the server is shown no certificate.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One of them, counted around.
    pub(super) fn nth(&self, number: usize) -> Option<&Arc<CertifiedKey>> {
        self.0.get(number.checked_rem(self.0.len())?)
    }
}

/// Whom the minted certificate with this number (from 0) names.
fn client(number: usize, now: Duration) -> LeafSpec {
    let names = vec![Name::Uri(format!("urn:portcullis:load:{number}"))];
    LeafSpec { names, ..LeafSpec::client(&format!("load-{number:06}"), Validity::current(now)) }
}

/// A password file's first line.
///
/// # Errors
///
/// When it cannot be read.
pub fn read_password(path: &Path) -> Result<Zeroizing<String>, IdentityError> {
    let text = Zeroizing::new(read_text(path)?);
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

fn read_text(path: &Path) -> Result<String, IdentityError> {
    fs::read_to_string(path).map_err(|error| IdentityError::Io(path.to_owned(), error))
}

fn pem(chain: &Path, key: &Path) -> Result<Arc<CertifiedKey>, IdentityError> {
    let certificates = CertificateDer::pem_slice_iter(read_text(chain)?.as_bytes()).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| unusable(chain, &error))?;
    let text = Zeroizing::new(read_text(key)?);
    let private = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| unusable(key, &error))?;
    certified((chain, certificates), (key, &private))
}

fn p12(file: &Path, password: &str) -> Result<Arc<CertifiedKey>, IdentityError> {
    let bytes = fs::read(file).map_err(|error| IdentityError::Io(file.to_owned(), error))?;
    let store = KeyStore::from_pkcs12(&bytes, password, Pkcs12ImportPolicy::Relaxed);
    let store = store.map_err(|error| unusable(file, &error))?;
    let (_, entry) = store.private_key_chain().ok_or_else(|| unusable(file, &"holds no key with a certificate"))?;
    let chain = entry.certs().iter().map(|certificate| CertificateDer::from(certificate.as_der().to_vec())).collect();
    let key = PrivateKeyDer::Pkcs8(entry.key().as_der().to_vec().into());
    certified((file, chain), (file, &key))
}

fn certified(
    (chain_file, chain): (&Path, Vec<CertificateDer<'static>>),
    (key_file, key): (&Path, &PrivateKeyDer<'static>),
) -> Result<Arc<CertifiedKey>, IdentityError> {
    if chain.is_empty() {
        return Err(unusable(chain_file, &"has no certificate in it"));
    }
    let key: Arc<dyn SigningKey> = any_supported_type(key).map_err(|error| unusable(key_file, &error))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(Arc::new(certified)),
        Err(_) => Err(unusable(key_file, &"is not the key of the certificate")),
    }
}

fn unusable(path: &Path, what: &dyn std::fmt::Display) -> IdentityError {
    IdentityError::Unusable(path.to_owned(), what.to_string())
}
