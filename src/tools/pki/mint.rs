//! Certificates in memory: an authority, what it issues, and everything a test wants to get wrong.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use aws_lc_rs::signature::Ed25519KeyPair;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, RsaKeySize, SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::PkiError;

/// Type and size of a key pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyKind {
    /// NIST P-256: what phones make in their hardware.
    #[default]
    EcdsaP256,
    /// NIST P-384.
    EcdsaP384,
    /// Ed25519.
    Ed25519,
    /// RSA with 2048 bits.
    Rsa2048,
    /// RSA with 3072 bits.
    Rsa3072,
}

/// A subject alternative name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// dNSName.
    Dns(String),
    /// rfc822Name.
    Email(String),
    /// iPAddress.
    Ip(IpAddr),
    /// uniformResourceIdentifier.
    Uri(String),
}

/// An extended key usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// clientAuth.
    Client,
    /// codeSigning: of no use in TLS.
    Other,
    /// serverAuth.
    Server,
}

/// From when to when a certificate is valid, both inclusive, since the Unix epoch; whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Its first second.
    pub not_before: Duration,
    /// Its last second.
    pub not_after: Duration,
}

impl Validity {
    /// From 1970 to 4096: for whom time does not matter.
    pub const LONG: Self = Self { not_before: Duration::ZERO, not_after: Duration::from_secs(67_090_000_000) };

    /// Valid at `now` and for a year to come.
    #[must_use]
    pub fn current(now: Duration) -> Self {
        Self { not_before: now.saturating_sub(SKEW), not_after: now.saturating_add(LIFE) }
    }

    /// Over since a day before `now`.
    #[must_use]
    pub fn over(now: Duration) -> Self {
        Self { not_before: now.saturating_sub(LIFE), not_after: now.saturating_sub(DAY) }
    }

    /// Not before a day after `now`.
    #[must_use]
    pub fn to_come(now: Duration) -> Self {
        Self { not_before: now.saturating_add(DAY), not_after: now.saturating_add(LIFE) }
    }
}

/// What a leaf certificate says.
#[derive(Clone, Debug)]
pub struct LeafSpec {
    /// Subject commonName; empty: none.
    pub cn: String,
    /// Subject organizationName.
    pub organization: Option<String>,
    /// Subject alternative names, in order; empty: the extension is left out.
    pub names: Vec<Name>,
    /// When it is valid.
    pub validity: Validity,
    /// Extended key usages; empty: the extension is left out, which allows any.
    pub usages: Vec<Usage>,
    /// Its key.
    pub key: KeyKind,
}

impl LeafSpec {
    /// A client (clientAuth) with a commonName and no other name.
    #[must_use]
    pub fn client(cn: &str, validity: Validity) -> Self {
        Self {
            cn: cn.to_owned(),
            organization: None,
            names: Vec::new(),
            validity,
            usages: vec![Usage::Client],
            key: KeyKind::default(),
        }
    }

    /// A server (serverAuth) with these names.
    #[must_use]
    pub fn server(cn: &str, names: Vec<Name>, validity: Validity) -> Self {
        Self { names, usages: vec![Usage::Server], ..Self::client(cn, validity) }
    }
}

impl LeafSpec {
    /// A certificate for a key that is there already, by an authority that is not ours. `number` tells it apart: the
    /// serial number is usually taken from the key.
    ///
    /// # Errors
    ///
    /// [`PkiError::Mint`] for a name that is not ASCII, [`PkiError::OutOfTime`].
    pub fn sign_with(
        &self,
        key: &KeyPair,
        issuer: &Issuer<'_, KeyPair>,
        number: usize,
    ) -> Result<CertificateDer<'static>, PkiError> {
        let mut serial = [0; 16];
        let (chance, count) = serial.split_at_mut(8);
        aws_lc_rs::rand::fill(chance).map_err(|_| rcgen::Error::KeyGenerationUnavailable)?;
        count.copy_from_slice(&u64::try_from(number).unwrap_or(u64::MAX).to_be_bytes());
        let mut params = leaf_params(self)?;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        Ok(params.signed_by(key, issuer)?.der().clone())
    }
}

/// A certificate authority: a root, or an intermediate under one.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    kind: KeyKind,
    /// Its own certificate first, the root last.
    chain: Vec<Certificate>,
}

impl Authority {
    /// A root, [valid long](Validity::LONG).
    ///
    /// # Errors
    ///
    /// [`PkiError::Mint`] if the key cannot be made.
    pub fn new(name: &str, kind: KeyKind) -> Result<Self, PkiError> {
        Self::within(name, kind, Validity::LONG)
    }

    /// A root that is valid for some time only.
    ///
    /// # Errors
    ///
    /// As [`Authority::new`]; [`PkiError::OutOfTime`].
    pub fn within(name: &str, kind: KeyKind, validity: Validity) -> Result<Self, PkiError> {
        let issuer = CertifiedIssuer::self_signed(authority_params(name, validity)?, key_pair(kind)?)?;
        let chain = vec![issuer.as_ref().clone()];
        Ok(Self { issuer, kind, chain })
    }

    /// An authority below this one, with the same kind of key, [valid long](Validity::LONG).
    ///
    /// # Errors
    ///
    /// As [`Authority::new`].
    pub fn intermediate(&self, name: &str) -> Result<Self, PkiError> {
        self.intermediate_within(name, Validity::LONG)
    }

    /// An authority below this one that is valid for some time only.
    ///
    /// # Errors
    ///
    /// As [`Authority::within`].
    pub fn intermediate_within(&self, name: &str, validity: Validity) -> Result<Self, PkiError> {
        let mut params = authority_params(name, validity)?;
        params.use_authority_key_identifier_extension = true;
        let issuer = CertifiedIssuer::signed_by(params, key_pair(self.kind)?, &self.issuer)?;
        let chain = std::iter::once(issuer.as_ref()).chain(&self.chain).cloned().collect();
        Ok(Self { issuer, kind: self.kind, chain })
    }

    /// A certificate with a new key.
    ///
    /// # Errors
    ///
    /// [`PkiError::Mint`] for a name that is not ASCII, [`PkiError::OutOfTime`].
    pub fn issue(&self, spec: &LeafSpec) -> Result<Issued, PkiError> {
        let key = key_pair(spec.key)?;
        let certificate = leaf_params(spec)?.signed_by(&key, &self.issuer)?;
        Ok(Issued { certificate, key, above: self.chain.clone() })
    }

    /// What signs.
    pub(super) const fn issuer(&self) -> &CertifiedIssuer<'static, KeyPair> {
        &self.issuer
    }

    /// Its own certificate.
    pub fn cert_der(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// Its own certificate as PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Its key as PKCS#8 PEM.
    pub fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.issuer.key().serialize_pem())
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("kind", &self.kind).field("depth", &self.chain.len()).finish_non_exhaustive()
    }
}

/// A leaf certificate, its key, and the certificates above it.
pub struct Issued {
    certificate: Certificate,
    key: KeyPair,
    /// The issuer first, the root last.
    above: Vec<Certificate>,
}

impl Issued {
    /// The leaf.
    pub fn cert_der(&self) -> CertificateDer<'static> {
        self.certificate.der().clone()
    }

    /// What a peer sends: the leaf and the intermediates, without the root.
    pub fn chain_der(&self) -> Vec<CertificateDer<'static>> {
        self.sent().map(|certificate| certificate.der().clone()).collect()
    }

    /// The leaf and everything above it, the root too.
    pub fn full_chain_der(&self) -> Vec<CertificateDer<'static>> {
        std::iter::once(&self.certificate).chain(&self.above).map(|certificate| certificate.der().clone()).collect()
    }

    /// The key as PKCS#8.
    pub fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()))
    }

    /// [`Issued::chain_der`] as PEM.
    pub fn pem(&self) -> String {
        self.sent().map(Certificate::pem).collect()
    }

    /// The key as PKCS#8 PEM.
    pub fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.key.serialize_pem())
    }

    fn sent(&self) -> impl Iterator<Item = &Certificate> {
        let intermediates = self.above.len().saturating_sub(1);
        std::iter::once(&self.certificate).chain(self.above.iter().take(intermediates))
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("above", &self.above.len()).finish_non_exhaustive()
    }
}

fn authority_params(name: &str, validity: Validity) -> Result<CertificateParams, PkiError> {
    let mut params = timed(validity)?;
    params.distinguished_name = subject(name, None);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn leaf_params(spec: &LeafSpec) -> Result<CertificateParams, PkiError> {
    let mut params = timed(spec.validity)?;
    params.distinguished_name = subject(&spec.cn, spec.organization.as_deref());
    params.subject_alt_names = spec.names.iter().map(san).collect::<Result<_, _>>()?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = spec.usages.iter().map(|usage| purpose(*usage)).collect();
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// Parameters with these dates only.
pub(super) fn timed(validity: Validity) -> Result<CertificateParams, PkiError> {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let at = |since: Duration| {
        let since = Duration::from_secs(since.as_secs()).try_into().map_err(|_| PkiError::OutOfTime)?;
        epoch.checked_add(since).ok_or(PkiError::OutOfTime)
    };
    let mut params = CertificateParams::default();
    params.not_before = at(validity.not_before)?;
    params.not_after = at(validity.not_after)?;
    Ok(params)
}

fn subject(cn: &str, organization: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    if !cn.is_empty() {
        name.push(DnType::CommonName, cn);
    }
    name
}

fn san(name: &Name) -> Result<SanType, rcgen::Error> {
    Ok(match name {
        Name::Dns(name) => SanType::DnsName(name.as_str().try_into()?),
        Name::Email(name) => SanType::Rfc822Name(name.as_str().try_into()?),
        Name::Ip(address) => SanType::IpAddress(*address),
        Name::Uri(name) => SanType::URI(name.as_str().try_into()?),
    })
}

fn purpose(usage: Usage) -> ExtendedKeyUsagePurpose {
    match usage {
        Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
        Usage::Other => ExtendedKeyUsagePurpose::CodeSigning,
        Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
    }
}

fn key_pair(kind: KeyKind) -> Result<KeyPair, rcgen::Error> {
    match kind {
        KeyKind::EcdsaP256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        KeyKind::EcdsaP384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
        KeyKind::Ed25519 => ed25519(),
        KeyKind::Rsa2048 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048),
        KeyKind::Rsa3072 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_3072),
    }
}

/// OpenSSL 3.0 cannot read the newer form of PKCS#8 (RFC 5958, with the public key) that is the default.
fn ed25519() -> Result<KeyPair, rcgen::Error> {
    let unavailable = |_| rcgen::Error::KeyGenerationUnavailable;
    let key = Ed25519KeyPair::generate().map_err(unavailable)?.to_pkcs8v1().map_err(unavailable)?;
    KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(key.as_ref()), &rcgen::PKCS_ED25519)
}

/// What a certificate is out of its time by, so that no time zone brings it back.
pub(super) const DAY: Duration = Duration::from_hours(24);
/// Long enough to be forgotten about, and below the 825 days above which Apple's TLS refuses a private server certificate.
pub(super) const LIFE: Duration = Duration::from_hours(24 * 365);
/// What clocks of containers and phones on a developer's desk are apart at most.
const SKEW: Duration = Duration::from_hours(1);
