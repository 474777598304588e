//! How much a refusal says about who was refused: what honest clients do not do.

use crate::reject::{Abuse, Reason};

/// What a refusal for this reason adds to the score of who has caused it; 0 if it says nothing.
///
/// What no honest client does weighs ten failures. What a bad network does to honest clients weighs little: a phone in
/// a tunnel breaks off a dozen times a day. What a crowd behind one address does to that address weighs nothing.
#[must_use]
pub const fn abuse(reason: Reason) -> f32 {
    match (reason.abuse(), reason) {
        (None, _) | (_, Reason::ConnectionsPerAddress | Reason::ConnectionsSilent | Reason::HandshakesPerAddress) => {
            0.0
        }
        (Some(Abuse::Sure), _) => 10.0,
        (
            Some(Abuse::Perhaps),
            Reason::BodyTimeout
            | Reason::BodyTooSlow
            | Reason::HandshakeTimeout
            | Reason::HeaderTimeout
            | Reason::ResponseTooSlow
            | Reason::WriteTimeout,
        ) => 0.2,
        (Some(Abuse::Perhaps), _) => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_to_honest_clients_every_day_weighs_nothing() {
        for reason in [
            Reason::ClientGone,
            Reason::HandshakeAborted,
            Reason::Misdirected,
            Reason::RouteUnknown,
            Reason::RateLimited,
            Reason::UpstreamTimeout,
            Reason::CertMissing,
            Reason::HandshakesPerAddress,
        ] {
            assert!(abuse(reason) <= 0.0, "{reason}");
        }
        assert!(Reason::ALL.iter().all(|reason| (0.0..=10.0).contains(&abuse(*reason))));
    }
}
