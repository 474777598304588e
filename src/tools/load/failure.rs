//! What went wrong, by kind.

use std::fmt;
use std::io;

use rustls::{AlertDescription, Error as TlsError};

/// Why a unit of work failed. Its text is its stable name in reports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// The server refused with this TLS alert.
    Alert(String),
    /// The connection ended before the response did.
    Closed,
    /// No connection could be made.
    Connect(&'static str),
    /// What came is not HTTP/1.1.
    Http1(&'static str),
    /// The stream or the connection ended with this HTTP/2 error.
    Http2(String),
    /// The response's body has another length than it should.
    Length,
    /// The handshake was a full one, where a resumed one was asked for.
    NotResumed,
    /// The connection was reset.
    Reset,
    /// The answer has a status that is no success.
    Status(u16),
    /// It took too long.
    Timeout(Phase),
    /// We do not like the server's side of the handshake.
    Tls(&'static str),
    /// What came is not WebSocket.
    WebSocket(&'static str),
}

/// What took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// TCP.
    Connect,
    /// TLS.
    Handshake,
    /// From the request to the end of the response.
    Request,
}

impl Failure {
    /// What an error of a socket that we could not connect means.
    pub(in crate::tools) fn connect(error: &io::Error) -> Self {
        Self::Connect(match error.kind() {
            io::ErrorKind::AddrNotAvailable => "no_address",
            io::ErrorKind::ConnectionRefused => "refused",
            io::ErrorKind::ConnectionReset => "reset",
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "unreachable",
            io::ErrorKind::TimedOut => "timeout",
            _ => "failed",
        })
    }

    /// What an error of an established connection means.
    pub(in crate::tools) fn io(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) {
            Some(TlsError::AlertReceived(alert)) => Self::Alert(alert_name(*alert)),
            Some(TlsError::InvalidCertificate(_)) => Self::Tls("invalid_server_certificate"),
            Some(_) => Self::Tls("failed"),
            // h2 says the second of a connection that ended.
            None if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe) => Self::Closed,
            None => Self::Reset,
        }
    }

    /// What an error of HTTP/2 means.
    pub(in crate::tools) fn http2(error: &h2::Error) -> Self {
        if let Some(error) = error.get_io() {
            return Self::io(error);
        }
        let reason = error.reason().map_or_else(|| "unknown".to_owned(), |reason| snake(&format!("{reason:?}")));
        Self::Http2(reason)
    }

    /// Whether trying again at once would only burn the processor.
    pub(super) const fn is_unreachable(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Timeout(Phase::Connect))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alert(name) => write!(f, "alert_{name}"),
            Self::Closed => f.write_str("closed"),
            Self::Connect(how) => write!(f, "connect_{how}"),
            Self::Http1(what) => write!(f, "http1_{what}"),
            Self::Http2(reason) => write!(f, "http2_{reason}"),
            Self::Length => f.write_str("length"),
            Self::NotResumed => f.write_str("not_resumed"),
            Self::Reset => f.write_str("reset"),
            Self::Status(status) => write!(f, "status_{status}"),
            Self::Timeout(Phase::Connect) => f.write_str("timeout_connect"),
            Self::Timeout(Phase::Handshake) => f.write_str("timeout_handshake"),
            Self::Timeout(Phase::Request) => f.write_str("timeout_request"),
            Self::Tls(what) => write!(f, "tls_{what}"),
            Self::WebSocket(what) => write!(f, "websocket_{what}"),
        }
    }
}

/// The alert's name as RFC 8446 §6 spells it.
fn alert_name(alert: AlertDescription) -> String {
    alert.as_str().map_or_else(|| format!("{}", u8::from(alert)), snake)
}

/// `UnknownCA` to `unknown_ca`, `GO_AWAY` to `go_away`.
fn snake(name: &str) -> String {
    let mut out = String::new();
    let mut chars = name.chars().peekable();
    let mut before = '_';
    while let Some(c) = chars.next() {
        let begins = before.is_lowercase() || (before.is_uppercase() && chars.peek().is_some_and(|c| c.is_lowercase()));
        if c.is_uppercase() && begins {
            out.push('_');
        }
        out.extend(c.to_lowercase());
        before = c;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_are_named_as_in_the_rfc() {
        for (alert, name) in [
            (AlertDescription::CertificateRequired, "alert_certificate_required"),
            (AlertDescription::UnknownCA, "alert_unknown_ca"),
            (AlertDescription::UnknownPSKIdentity, "alert_unknown_psk_identity"),
            (AlertDescription::Unknown(250), "alert_250"),
        ] {
            let error = io::Error::other(TlsError::AlertReceived(alert));
            assert_eq!(Failure::io(&error).to_string(), name);
        }
    }

    #[test]
    fn errors_of_sockets_and_of_http2_have_names_too() {
        let io = |kind: io::ErrorKind| io::Error::from(kind);
        assert_eq!(Failure::io(&io(io::ErrorKind::UnexpectedEof)).to_string(), "closed");
        assert_eq!(Failure::io(&io(io::ErrorKind::ConnectionReset)).to_string(), "reset");
        assert_eq!(Failure::connect(&io(io::ErrorKind::ConnectionRefused)).to_string(), "connect_refused");
        assert_eq!(Failure::http2(&h2::Reason::ENHANCE_YOUR_CALM.into()).to_string(), "http2_enhance_your_calm");
        assert_eq!(Failure::http2(&h2::Reason::REFUSED_STREAM.into()).to_string(), "http2_refused_stream");
    }
}
