//! The texts of identity headers. Each has one reading only: what a name holds can never look like
//! the syntax around it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::SignedDuration;
use jiff::civil::DateTime;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{AlternativeNames, Identity};

/// A structured field Byte Sequence (RFC 9651 §3.3.5): `:base64:`.
pub(super) fn byte_sequence(bytes: &[u8]) -> String {
    format!(":{}:", STANDARD.encode(bytes))
}

/// A structured field List of Byte Sequences, for `Client-Cert-Chain` (RFC 9440 §2.3).
pub(super) fn byte_sequences(all: &[impl AsRef<[u8]>]) -> String {
    all.iter().map(|bytes| byte_sequence(bytes.as_ref())).collect::<Vec<_>>().join(", ")
}

/// Every alternative name with its type, for `X-Client-Cert-San`; `None` if there is none.
///
/// ```text
/// list = name *( ", " name )
/// name = type ":" text          ; split at the first colon
/// type = "DNS" / "URI" / "email" / "IP"
/// text = percent-encoded name   ; never holds "," "%" (but as an escape), ";" quotes or spaces
/// ```
///
/// Split at `, `, split at the first `:`, percent-decode: the names as the certificate has them.
pub(super) fn san_list(names: &AlternativeNames) -> Option<String> {
    let text = |name: &str| utf8_percent_encode(name, LISTED).to_string();
    let all: Vec<_> = (names.dns.iter().map(|name| format!("DNS:{}", text(name))))
        .chain(names.uri.iter().map(|name| format!("URI:{}", text(name))))
        .chain(names.email.iter().map(|name| format!("email:{}", text(name))))
        .chain(names.ip.iter().map(|ip| format!("IP:{ip}")))
        .collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// One element of `X-Forwarded-Client-Cert` with the keys `Hash`, `Subject`, and one `URI` or `DNS`
/// for every such name. Envoy quotes the subject only, so that a URI with a `;` forges keys there;
/// here every value is quoted that needs it.
pub(super) fn xfcc_element(identity: &Identity) -> String {
    let first = [format!("Hash={}", identity.fingerprint), format!("Subject={}", quoted(&identity.subject.text))];
    let all: Vec<_> = (first.into_iter())
        .chain(identity.names.uri.iter().map(|name| format!("URI={}", quoted_if_needed(name))))
        .chain(identity.names.dns.iter().map(|name| format!("DNS={}", quoted_if_needed(name))))
        .collect();
    all.join(";")
}

/// Unix seconds as RFC 3339 UTC; `None` outside the years that a certificate can name.
pub(super) fn rfc3339(unix: i64) -> Option<String> {
    // Not `Timestamp`: that ends a day before 99991231235959Z, which RFC 5280 §4.1.2.5 gives to
    // certificates without an end.
    let time = DateTime::constant(1970, 1, 1, 0, 0, 0, 0).checked_add(SignedDuration::from_secs(unix)).ok()?;
    (time.year() >= 0).then(|| format!("{time}Z"))
}

fn quoted_if_needed(value: &str) -> String {
    if value.contains([',', ';', '=', '"', '\\']) { quoted(value) } else { value.to_owned() }
}

/// Inside quotes, `"` and `\` take a backslash.
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

/// What is percent-encoded in a list: all but letters, digits and the marks that addresses are
/// full of and no list reader gives a meaning to.
const LISTED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':')
    .remove(b'/')
    .remove(b'@')
    .remove(b'*')
    .remove(b'?')
    .remove(b'&')
    .remove(b'=')
    .remove(b'+')
    .remove(b'#')
    .remove(b'!')
    .remove(b'$')
    .remove(b'[')
    .remove(b']');
