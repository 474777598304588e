//! Revocation lists from disk: read, parsed, their signatures verified, once.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, SignatureVerificationAlgorithm};

use super::material::{Anchors, MaterialError, certificates, read_at_most};
use super::spec::TrustSpec;
use crate::identity;
use crate::identity::Digest;
use crate::revocation::{Crl, Mark, Unverified};

/// Longest file of a revocation list: ten million entries of 40 bytes, which no CA has.
const MAX_CRL_BYTES: u64 = 512 * 1024 * 1024;
/// How far in the future a list may say it was issued: clocks differ.
const CLOCK_SKEW_SECONDS: i64 = 300;

/// The lists of one trust store, by the digest of the file that they came from.
#[derive(Clone, Debug, Default)]
pub struct LoadedCrls {
    files: HashMap<Digest, Vec<Arc<Crl>>>,
    /// How far each issuer's lists have come, in this run and, where that is kept, before.
    marks: HashMap<Digest, Mark>,
}

impl LoadedCrls {
    /// One list an issuer: the newest.
    #[must_use]
    pub fn newest(&self) -> Vec<Arc<Crl>> {
        let mut newest: HashMap<&[u8], &Arc<Crl>> = HashMap::new();
        for crl in self.files.values().flatten() {
            newest
                .entry(&crl.issuer)
                .and_modify(|known| {
                    if Mark::of(crl).reaches(&Mark::of(known)) {
                        *known = crl;
                    }
                })
                .or_insert(crl);
        }
        newest.into_values().map(Arc::clone).collect()
    }

    /// How far each issuer's lists have come: no list below its mark is loaded.
    pub fn marks(&self) -> impl Iterator<Item = &Mark> {
        self.marks.values()
    }

    /// Of two marks of one issuer the higher one counts.
    fn note(&mut self, mark: Mark) {
        match self.marks.get_mut(&mark.issuer) {
            Some(known) if !mark.reaches(known) => {}
            Some(known) => *known = mark,
            None => {
                self.marks.insert(mark.issuer, mark);
            }
        }
    }
}

/// Loads the lists of a trust store. A file that `before` has, byte for byte, is not read twice; `kept`
/// are marks of earlier runs.
///
/// # Errors
/// A file that is missing, garbage, truncated, too large, not signed by an anchor or one of
/// `crl_issuers`, issued in the future, or older than an earlier list of the same issuer.
pub fn revocation_lists(
    spec: &TrustSpec,
    anchors: &Anchors,
    algorithms: &WebPkiSupportedAlgorithms,
    unix: i64,
    before: Option<&LoadedCrls>,
    kept: Vec<Mark>,
) -> Result<LoadedCrls, Vec<MaterialError>> {
    let mut errors = Vec::new();
    let signers = signers(spec, anchors, &mut errors);
    let mut loaded = LoadedCrls::default();
    for path in &spec.crl {
        let files = match files(path) {
            Ok(files) => files,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        for file in files {
            match load(path, &file, &signers, algorithms, unix, before) {
                Ok((digest, crls)) => {
                    loaded.files.insert(digest, crls);
                }
                Err(error) => errors.push(error),
            }
        }
    }
    for mark in before.into_iter().flat_map(LoadedCrls::marks).cloned().chain(kept) {
        loaded.note(mark);
    }
    errors.extend(regression(spec, &signers, &loaded));
    for crl in loaded.newest() {
        loaded.note(Mark::of(&crl));
    }
    if errors.is_empty() { Ok(loaded) } else { Err(errors) }
}

/// A folder's files in the order of their names; a file is itself. Hidden files (editors' and
/// Kubernetes' own) are passed over.
fn files(path: &Path) -> Result<Vec<PathBuf>, MaterialError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let fail = |error: std::io::Error| MaterialError::new(path, error.to_string(), "check the folder's permissions");
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !hidden && entry.path().is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

fn load(
    named: &Path,
    file: &Path,
    signers: &[Signer],
    algorithms: &WebPkiSupportedAlgorithms,
    unix: i64,
    before: Option<&LoadedCrls>,
) -> Result<(Digest, Vec<Arc<Crl>>), MaterialError> {
    let wrong = |what: String| {
        let what = if named == file { what } else { format!("{}: {what}", file.display()) };
        MaterialError::new(named, what, "give the CA's current, complete CRL (PEM or DER)")
    };
    let bytes = read_at_most(file, MAX_CRL_BYTES)?;
    let digest = Digest::of(&bytes);
    if let Some(known) = before.and_then(|before| before.files.get(&digest)) {
        return Ok((digest, known.clone()));
    }
    let lists = ders(bytes).map_err(&wrong)?;
    let verified = lists.iter().map(|der| verify(der, signers, algorithms, unix).map(Arc::new));
    Ok((digest, verified.collect::<Result<_, _>>().map_err(wrong)?))
}

/// The lists in a file: DER as it stands, or every list of a PEM file.
fn ders(bytes: Vec<u8>) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    const SEQUENCE: u8 = 0x30;
    if bytes.first() == Some(&SEQUENCE) {
        return Ok(vec![CertificateRevocationListDer::from(bytes)]);
    }
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
    match lists {
        Ok(lists) if lists.is_empty() => Err("no CRL in it".to_owned()),
        Ok(lists) => Ok(lists),
        Err(error) => Err(format!("neither DER nor PEM: {error}")),
    }
}

fn verify(der: &[u8], signers: &[Signer], algorithms: &WebPkiSupportedAlgorithms, unix: i64) -> Result<Crl, String> {
    let list = Unverified::parse(der).map_err(|error| error.to_string())?;
    let mut named = signers.iter().filter(|signer| *signer.subject == *list.issuer()).peekable();
    if named.peek().is_none() {
        return Err("its issuer is neither an anchor nor in crl_issuers".to_owned());
    }
    if !named.clone().any(|signer| signer.signs_crls) {
        return Err("its issuer's certificate may not sign CRLs (keyUsage without cRLSign)".to_owned());
    }
    if !named.any(|signer| signer.signs_crls && signer.signed(&list, algorithms)) {
        return Err("its signature is not its issuer's".to_owned());
    }
    let crl = list.verified();
    if crl.this_update > unix.saturating_add(CLOCK_SKEW_SECONDS) {
        return Err(format!("it was issued in the future ({})", identity::date(crl.this_update)));
    }
    Ok(crl)
}

/// An older list never takes the place of a newer one, and none never that of one. What an authority
/// said that nobody here trusts any more may be forgotten with it.
fn regression(spec: &TrustSpec, signers: &[Signer], loaded: &LoadedCrls) -> Option<MaterialError> {
    let now: Vec<_> = loaded.newest().iter().map(|crl| Mark::of(crl)).collect();
    let path = spec.crl.first()?;
    let trusted = |mark: &&Mark| signers.iter().any(|signer| Digest::of(&signer.subject) == mark.issuer);
    loaded.marks().filter(trusted).find_map(|mark| {
        let issuer = &mark.issuer_text;
        let what = match now.iter().find(|now| now.issuer == mark.issuer) {
            Some(now) if now.reaches(mark) => return None,
            Some(_) => format!("the CRL of {issuer} is older than the one that is in force, or was"),
            None => format!("the CRL of {issuer} is gone"),
        };
        let hint = if spec.crl_state.is_some() {
            "put the newest CRL back; to do without it, stop, take its issuer out of the `crl_state` file, and start"
        } else {
            "put the newest CRL back; to do without it, restart"
        };
        Some(MaterialError::new(path, what, hint))
    })
}

/// A certificate that may have signed a list.
struct Signer {
    /// DER Name.
    subject: Vec<u8>,
    /// Contents of the key's AlgorithmIdentifier.
    algorithm: Vec<u8>,
    /// The key's bits.
    key: Vec<u8>,
    signs_crls: bool,
}

impl Signer {
    fn signed(&self, list: &Unverified<'_>, algorithms: &WebPkiSupportedAlgorithms) -> bool {
        let fits = |algorithm: &&&dyn SignatureVerificationAlgorithm| {
            algorithm.public_key_alg_id().as_ref() == self.algorithm
                && algorithm.signature_alg_id().as_ref() == list.algorithm
        };
        let mut fitting = algorithms.all.iter().filter(fits);
        fitting.any(|algorithm| algorithm.verify_signature(&self.key, list.signed, list.signature).is_ok())
    }
}

fn signers(spec: &TrustSpec, anchors: &Anchors, errors: &mut Vec<MaterialError>) -> Vec<Signer> {
    let mut signers: Vec<_> = anchors.certificates.iter().filter_map(|der| signer(der).ok()).collect();
    for path in &spec.crl_issuers {
        match certificates(path).and_then(|all| {
            all.iter().map(|der| signer(der).map_err(|what| bad(path, what))).collect::<Result<Vec<_>, _>>()
        }) {
            Ok(more) => signers.extend(more),
            Err(error) => errors.push(error),
        }
    }
    signers
}

fn bad(path: &Path, what: String) -> MaterialError {
    MaterialError::new(path, what, "give a PEM file of CA certificates")
}

fn signer(der: &CertificateDer<'_>) -> Result<Signer, String> {
    let facts = identity::authority(der).map_err(|reject| reject.to_string())?;
    let key = identity::key_parts(der).map_err(|reject| reject.to_string())?;
    Ok(Signer { subject: key.subject, algorithm: key.algorithm, key: key.bits, signs_crls: facts.signs_crls })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{
        BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod,
        KeyPair, KeyUsagePurpose, SerialNumber,
    };

    use super::*;
    use crate::tls::provider;

    const UNIX: u64 = 1_700_000_000;

    fn params(usages: Vec<KeyUsagePurpose>) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = usages;
        params
    }

    /// A list in the name of `CA`, signed with this key, whatever its certificate says.
    fn list(key: &KeyPair) -> Vec<u8> {
        let params = params(vec![KeyUsagePurpose::CrlSign]);
        let issuer = Issuer::from_params(&params, key);
        // rcgen's own type of time is not a dependency of ours: counted from a day that it makes.
        let now = rcgen::date_time_ymd(2023, 11, 14);
        let list = CertificateRevocationListParams {
            this_update: now,
            next_update: now + Duration::from_hours(24),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&issuer).unwrap().der().to_vec()
    }

    fn verified(certificate: &rcgen::Certificate, list: &[u8]) -> Result<Crl, String> {
        let signers = [signer(certificate.der()).unwrap()];
        verify(list, &signers, &provider().signature_verification_algorithms, i64::try_from(UNIX).unwrap())
    }

    #[test]
    fn only_a_key_whose_certificate_may_sign_lists_signs_one() {
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        for (usages, signing, said) in [
            (vec![KeyUsagePurpose::CrlSign], &key, None),
            (Vec::new(), &key, None),
            (vec![KeyUsagePurpose::KeyCertSign], &key, Some("without cRLSign")),
            (vec![KeyUsagePurpose::CrlSign], &other, Some("its signature is not its issuer's")),
        ] {
            let certificate = params(usages.clone()).self_signed(&key).unwrap();
            let outcome = verified(&certificate, &list(signing));
            match said {
                None => assert!(outcome.is_ok(), "{usages:?}: {outcome:?}"),
                Some(said) => assert!(outcome.unwrap_err().contains(said), "{usages:?}"),
            }
        }
    }

    #[test]
    fn a_list_with_any_octet_changed_is_no_list() {
        let key = KeyPair::generate().unwrap();
        let (certificate, list) = (params(Vec::new()).self_signed(&key).unwrap(), list(&key));
        for at in 0..list.len() {
            let mut changed = list.clone();
            changed[at] ^= 1;
            assert!(verified(&certificate, &changed).is_err(), "octet {at}");
        }
    }
}
