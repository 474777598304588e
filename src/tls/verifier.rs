//! Who may finish a handshake: the bounds first (they cost nothing), then the parse, then the chain.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme};

use super::material::Anchors;
use super::presented::{self, Presented};
use super::quirks;
use super::spec::TrustSpec;
use crate::identity::{self, Bounds, Identity, PublicKey};
use crate::policy::spec::ClientCertificateMode;
use crate::reject::{Reason, Reject};

/// A host's verifier of client certificates.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    required: Required,
    bounds: Bounds,
    min_rsa_bits: u32,
    max_chain_length: usize,
    max_chain_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Required {
    No,
    Yes,
}

impl ClientVerifier {
    /// A verifier for chains to `anchors` that look as `spec` wants.
    ///
    /// # Errors
    /// When there is no anchor.
    pub(super) fn new(
        provider: &Arc<CryptoProvider>,
        spec: &TrustSpec,
        anchors: &Anchors,
        mode: ClientCertificateMode,
    ) -> Result<Self, String> {
        let chain = WebPkiClientVerifier::builder_with_provider(Arc::clone(&anchors.roots), Arc::clone(provider))
            .build()
            .map_err(|error| format!("trust store {}: {error}", spec.name))?;
        Ok(Self {
            chain,
            // Only `Optional` lets a client without a certificate finish; anything new fails closed.
            required: if mode == ClientCertificateMode::Optional { Required::No } else { Required::Yes },
            // The size of keys is judged when the record knows whose they are.
            bounds: Bounds { max_names: spec.max_names, min_rsa_bits: 0 },
            min_rsa_bits: spec.min_rsa_bits,
            max_chain_length: spec.max_chain_length,
            max_chain_bytes: spec.max_chain_bytes,
        })
    }

    /// The bounds that need no cryptography; a stranger's chain is no larger than this afterwards.
    fn check_size(&self, leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Result<(), Reject> {
        let length = others.len().saturating_add(1);
        if length > self.max_chain_length {
            let detail = format!("{length} certificates, at most {}", self.max_chain_length);
            return Err(Reject::new(Reason::CertChainTooLong, detail));
        }
        let bytes = others.iter().fold(leaf.len(), |sum, der| sum.saturating_add(der.len()));
        if bytes > self.max_chain_bytes {
            let detail = format!("{bytes} bytes, at most {}", self.max_chain_bytes);
            return Err(Reject::new(Reason::CertChainTooLarge, detail));
        }
        Ok(())
    }

    /// webpki accepts RSA from 2048 bits; the operator may want more, of intermediates too.
    fn check_keys(&self, leaf: &Identity, others: &[CertificateDer<'_>]) -> Result<(), Reject> {
        self.check_key(leaf.key, "certificate")?;
        for der in others {
            let facts = identity::authority(der)?;
            self.check_key(facts.key, &format!("intermediate {}", facts.subject))?;
        }
        Ok(())
    }

    fn check_key(&self, key: PublicKey, whose: &str) -> Result<(), Reject> {
        match key {
            PublicKey::Rsa(bits) if bits < self.min_rsa_bits => {
                let detail = format!("{whose}: RSA {bits}, at least {}", self.min_rsa_bits);
                Err(Reject::new(Reason::CertKeySize, detail))
            }
            _ => Ok(()),
        }
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
        seen: &mut Option<Arc<Identity>>,
    ) -> Result<ClientCertVerified, Refusal> {
        if let Err(reject) = self.check_size(leaf, others) {
            // Whose chain it is helps the operator; the leaf's own size is the most that reading it can cost.
            if leaf.len() <= self.max_chain_bytes {
                *seen = identity::parse(leaf, &self.bounds).ok().map(Arc::new);
            }
            return Err(reject.into());
        }
        let identity = seen.insert(Arc::new(identity::parse(leaf, &self.bounds)?));
        self.check_keys(identity, others)?;
        let unix = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        self.chain.verify_client_cert(leaf, others, now).map_err(|error| {
            let reject = quirks::certificate(&error, identity, unix);
            Refusal { reject, error: Box::new(error) }
        })
    }
}

/// A refusal in our words and in those that make rustls send the right alert.
struct Refusal {
    reject: Reject,
    error: Box<Error>,
}

impl From<Reject> for Refusal {
    fn from(reject: Reject) -> Self {
        let error = match reject.reason {
            // The one refusal of ours for which TLS has a better alert than certificate_unknown.
            Reason::CertMalformed => CertificateError::BadEncoding,
            _ => CertificateError::Other(OtherError(Arc::new(Code(reject.reason)))),
        };
        Self { reject, error: Box::new(Error::InvalidCertificate(error)) }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Code(Reason);

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        self.required == Required::Yes
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let mut identity = None;
        match self.verify(end_entity, intermediates, now, &mut identity) {
            Ok(verified) => {
                presented::note(Presented { identity, reject: None });
                Ok(verified)
            }
            Err(Refusal { reject, error }) => {
                presented::note(Presented { identity, reject: Some(reject) });
                Err(*error)
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
