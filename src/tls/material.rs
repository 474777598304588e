//! Files on disk to chains, keys and anchors; every error names the file and what to do.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::spec::AnchorSpec;
use crate::identity::{self, AuthorityFacts, Digest};

/// Longest file of certificates or keys that is read. A bundle of every public CA has 220 KiB.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// A file that cannot serve as what the configuration says it is.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}", path.display())]
pub struct MaterialError {
    /// The file.
    pub path: Box<Path>,
    /// What is wrong with it.
    pub what: Box<str>,
    /// What to do about it.
    pub hint: &'static str,
}

impl MaterialError {
    pub(super) fn new(path: &Path, what: impl Into<String>, hint: &'static str) -> Self {
        Self { path: path.into(), what: what.into().into(), hint }
    }
}

/// The anchors of one trust store.
#[derive(Clone, Debug)]
pub struct Anchors {
    /// What chains are verified against.
    pub roots: Arc<RootCertStore>,
    /// The anchors as they stand in the files.
    pub certificates: Vec<CertificateDer<'static>>,
    /// What is told about them, in the same order.
    pub told: Vec<Anchor>,
}

/// What is told about an anchor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// SHA-256 over its subject and key: what chains are known by.
    pub id: Digest,
    /// RFC 4514.
    pub subject: Box<str>,
    /// Its notBefore, Unix seconds.
    pub not_before: i64,
    /// Its notAfter, Unix seconds.
    pub not_after: i64,
    /// Until when (inclusive) chains to it are welcome: notAfter, or earlier if the file says so.
    pub ends: i64,
}

impl Anchor {
    /// Whether chains to it are welcome at `unix` seconds.
    #[must_use]
    pub fn lives(&self, unix: i64) -> bool {
        (self.not_before..=self.ends).contains(&unix)
    }
}

/// What [`Anchor::id`] is for this subject (the contents of its Name) and key.
pub(super) fn anchor_id(subject: &[u8], key: &[u8]) -> Digest {
    // Two parts of unknown length: each hashed by itself, so that they cannot run into each other.
    let parts = [Digest::of(subject).0, Digest::of(key).0].concat();
    Digest::of(&parts)
}

/// Reads the PEM anchors of a trust store, and tells `asleep` of those that nobody gets in by at
/// `unix` seconds: over, or not begun.
///
/// One of those is no error. Time alone must not turn a configuration that runs into one that is
/// refused, for then nothing else could be taken away either.
///
/// # Errors
/// A file that is missing, unreadable, empty, garbage, or holds a certificate that is not a usable
/// anchor, or stands twice with two ends: a trust store is complete or not there.
pub fn anchors(
    specs: &[AnchorSpec],
    unix: i64,
    asleep: &mut Vec<MaterialError>,
) -> Result<Anchors, Vec<MaterialError>> {
    let (mut roots, mut all, mut told, mut errors) = (RootCertStore::empty(), Vec::new(), Vec::new(), Vec::new());
    for spec in specs {
        let path = &spec.file;
        match certificates(path) {
            Ok(found) => {
                for der in found {
                    let anchor = anchor(spec, &der).and_then(|facts| add(&mut roots, spec, &der, facts));
                    match anchor.and_then(|anchor| one_end(path, &der, anchor, &all, &told)) {
                        Ok(anchor) => {
                            asleep.extend(sleeps(path, &anchor, unix));
                            all.push(der);
                            told.push(anchor);
                        }
                        Err(error) => errors.push(error),
                    }
                }
            }
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(Anchors { roots: Arc::new(roots), certificates: all, told }) } else { Err(errors) }
}

/// Why nobody gets in by this anchor now.
fn sleeps(path: &Path, anchor: &Anchor, unix: i64) -> Option<MaterialError> {
    let Anchor { subject, not_before, not_after, ends, .. } = anchor;
    let (what, hint) = if unix < *not_before {
        let date = identity::date(*not_before);
        (format!("{subject} is not valid before {date}"), "check this machine's clock, or wait")
    } else if unix > *not_after {
        let date = identity::date(*not_after);
        (format!("{subject} expired on {date}"), "remove the expired CA from the file, or renew it")
    } else if unix > *ends {
        let date = identity::date(*ends);
        (format!("{subject} was trusted until {date}"), "remove the CA from `anchors`, or give it a later `not_after`")
    } else {
        return None;
    };
    Some(MaterialError::new(path, what, hint))
}

fn add(
    roots: &mut RootCertStore,
    spec: &AnchorSpec,
    der: &CertificateDer<'static>,
    facts: AuthorityFacts,
) -> Result<Anchor, MaterialError> {
    let unusable = |error: String| {
        let what = format!("not usable as an anchor: {error}");
        MaterialError::new(&spec.file, what, "give the CA's own certificate")
    };
    roots.add(der.clone()).map_err(|error| unusable(error.to_string()))?;
    let root = roots.roots.last().ok_or_else(|| unusable("it was not taken".to_owned()))?;
    Ok(Anchor {
        id: anchor_id(&root.subject, &root.subject_public_key_info),
        subject: facts.subject,
        not_before: facts.not_before,
        not_after: facts.not_after,
        ends: spec.not_after.map_or(facts.not_after, |end| end.min(facts.not_after)),
    })
}

/// One certificate with two ends would be trusted until the later one, which nobody reads out of the file.
fn one_end(
    path: &Path,
    der: &CertificateDer<'static>,
    anchor: Anchor,
    all: &[CertificateDer<'static>],
    told: &[Anchor],
) -> Result<Anchor, MaterialError> {
    if all.iter().zip(told).any(|(known, told)| known == der && told.ends != anchor.ends) {
        let what = format!("{} stands twice, and ends at different times", anchor.subject);
        return Err(MaterialError::new(path, what, "name it once, with the `not_after` that counts"));
    }
    Ok(anchor)
}

fn anchor(spec: &AnchorSpec, der: &CertificateDer<'static>) -> Result<AuthorityFacts, MaterialError> {
    let path = &spec.file;
    let facts = identity::authority(der).map_err(|reject| {
        MaterialError::new(path, format!("{}", reject.detail), "give a PEM file of CA certificates")
    })?;
    if !facts.is_authority {
        let what = format!("{} is not a CA certificate (basicConstraints)", facts.subject);
        return Err(MaterialError::new(
            path,
            what,
            "anchors are CA certificates; to let in one client, use a fingerprint matcher",
        ));
    }
    Ok(facts)
}

/// Reads a PEM chain and its key.
///
/// # Errors
/// When a file is missing, unreadable, empty or garbage, the key's type is not supported, or the
/// key does not belong to the first certificate.
pub(super) fn certified_key(
    provider: &CryptoProvider,
    chain: &Path,
    key: &Path,
) -> Result<CertifiedKey, MaterialError> {
    let certificates = certificates(chain)?;
    let private = private_key(key)?;
    let signer = provider.key_provider.load_private_key(private).map_err(|error| {
        MaterialError::new(
            key,
            format!("key not usable: {error}"),
            "keys are RSA of 2048 bits or more, ECDSA P-256/P-384/P-521 or Ed25519",
        )
    })?;
    let certified = CertifiedKey::new(certificates, signer);
    certified.keys_match().map_err(|error| {
        let what = format!("the key does not belong to the first certificate of {} ({error})", chain.display());
        MaterialError::new(key, what, "the chain file starts with the leaf that this key is for")
    })?;
    Ok(certified)
}

/// Reads every certificate of a PEM file.
///
/// # Errors
/// When the file is missing, unreadable, too large, no PEM, or holds no certificate.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, MaterialError> {
    let bytes = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| {
        MaterialError::new(
            path,
            format!("not a PEM file of certificates: {error}"),
            "certificates start with -----BEGIN CERTIFICATE-----",
        )
    })?;
    if found.is_empty() {
        return Err(MaterialError::new(
            path,
            "no certificate in it",
            "certificates start with -----BEGIN CERTIFICATE-----",
        ));
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, MaterialError> {
    let bytes = zeroize::Zeroizing::new(read(path)?);
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        // The parser's message speaks of structure only; it never repeats the file's content.
        MaterialError::new(
            path,
            format!("no private key in it: {error}"),
            "give an unencrypted PEM key (PKCS#8, SEC1 or PKCS#1)",
        )
    })
}

fn read(path: &Path) -> Result<Vec<u8>, MaterialError> {
    read_at_most(path, MAX_FILE_BYTES)
}

pub(super) fn read_at_most(path: &Path, most: u64) -> Result<Vec<u8>, MaterialError> {
    let fail = |error: io::Error| {
        MaterialError::new(
            path,
            error.to_string(),
            "check the path (relative paths start at the configuration file's folder) and its permissions",
        )
    };
    let too_large = || MaterialError::new(path, format!("larger than {most} bytes"), "is this the right file?");
    let file = File::open(path).map_err(fail)?;
    // What says so itself is not read at all; a pipe, which says nothing, only so far.
    if file.metadata().map_err(fail)?.len() > most {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(fail)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > most { Err(too_large()) } else { Ok(bytes) }
}
