//! Who may finish a handshake: the bounds first (they cost nothing), then the parse, then the
//! chain (or the memory of it), then what changes from day to day.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme};

use super::chains::{Chains, Known};
use super::presented::{self, Presented};
use super::quirks;
use super::tickets::to_name;
use super::trust::{Refused, TrustStore};
use crate::fingerprint::TlsPrint;
use crate::identity::Identity;
use crate::policy::spec::ClientCertificateMode;
use crate::reject::{Reason, Reject};

/// A host's verifier of client certificates.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    store: Arc<TrustStore>,
    chains: Arc<Chains>,
    algorithms: WebPkiSupportedAlgorithms,
    hints: Vec<DistinguishedName>,
    required: Required,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Required {
    No,
    Yes,
}

impl ClientVerifier {
    /// A verifier that lets in whom `store` trusts; `chains` remembers what it has verified.
    pub(super) fn new(
        algorithms: WebPkiSupportedAlgorithms,
        store: &Arc<TrustStore>,
        chains: &Arc<Chains>,
        mode: ClientCertificateMode,
    ) -> Self {
        Self {
            store: Arc::clone(store),
            chains: Arc::clone(chains),
            algorithms,
            hints: store.anchors().roots.subjects(),
            // Only `Optional` lets a client without a certificate finish; anything new fails closed.
            required: if mode == ClientCertificateMode::Optional { Required::No } else { Required::Yes },
        }
    }

    /// Asks of a resumed session what a full handshake asks: rustls does not.
    pub(super) fn recheck(
        &self,
        chain: &[CertificateDer<'_>],
        print: Option<TlsPrint>,
        now: UnixTime,
    ) -> Result<Option<Presented>, Reject> {
        let Some((leaf, others)) = chain.split_first() else {
            return match self.required {
                Required::Yes => Err(Reason::CertMissing.into()),
                Required::No => Ok(None),
            };
        };
        let mut seen = Presented::default();
        match self.verify((leaf, others), print, now, &mut seen) {
            Ok(()) => Ok(Some(seen)),
            Err(refusal) => Err(refusal.reject),
        }
    }

    fn verify(
        &self,
        (leaf, others): (&CertificateDer<'_>, &[CertificateDer<'_>]),
        print: Option<TlsPrint>,
        now: UnixTime,
        seen: &mut Presented,
    ) -> Result<(), Refusal> {
        if let Err(reject) = self.store.check_presented(leaf, others) {
            // Whose chain it is helps the operator; the leaf's own size is the most that reading it can cost.
            if leaf.len() <= self.store.spec().max_chain_bytes {
                seen.identity = self.store.identify(leaf).ok().map(Arc::new);
            }
            return Err(reject.into());
        }
        let unix = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let name = Chains::name(leaf, others);
        let known = match self.chains.find(&name) {
            Some(known) => known,
            None => self.first_sight(leaf, others, now, &mut seen.identity)?,
        };
        seen.identity = Some(Arc::clone(&known.identity));
        self.store.judge(&known.identity, &known.proof, print, unix)?;
        seen.proof = Some(Arc::clone(&known.proof));
        seen.named = to_name(leaf, others);
        self.chains.keep(name, known);
        Ok(())
    }

    fn first_sight(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
        seen: &mut Option<Arc<Identity>>,
    ) -> Result<Known, Refusal> {
        let identity = Arc::clone(seen.insert(Arc::new(self.store.identify(leaf)?)));
        match self.store.verify(&identity, leaf, others, now) {
            Ok(proof) => Ok(Known { identity, proof: Arc::new(proof) }),
            Err(Refused::Ours(reject)) => Err(reject.into()),
            Err(Refused::Chain(error)) => {
                let (reason, certificate) = quirks::chain(&error);
                let reject = quirks::explained(reason, &error, &identity, now);
                Err(Refusal { reject, error: Box::new(Error::InvalidCertificate(certificate)) })
            }
        }
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
            Reason::CertMalformed => CertificateError::BadEncoding,
            Reason::CertExpired => CertificateError::Expired,
            Reason::CertNotYetValid => CertificateError::NotValidYet,
            Reason::CertRevoked => CertificateError::Revoked,
            Reason::CrlExpired | Reason::CrlMissing => CertificateError::UnknownRevocationStatus,
            Reason::CertDenied | Reason::StackNotAllowed => CertificateError::ApplicationVerificationFailure,
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
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let mut seen = Presented::default();
        match self.verify((end_entity, intermediates), presented::print(), now, &mut seen) {
            Ok(()) => {
                presented::note(seen);
                Ok(ClientCertVerified::assertion())
            }
            Err(Refusal { reject, error }) => {
                presented::note(Presented { reject: Some(reject), ..seen });
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
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
