//! Fingerprints of a client's software as headers: like its identity, told by the gate and never taken from a client.

use std::sync::OnceLock;

use bytes::{BufMut as _, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::Stack;

/// The fingerprints of one connection as header values, each rendered when it is first wanted.
#[derive(Debug, Default)]
pub struct FingerprintHeaders {
    ja4: OnceLock<Option<HeaderValue>>,
    stable: OnceLock<Option<HeaderValue>>,
    http2: OnceLock<Option<HeaderValue>>,
}

impl FingerprintHeaders {
    /// Puts what is known into a request, in place of any of the same name; a request of a client of which nothing is
    /// known must have been [stripped](crate::identity::strip()) before. The fingerprints must be the same in every call that has them.
    pub fn stamp(&self, stack: Stack<'_>, headers: &mut HeaderMap) {
        self.known(stack, |name, value| drop(headers.insert(name, value.clone())));
    }

    /// Writes what is known behind the fields of a request that is being written in HTTP/1.1: as [`Self::stamp`].
    pub fn write(&self, stack: Stack<'_>, out: &mut BytesMut) {
        self.known(stack, |name, value| {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                out.put_slice(part);
            }
        });
    }

    fn known(&self, stack: Stack<'_>, mut each: impl FnMut(&'static HeaderName, &HeaderValue)) {
        let tls = stack.tls.as_ref();
        for (slot, name, text) in [
            (&self.ja4, &JA4, tls.map(|print| print.ja4.as_str())),
            (&self.stable, &STABLE, tls.map(|print| print.stable.as_str())),
            (&self.http2, &HTTP2, stack.http2),
        ] {
            let value = text.and_then(|text| slot.get_or_init(|| HeaderValue::from_str(text).ok()).as_ref());
            if let Some(value) = value {
                each(name, value);
            }
        }
    }
}

static JA4: HeaderName = HeaderName::from_static("x-client-ja4");
static STABLE: HeaderName = HeaderName::from_static("x-client-ja4-stable");
static HTTP2: HeaderName = HeaderName::from_static("x-client-h2");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::TlsPrint;
    use crate::identity::strip;

    #[test]
    fn fingerprints_are_stamped_once_they_are_known_and_a_clients_own_never_pass() {
        let stamps = FingerprintHeaders::default();
        let mut headers = HeaderMap::new();
        for name in ["x-client-ja4", "x_client_ja4", "x-client-ja4-stable", "x.client.h2", "x-client-h2"] {
            headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::from_static("t"));
        }
        assert_eq!(strip(&mut headers), 5);
        stamps.stamp(Stack::default(), &mut headers);
        assert!(headers.is_empty());
        let (ja4, stable) = ("t13d1516h2_8daaf6152771_9b887d9acb53", "t13d1515h2_8daaf6152771_f37e75b10bcc");
        let tls = Some(TlsPrint { ja4: ja4.parse().unwrap(), stable: stable.parse().unwrap() });
        stamps.stamp(Stack { tls, http2: None }, &mut headers);
        assert_eq!(headers.len(), 2);
        stamps.stamp(Stack { tls, http2: Some("2:0|00|0|m,a,s,p") }, &mut headers);
        let mut lines = BytesMut::new();
        stamps.write(Stack { tls, http2: Some("2:0|00|0|m,a,s,p") }, &mut lines);
        let expected =
            format!("x-client-ja4: {ja4}\r\nx-client-ja4-stable: {stable}\r\nx-client-h2: 2:0|00|0|m,a,s,p\r\n");
        assert_eq!(lines, expected.as_bytes());
        for (name, value) in
            [("x-client-ja4", ja4), ("x-client-ja4-stable", stable), ("x-client-h2", "2:0|00|0|m,a,s,p")]
        {
            assert_eq!(headers[name], value);
        }
    }
}
