//! The `Date` field, formatted once per second and thread.

use std::cell::Cell;

use bytes::BytesMut;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use crate::clock::Clock;

/// Appends the time as an IMF-fixdate (RFC 9110 §5.6.7).
pub(super) fn put(out: &mut BytesMut) {
    let now = Clock::system().unix().as_secs();
    let (second, mut text) = CACHE.get();
    if second != now {
        text = format(now);
        CACHE.set((now, text));
    }
    out.extend_from_slice(&text);
}

fn format(unix: u64) -> [u8; LENGTH] {
    let time = i64::try_from(unix).ok().and_then(|unix| Timestamp::from_second(unix).ok()).unwrap_or_default();
    let text = DateTimePrinter::new().timestamp_to_rfc9110_string(&time).unwrap_or_default();
    text.as_bytes().try_into().unwrap_or(*EPOCH)
}

thread_local! {
    static CACHE: Cell<(u64, [u8; LENGTH])> = const { Cell::new((0, *EPOCH)) };
}

const EPOCH: &[u8; LENGTH] = b"Thu, 01 Jan 1970 00:00:00 GMT";

/// The fixed length of an IMF-fixdate.
const LENGTH: usize = 29;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_an_imf_fixdate() {
        assert_eq!(format(0), *EPOCH);
        assert_eq!(&format(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(format(u64::MAX), *EPOCH);
    }

    #[test]
    fn the_date_of_now_is_put() {
        let mut out = BytesMut::new();
        put(&mut out);
        put(&mut out);
        assert_eq!(out.len(), 2 * LENGTH);
        assert!(out.ends_with(b" GMT"));
        assert_eq!(out[..LENGTH], out[LENGTH..]);
    }
}
