//! TLS records that may hold a ClientHello; or, behind a first byte of zero, HTTP/2 frames.

use portcullis::fingerprint::{Http2Print, Ja4, Ja4Pattern, TlsPrint, ja4_raw};

/// What has a fingerprint has one that reads as it prints, and the same however it is cut.
///
/// # Panics
/// When that is not so.
pub fn check(bytes: &[u8]) {
    if let Some((0, frames)) = bytes.split_first() {
        let whole = http2(frames, usize::MAX);
        assert_eq!(whole, http2(frames, 1), "cutting changes the fingerprint");
        if let Some(text) = whole {
            assert!(text.len() <= MOST_TEXT && text.bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
            assert_eq!(text.split('|').count(), 4, "{text}");
        }
        return;
    }
    let print = TlsPrint::of(bytes);
    assert_eq!(print.is_some(), ja4_raw(bytes).is_some());
    let Some(print) = print else { return };
    for ja4 in [print.ja4, print.stable] {
        assert_eq!(ja4.to_string().parse::<Ja4>(), Ok(ja4));
        let pattern: Ja4Pattern = ja4.as_str().parse().expect("a JA4 is a pattern");
        assert!(pattern.matches(&print));
    }
    assert_eq!(TlsPrint::of(&recut(bytes)), Some(print), "cutting changes the fingerprint");
    let raw = ja4_raw(bytes).expect("it has one");
    assert!(raw.is_ascii() && raw.starts_with(print.ja4.as_str().get(..10).expect("ASCII")));
}

/// The same records, each cut into those of one byte.
fn recut(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let [kind, v1, v0, l1, l0, rest @ ..] = bytes {
        let length = usize::from(u16::from_be_bytes([*l1, *l0]));
        let Some((fragment, rest)) = rest.split_at_checked(length) else { break };
        for byte in fragment {
            out.extend([*kind, *v1, *v0, 0, 1, *byte]);
        }
        bytes = rest;
    }
    out
}

fn http2(mut bytes: &[u8], cut: usize) -> Option<Box<str>> {
    let mut print = Http2Print::default();
    while let [l2, l1, l0, kind, flags, s3, s2, s1, s0, rest @ ..] = bytes {
        let length = usize::try_from(u32::from_be_bytes([0, *l2, *l1, *l0])).expect("24 bits");
        let stream = u32::from_be_bytes([*s3 & 0x7f, *s2, *s1, *s0]);
        let mut known = print.frame(*kind, *flags, stream, length);
        let (payload, rest) = rest.split_at(length.min(rest.len()));
        for piece in payload.chunks(cut.min(payload.len()).max(1)) {
            known = known.or(print.payload(piece));
        }
        if known.is_some() {
            return known;
        }
        bytes = rest;
    }
    None
}

/// 32 settings of 17 bytes and 16 priorities of 28, and what is around them.
const MOST_TEXT: usize = 1100;
