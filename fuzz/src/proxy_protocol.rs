//! The PROXY header, as a proxy that was broken into may send it.

use portcullis::net::proxy_protocol::{Header, read};

use super::run::to_the_end;

/// A header is read to its last byte and not one further, or refused; never more than 4096 bytes are asked for.
///
/// # Panics
/// When that is not so.
pub fn check(bytes: &[u8]) {
    let (header, taken) = read_all(bytes);
    assert!(taken <= 4096, "{taken} bytes were read");
    if header.is_none() {
        return;
    }
    let (head, rest) = bytes.split_at(taken);
    assert_eq!(read_all(head), (header, taken), "what follows changes the header");
    if let Some((_, cut)) = head.split_last() {
        assert_eq!(read_all(cut).0, None, "the last byte was not needed");
    }
    let flipped: Vec<u8> = head.iter().copied().chain(rest.iter().map(|byte| !byte)).collect();
    assert_eq!(read_all(&flipped), (header, taken), "what follows changes the header");
}

fn read_all(bytes: &[u8]) -> (Option<Header>, usize) {
    let mut left = bytes;
    let header = to_the_end(read(&mut left)).ok();
    (header, bytes.len() - left.len())
}
