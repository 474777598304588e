//! Handshake messages behind the handshake: new keys in TLS 1.3, and nothing else.

use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{AlertDescription, ProtocolVersion, SupportedCipherSuite};

use super::outgoing::Outgoing;
use super::record::{Fault, Protection};

/// Where new keys come from.
pub(super) struct Rekey {
    /// Derives keys from keys; `None` in TLS 1.2, which has no KeyUpdate.
    source: Option<Box<KernelConnection<ServerConnectionData>>>,
    limit: u64,
    renegotiated: bool,
}

impl std::fmt::Debug for Rekey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rekey").field("tls13", &self.is_tls13()).finish_non_exhaustive()
    }
}

impl Rekey {
    /// For a connection of this version, whose keys may protect `limit` records each.
    pub(super) fn new(connection: KernelConnection<ServerConnectionData>, limit: u64) -> Self {
        let tls13 = connection.protocol_version() == ProtocolVersion::TLSv1_3;
        Self { source: tls13.then(|| Box::new(connection)), limit, renegotiated: false }
    }

    pub(super) const fn is_tls13(&self) -> bool {
        self.source.is_some()
    }

    /// Obeys the record of handshake messages `message` of a client.
    pub(super) fn message(&mut self, message: &[u8], opener: &mut Protection, out: &mut Outgoing) -> Result<(), Fault> {
        let Some(source) = &mut self.source else { return self.renegotiation(out) };
        // RFC 8446 §5.1: keys change at the end of a record, so the message has its record for itself.
        let answer = match message {
            KEY_UPDATE => false,
            KEY_UPDATE_REQUESTED => true,
            _ => return Err(Fault(AlertDescription::UnexpectedMessage)),
        };
        let secrets = source.update_rx_secret().map_err(|_| INTERNAL)?;
        *opener = Protection::new(ProtocolVersion::TLSv1_3, secrets, self.limit).ok_or(INTERNAL)?;
        if answer { self.renew(out) } else { Ok(()) }
    }

    /// RFC 5746 is not spoken here and no client needs to renegotiate: the first wish is declined (RFC 5246 §7.2.2),
    /// the second ends the connection.
    fn renegotiation(&mut self, out: &mut Outgoing) -> Result<(), Fault> {
        if std::mem::replace(&mut self.renegotiated, true) {
            return Err(Fault(AlertDescription::UnexpectedMessage));
        }
        out.warn(AlertDescription::NoRenegotiation)
    }

    /// Changes the keys that we seal with, and says so.
    ///
    /// # Errors
    /// In TLS 1.2, which cannot: the connection is over before its keys are used too often.
    pub(super) fn renew(&mut self, out: &mut Outgoing) -> Result<(), Fault> {
        let source = self.source.as_mut().ok_or(INTERNAL)?;
        let secrets = source.update_tx_secret().map_err(|_| INTERNAL)?;
        let next = Protection::new(ProtocolVersion::TLSv1_3, secrets, self.limit).ok_or(INTERNAL)?;
        out.renew(KEY_UPDATE, next)
    }
}

/// How many records a key of this suite may protect (RFC 8446 §5.5), as rustls has it.
pub(super) const fn limit(suite: SupportedCipherSuite) -> u64 {
    match suite {
        SupportedCipherSuite::Tls12(suite) => suite.common.confidentiality_limit,
        SupportedCipherSuite::Tls13(suite) => suite.common.confidentiality_limit,
    }
}

const INTERNAL: Fault = Fault(AlertDescription::InternalError);

/// RFC 8446 §4.6.3: type 24, length 1, and whether the other side shall follow.
const KEY_UPDATE: &[u8] = &[24, 0, 0, 1, 0];
const KEY_UPDATE_REQUESTED: &[u8] = &[24, 0, 0, 1, 1];
