//! Fingerprints of a client's software as headers: like its identity, told by the gate and never taken from a client.

use std::sync::OnceLock;

use http::{HeaderMap, HeaderName, HeaderValue};

/// The fingerprints of one connection as header values, each rendered when it is first wanted.
#[derive(Debug, Default)]
pub struct FingerprintHeaders {
    ja4: OnceLock<Option<HeaderValue>>,
    http2: OnceLock<Option<HeaderValue>>,
}

impl FingerprintHeaders {
    /// Puts what is known into a request, in place of any of the same name; a request of a client of which nothing is
    /// known must have been [stripped](super::strip()) before. The fingerprints must be the same in every call that has them.
    pub fn stamp(&self, ja4: Option<&str>, http2: Option<&str>, headers: &mut HeaderMap) {
        for (slot, name, text) in [(&self.ja4, JA4, ja4), (&self.http2, HTTP2, http2)] {
            let value = text.and_then(|text| slot.get_or_init(|| HeaderValue::from_str(text).ok()).clone());
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
    }
}

const JA4: HeaderName = HeaderName::from_static("x-client-ja4");
const HTTP2: HeaderName = HeaderName::from_static("x-client-h2");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::strip;

    #[test]
    fn fingerprints_are_stamped_once_they_are_known_and_a_clients_own_never_pass() {
        let stamps = FingerprintHeaders::default();
        let mut headers = HeaderMap::new();
        for name in ["x-client-ja4", "X_Client_JA4", "x-client-ja4-raw", "x.client.h2", "x-client-h2"] {
            headers.append(HeaderName::try_from(name.to_ascii_lowercase()).unwrap(), HeaderValue::from_static("t"));
        }
        assert_eq!(strip(&mut headers), 5);
        stamps.stamp(Some("t13d1516h2_8daaf6152771_e5627efa2ab1"), None, &mut headers);
        assert_eq!(headers.len(), 1);
        stamps.stamp(Some("t13d1516h2_8daaf6152771_e5627efa2ab1"), Some("2:0|00|0|m,a,s,p"), &mut headers);
        assert_eq!(headers["x-client-ja4"], "t13d1516h2_8daaf6152771_e5627efa2ab1");
        assert_eq!(headers["x-client-h2"], "2:0|00|0|m,a,s,p");
    }
}
