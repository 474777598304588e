//! What a client presented in its handshake, carried from the verifier to the record.
//!
//! rustls calls the verifier in the middle of a poll, with nothing that tells which connection it
//! is for, and keeps no certificate when the verdict is no. The call is synchronous, so a slot of
//! the polling thread, filled only while [`capture`] runs, carries certificate and verdict out.

use std::cell::RefCell;
use std::sync::Arc;

use super::trust::Proof;
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
}

thread_local! {
    static SLOT: RefCell<Option<Presented>> = const { RefCell::new(None) };
}

/// Runs `poll` and moves what the verifier noted meanwhile into `seen`.
pub(super) fn capture<T>(seen: &mut Option<Presented>, poll: impl FnOnce() -> T) -> T {
    SLOT.take();
    let out = poll();
    if let Some(presented) = SLOT.take() {
        *seen = Some(presented);
    }
    out
}

/// Called by the verifier.
pub(super) fn note(presented: Presented) {
    SLOT.set(Some(presented));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reject::Reason;

    #[test]
    fn a_capture_sees_only_what_was_noted_inside_it() {
        note(Presented { reject: Some(Reason::CertExpired.into()), ..Presented::default() });
        let mut seen = None;
        capture(&mut seen, || ());
        assert!(seen.is_none(), "a note from outside leaked in");
        capture(&mut seen, || note(Presented { reject: Some(Reason::CertMissing.into()), ..Presented::default() }));
        assert_eq!(seen.expect("noted").reject.expect("refused").reason, Reason::CertMissing);
    }

    #[test]
    fn a_later_poll_without_a_verdict_keeps_the_earlier_one() {
        let mut seen = None;
        capture(&mut seen, || note(Presented::default()));
        capture(&mut seen, || ());
        assert!(seen.is_some());
    }
}
