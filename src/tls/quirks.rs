//! What the TLS library says, in the words of the reject table.

use std::io;
use std::sync::Arc;

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, OtherError, PeerIncompatible, PeerMisbehaved};

use crate::identity::{self, Identity};
use crate::reject::{Reason, Reject};

/// webpki's verdict as a reason, and as the error that makes rustls send that reason's alert.
#[expect(deprecated, reason = "webpki may still say what it deprecates")]
pub(super) fn chain(error: &webpki::Error) -> (Reason, CertificateError) {
    use webpki::Error as E;
    match error {
        E::BadDer | E::BadDerTime | E::TrailingData(_) | E::InvalidCertValidity => {
            (Reason::CertMalformed, CertificateError::BadEncoding)
        }
        E::CertNotValidYet { .. } => (Reason::CertNotYetValid, CertificateError::NotValidYet),
        E::CertExpired { .. } => (Reason::CertExpired, CertificateError::Expired),
        E::UnknownIssuer => (Reason::CertUnknownIssuer, CertificateError::UnknownIssuer),
        E::InvalidSignatureForPublicKey => (Reason::CertBadSignature, CertificateError::BadSignature),
        E::UnsupportedSignatureAlgorithm
        | E::UnsupportedSignatureAlgorithmForPublicKey
        | E::UnsupportedSignatureAlgorithmContext(_)
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            (Reason::CertKeyUnsupported, CertificateError::UnsupportedSignatureAlgorithm)
        }
        E::RequiredEkuNotFound | E::RequiredEkuNotFoundContext(_) => {
            (Reason::CertWrongPurpose, CertificateError::InvalidPurpose)
        }
        // Path length, name constraints, a leaf that signs, a critical extension that nobody knows,
        // and whatever is new.
        _ => {
            let code = OtherError(Arc::new(error.clone()));
            (Reason::CertConstraint, CertificateError::Other(code))
        }
    }
}

/// The refusal with what an operator wants to know.
pub(super) fn explained(reason: Reason, error: &webpki::Error, identity: &Identity, now: UnixTime) -> Reject {
    let unix = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn library(error: Error) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }

    #[test]
    fn a_handshake_that_failed_has_the_reason_that_helps() {
        for (error, reason) in [
            (Error::NoCertificatesPresented, Reason::CertMissing),
            (Error::NoApplicationProtocol, Reason::AlpnUnsupported),
            (Error::AlertReceived(AlertDescription::CloseNotify), Reason::HandshakeAborted),
            (Error::AlertReceived(AlertDescription::UserCanceled), Reason::HandshakeAborted),
            (Error::AlertReceived(AlertDescription::UnknownCA), Reason::HandshakeAlert),
            (Error::InvalidCertificate(CertificateError::BadSignature), Reason::CertProofInvalid),
            (Error::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge), Reason::HandshakeTooLarge),
            (Error::InvalidMessage(InvalidMessage::InvalidCcs), Reason::HandshakeInvalid),
            (Error::DecryptError, Reason::HandshakeInvalid),
            (Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon), Reason::HandshakeIncompatible),
        ] {
            let text = error.to_string();
            assert_eq!(handshake(&library(error)).reason, reason, "{text}");
        }
    }

    #[test]
    fn what_the_network_does_is_an_abort_and_what_the_library_cannot_hold_is_too_large() {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, InvalidData, TimedOut, UnexpectedEof};
        for kind in [BrokenPipe, ConnectionReset, TimedOut, UnexpectedEof] {
            assert_eq!(handshake(&kind.into()).reason, Reason::HandshakeAborted);
            assert_eq!(hello(&kind.into()).reason, Reason::HandshakeAborted);
        }
        let full = io::Error::new(InvalidData, "message buffer full");
        assert_eq!(handshake(&full).reason, Reason::HandshakeTooLarge);
        assert_eq!(hello(&full).reason, Reason::ClientHelloTooLarge);
    }

    #[test]
    fn first_bytes_have_the_reason_that_helps() {
        for (error, reason) in [
            (Error::InvalidMessage(InvalidMessage::InvalidContentType), Reason::ClientHelloInvalid),
            (Error::AlertReceived(AlertDescription::HandshakeFailure), Reason::HandshakeAlert),
            (Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered), Reason::HandshakeIncompatible),
        ] {
            let text = error.to_string();
            assert_eq!(hello(&library(error)).reason, reason, "{text}");
        }
        let old = Error::PeerIncompatible(PeerIncompatible::SignatureAlgorithmsExtensionRequired);
        assert!(hello(&library(old)).detail.contains("older than TLS 1.2"));
    }
}
