//! What a completed handshake tells about the software that a trust store's clients have.

use super::peer::Peer;
use crate::policy::HostId;
use crate::snapshot::Snapshot;
use crate::telemetry::Metrics;
use crate::tls::StackMode;

/// Learns, or counts what would be refused; `enforce` has been kept by the verdict on the certificate. Clients without
/// a certificate are nobody's.
pub(super) fn observe(peer: &Peer, snapshot: &Snapshot, host: HostId, metrics: &Metrics) {
    let Some(parts) = snapshot.host(host) else { return };
    let (Some(identity), Some(trust)) = (peer.identity(), parts.trust.as_deref()) else { return };
    let (spec, print) = (&trust.spec().stack, peer.stack().tls);
    if let Some((learned, print)) = parts.learned.as_deref().zip(print) {
        learned.add(print.stable);
    }
    if spec.mode == StackMode::Shadow && !spec.allows(print) {
        metrics.stack_shadowed(&trust.spec().name);
        tracing::info!(
            target: "portcullis::fingerprint", peer = %peer.who.peer, host = &*peer.who.host, trust = &*trust.spec().name,
            subject = &*identity.subject.text, issuer = &*identity.issuer.text, serial = %identity.serial,
            fingerprint = %identity.fingerprint, ja4 = print.map(|print| tracing::field::display(print.ja4)),
            ja4_stable = print.map(|print| tracing::field::display(print.stable)),
            "would be refused: stack_not_allowed"
        );
    }
}
