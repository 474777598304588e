//! Certificates signed by the test CA that no proper CA would sign.

use portcullis::tools::pki::Authority;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, RsaKeySize, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{Client, World};

/// A certificate, its key, and those above it up to the root, which is left out.
pub struct Forge {
    params: CertificateParams,
    key: KeyPair,
    chain: Vec<CertificateDer<'static>>,
}

impl Forge {
    /// The test CA itself: the start of every chain.
    pub fn root(authority: &Authority) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = name("Test CA");
        Self { params, key: KeyPair::from_pem(&authority.key_pem()).unwrap(), chain: Vec::new() }
    }

    /// The same authority, whose certificates say that this one issued them.
    pub fn called(mut self, cn: rcgen::DnValue) -> Self {
        let mut name = rcgen::DistinguishedName::new();
        name.push(DnType::CommonName, cn);
        self.params.distinguished_name = name;
        self
    }

    /// An intermediate.
    pub fn authority(&self, cn: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = name(cn);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        change(&mut params);
        self.sign(params, KeyPair::generate().unwrap())
    }

    /// A client.
    pub fn client(&self, cn: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        self.sign(client_params(cn, change), KeyPair::generate().unwrap())
    }

    /// A client with an RSA key of 2048 bits.
    pub fn rsa_client(&self, cn: &str) -> Self {
        self.sign(client_params(cn, |_| ()), rsa())
    }

    /// An intermediate with an RSA key of 2048 bits.
    pub fn rsa_authority(&self, cn: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = name(cn);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        self.sign(params, rsa())
    }

    /// A certificate for a key that only has a public half.
    pub fn certify(&self, key: &impl rcgen::PublicKeyData, cn: &str, ca: bool) -> CertificateDer<'static> {
        let mut params = client_params(cn, |_| ());
        if ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let issuer = Issuer::from_params(&self.params, &self.key);
        params.signed_by(key, &issuer).unwrap().der().clone()
    }

    fn sign(&self, params: CertificateParams, key: KeyPair) -> Self {
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate: Certificate = params.signed_by(&key, &issuer).unwrap();
        let chain = std::iter::once(certificate.der().clone()).chain(self.chain.iter().cloned()).collect();
        Self { params, key, chain }
    }

    /// What its holder sends.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.clone()
    }

    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()))
    }

    /// A client that presents it.
    pub fn presented(&self, world: &World) -> Client {
        Client::holding(world, self.chain(), self.key())
    }
}

fn rsa() -> KeyPair {
    KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap()
}

fn client_params(cn: &str, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(cn);
    params.subject_alt_names = vec![SanType::DnsName("client.test".try_into().unwrap())];
    params.is_ca = IsCa::ExplicitNoCa;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    params
}

fn name(cn: &str) -> rcgen::DistinguishedName {
    let mut name = rcgen::DistinguishedName::new();
    name.push(DnType::CommonName, cn);
    name
}
