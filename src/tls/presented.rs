//! What a client presented in its handshake, carried from the verifier to the record.
//!
//! rustls calls the verifier in the middle of a poll, with nothing that tells which connection it
//! is for, and keeps no certificate when the verdict is no. The call is synchronous, so a slot of
//! the polling thread, filled only while [`capture`] runs, carries certificate and verdict out.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use super::trust::Proof;
use crate::fingerprint::TlsPrint;
use crate::identity::Identity;
use crate::reject::Reject;

/// A client certificate as the verifier saw it.
#[derive(Debug, Default)]
pub struct Presented {
    /// What the certificate says, if it parses. Proven only if `reject` is empty and the handshake ended well.
    pub identity: Option<Arc<Identity>>,
    /// What its chain proved; `None` if it did not hold or is not welcome.
    pub proof: Option<Arc<Proof>>,
    /// Why it was refused.
    pub reject: Option<Reject>,
    /// The certificates of its chain that a ticket names rather than holds.
    pub(super) named: Vec<CertificateDer<'static>>,
    /// When the full handshake was that a resumed session goes back to, Unix seconds.
    pub(super) began: Option<u64>,
}

thread_local! {
    static SLOT: RefCell<Option<Presented>> = const { RefCell::new(None) };
    static PRINT: Cell<Option<TlsPrint>> = const { Cell::new(None) };
}

/// Runs `poll` with what was `seen` in earlier polls of the same handshake in the slot, and moves
/// what is there afterwards back. `print` is what the verifier may know of the client's software.
pub(super) fn capture<T>(print: Option<TlsPrint>, seen: &mut Option<Presented>, poll: impl FnOnce() -> T) -> T {
    PRINT.set(print);
    SLOT.set(seen.take());
    let out = poll();
    *seen = SLOT.take();
    PRINT.set(None);
    out
}

/// Called when a ticket was opened: the session goes back to a full handshake at `began`.
pub(super) fn resumed(began: u64, named: Vec<CertificateDer<'static>>) {
    SLOT.set(Some(Presented { began: Some(began), named, ..Presented::default() }));
}

/// Called when a ticket is made at `now`: when its lineage began, and what it should name.
pub(super) fn lineage(now: u64) -> (u64, Vec<CertificateDer<'static>>) {
    SLOT.with_borrow(|slot| match slot {
        Some(presented) => (presented.began.unwrap_or(now), presented.named.clone()),
        None => (now, Vec::new()),
    })
}

/// Called by the verifier.
pub(super) fn note(presented: Presented) {
    SLOT.set(Some(presented));
}

/// What the ClientHello says of the software whose handshake is being polled.
pub(super) fn print() -> Option<TlsPrint> {
    PRINT.get()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reject::Reason;

    #[test]
    fn a_capture_sees_only_what_was_noted_inside_it() {
        note(Presented { reject: Some(Reason::CertExpired.into()), ..Presented::default() });
        let mut seen = None;
        capture(None, &mut seen, || ());
        assert!(seen.is_none(), "a note from outside leaked in");
        capture(None, &mut seen, || {
            note(Presented { reject: Some(Reason::CertMissing.into()), ..Presented::default() });
        });
        assert_eq!(seen.expect("noted").reject.expect("refused").reason, Reason::CertMissing);
    }

    #[test]
    fn a_later_poll_without_a_verdict_keeps_the_earlier_one() {
        let mut seen = None;
        capture(None, &mut seen, || note(Presented::default()));
        capture(None, &mut seen, || ());
        assert!(seen.is_some());
    }
}
