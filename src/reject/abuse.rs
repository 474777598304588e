//! Which refusals answer an abuse of the protocols.

use super::Reason;

/// How sure it is that a refusal answers an abuse of the protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Abuse {
    /// Honest clients do it now and then; what counts is how often.
    Perhaps,
    /// No honest client does it.
    Sure,
}

impl Reason {
    /// Whether, and how surely, the client means harm by it: the one place that says so.
    #[must_use]
    pub const fn abuse(self) -> Option<Abuse> {
        match self {
            // Floods, bombs and what two programs would read differently: no honest client comes near.
            Self::ClientHelloTooLarge
            | Self::ConnectRefused
            | Self::HandshakeTooLarge
            | Self::Http2Continuations
            | Self::Http2ControlFrames
            | Self::Http2Pings
            | Self::Http2Resets
            | Self::Http2Settings
            | Self::RequestFraming
            | Self::TlsInvalid => Some(Abuse::Sure),
            // A bad network, a mistake or a crowd does these too; often, from one client, they are an attack.
            Self::BodyMalformed
            | Self::BodyTimeout
            | Self::BodyTooSlow
            | Self::CertChainTooLarge
            | Self::CertChainTooLong
            | Self::CertKeySize
            | Self::CertTooManyNames
            | Self::ClientHelloInvalid
            | Self::ConnectionsPerAddress
            | Self::ConnectionsSilent
            | Self::HandshakeInvalid
            | Self::HandshakeTimeout
            | Self::HandshakesPerAddress
            | Self::HeaderBytes
            | Self::HeaderCount
            | Self::HeaderTimeout
            | Self::Http2Invalid
            | Self::PathInvalid
            | Self::RequestMalformed
            | Self::ResponseTooSlow
            | Self::UriTooLong
            | Self::WriteTimeout => Some(Abuse::Perhaps),
            _ => None,
        }
    }

    /// Whether it is any kind of [abuse](Self::abuse).
    #[must_use]
    pub const fn is_abuse(self) -> bool {
        self.abuse().is_some()
    }
}
