//! What software is at the other end, from how it speaks: JA4 of its ClientHello, and the first frames of its HTTP/2.
//!
//! A fingerprint proves nothing: whoever copies a stack has its fingerprint. It narrows down, and it is one more thing
//! that a thief of certificates must get right.

mod headers;
mod hello;
mod http2;
mod ja4;
mod pattern;
mod tally;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use self::headers::FingerprintHeaders;
pub use self::http2::Http2Print;
pub use self::ja4::{Ja4, TlsPrint, ja4_raw};
pub use self::pattern::Ja4Pattern;
pub use self::tally::Tally;

/// What is known of a client's stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stack<'a> {
    /// Its TLS; `None` if its ClientHello could not be read.
    pub tls: Option<TlsPrint>,
    /// Its HTTP/2, once the first request has come; `None` over HTTP/1.1.
    pub http2: Option<&'a str>,
}
