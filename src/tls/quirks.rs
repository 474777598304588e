//! What the TLS library says, in the words of the reject table.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible, PeerMisbehaved};

use crate::identity::{self, Identity};
use crate::reject::{Reason, Reject};

/// Why the chain of `identity` was refused, at `unix` seconds.
pub(super) fn certificate(error: &Error, identity: &Identity, unix: i64) -> Reject {
    let Error::InvalidCertificate(error) = error else {
        return Reject::new(Reason::CertConstraint, error.to_string());
    };
    let reason = reason_of(error);
    let detail = match reason {
        Reason::CertExpired if unix > identity.not_after => {
            format!("expired on {}", identity::date(identity.not_after))
        }
        Reason::CertExpired => "a certificate above it expired".to_owned(),
        Reason::CertNotYetValid if unix < identity.not_before => {
            format!("not valid before {}; is a clock wrong?", identity::date(identity.not_before))
        }
        Reason::CertUnknownIssuer => {
            "no path to an anchor of the trust store; did the client send its intermediates?".to_owned()
        }
        _ => error.to_string(),
    };
    Reject::new(reason, detail)
}

#[expect(deprecated, reason = "the library may still send the variants it deprecates")]
fn reason_of(error: &CertificateError) -> Reason {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => Reason::CertExpired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Reason::CertNotYetValid,
        CertificateError::UnknownIssuer => Reason::CertUnknownIssuer,
        CertificateError::BadSignature => Reason::CertBadSignature,
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => Reason::CertWrongPurpose,
        CertificateError::UnsupportedSignatureAlgorithm
        | CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => Reason::CertKeyUnsupported,
        CertificateError::BadEncoding | CertificateError::UnhandledCriticalExtension => Reason::CertMalformed,
        // Non-exhaustive upstream: whatever is new is a refusal all the same.
        _ => Reason::CertConstraint,
    }
}

/// Why a handshake failed, when the verifier has said nothing.
pub(super) fn handshake(error: &io::Error) -> Reject {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return Reject::new(transport(error, Reason::HandshakeTooLarge), error.to_string());
    };
    let reason = match tls {
        Error::NoCertificatesPresented => Reason::CertMissing,
        Error::NoApplicationProtocol => Reason::AlpnUnsupported,
        Error::PeerIncompatible(_) => Reason::HandshakeIncompatible,
        Error::AlertReceived(AlertDescription::CloseNotify | AlertDescription::UserCanceled) => {
            Reason::HandshakeAborted
        }
        Error::AlertReceived(_) => Reason::HandshakeAlert,
        // The chain has been verified by now, so this is the CertificateVerify signature: by another key, or by a
        // key of another type.
        Error::InvalidCertificate(
            CertificateError::BadSignature | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. },
        ) => return Reject::new(Reason::CertProofInvalid, "not signed by the certificate's key"),
        Error::InvalidMessage(
            InvalidMessage::HandshakePayloadTooLarge | InvalidMessage::CertificatePayloadTooLarge,
        ) => Reason::HandshakeTooLarge,
        Error::PeerMisbehaved(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme) => Reason::CertProofInvalid,
        Error::InvalidCertificate(error) => reason_of(error),
        _ => Reason::HandshakeInvalid,
    };
    Reject::new(reason, tls.to_string())
}

/// Why the first bytes are no ClientHello.
pub(super) fn hello(error: &io::Error) -> Reject {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        // Clients of TLS 1.1 and older have no such extension, and the library looks for it before the version.
        Some(Error::PeerIncompatible(PeerIncompatible::SignatureAlgorithmsExtensionRequired)) => {
            let detail = "no signature_algorithms extension; is the client older than TLS 1.2?";
            Reject::new(Reason::HandshakeIncompatible, detail)
        }
        Some(Error::PeerIncompatible(what)) => Reject::new(Reason::HandshakeIncompatible, format!("{what:?}")),
        Some(Error::AlertReceived(alert)) => Reject::new(Reason::HandshakeAlert, format!("{alert:?}")),
        Some(tls) => Reject::new(Reason::ClientHelloInvalid, tls.to_string()),
        None => Reject::new(transport(error, Reason::ClientHelloTooLarge), error.to_string()),
    }
}

/// What ended the bytes: the client or the network; or the TLS library, whose buffer holds a message of at most
/// 64 KiB and which says so with no error of its own. What the system says is never of this kind.
fn transport(error: &io::Error, too_large: Reason) -> Reason {
    if error.kind() == io::ErrorKind::InvalidData { too_large } else { Reason::HandshakeAborted }
}
