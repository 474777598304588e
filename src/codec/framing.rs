//! Where a body ends: one answer, or a refusal.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Version};

use super::Wrong;

/// How the length of a body is known (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Nothing is said about a body.
    None,
    /// This many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// How the body of a message with these fields ends. Whatever two programs could read differently is refused,
/// also where RFC 9112 would let us repair it: whoever reads it behind us may repair it in another way.
///
/// # Errors
/// The length is ambiguous.
pub fn of(fields: &HeaderMap, version: Version) -> Result<Framing, Wrong> {
    let length = single(fields, &CONTENT_LENGTH, "Content-Length twice")?;
    let coding = single(fields, &TRANSFER_ENCODING, "Transfer-Encoding twice")?;
    match (length, coding) {
        (None, None) => Ok(Framing::None),
        (Some(value), None) => {
            decimal(value.as_bytes()).map(Framing::Length).ok_or("Content-Length is not a plain number")
        }
        (Some(_), Some(_)) => Err("Content-Length and Transfer-Encoding"),
        // RFC 9112 §6.1: a sign of bad forwarding, since HTTP/1.0 knows no transfer codings.
        (None, Some(_)) if version == Version::HTTP_10 => Err("Transfer-Encoding in HTTP/1.0"),
        (None, Some(value)) if value.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
        (None, Some(_)) => Err("Transfer-Encoding other than chunked"),
    }
}

/// The number that `digits` say: digits only, no sign, no list, no leading zero (octal to some), at most `u64::MAX`.
pub fn decimal(digits: &[u8]) -> Option<u64> {
    let plain = digits.iter().all(u8::is_ascii_digit) && (digits.len() == 1 || digits.first() != Some(&b'0'));
    std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
}

fn single<'f>(
    fields: &'f HeaderMap,
    name: &http::HeaderName,
    twice: &'static str,
) -> Result<Option<&'f HeaderValue>, Wrong> {
    let mut values = fields.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() { Err(twice) } else { Ok(first) }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use proptest::prelude::*;

    use super::*;

    fn framing(fields: &[(&'static str, &'static str)], version: Version) -> Result<Framing, Wrong> {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        of(&map, version)
    }

    #[test]
    fn one_plain_length_or_one_plain_chunked_is_understood() {
        let table: [(&[(&str, &str)], Framing); 7] = [
            (&[], Framing::None),
            (&[("content-length", "0")], Framing::Length(0)),
            (&[("content-length", "42")], Framing::Length(42)),
            (&[("content-length", "18446744073709551615")], Framing::Length(u64::MAX)),
            (&[("transfer-encoding", "chunked")], Framing::Chunked),
            (&[("transfer-encoding", "CHUNKED")], Framing::Chunked),
            (&[("te", "chunked")], Framing::None),
        ];
        for (fields, expected) in table {
            assert_eq!(framing(fields, Version::HTTP_11), Ok(expected), "{fields:?}");
        }
        assert_eq!(framing(&[("content-length", "5")], Version::HTTP_10), Ok(Framing::Length(5)));
    }

    #[test]
    fn whatever_could_be_read_in_two_ways_is_refused() {
        for length in [
            "",
            "+5",
            "-5",
            " 5",
            "5 ",
            "5,5",
            "5, 5",
            "0x5",
            "5.0",
            "05",
            "00",
            "5\t",
            "1e3",
            "٣",
            "18446744073709551616",
        ] {
            assert!(framing(&[("content-length", length)], Version::HTTP_11).is_err(), "{length:?}");
        }
        for coding in [
            "",
            "identity",
            "gzip",
            "gzip, chunked",
            "chunked, chunked",
            "chunked, identity",
            "chunked,",
            ",chunked",
            "xchunked",
            "chunked;q=1",
            "\"chunked\"",
            "chunked x",
        ] {
            assert!(framing(&[("transfer-encoding", coding)], Version::HTTP_11).is_err(), "{coding:?}");
        }
        let pairs: [[(&str, &str); 2]; 4] = [
            [("content-length", "5"), ("content-length", "5")],
            [("content-length", "5"), ("content-length", "6")],
            [("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            [("content-length", "5"), ("transfer-encoding", "chunked")],
        ];
        for pair in pairs {
            assert!(framing(&pair, Version::HTTP_11).is_err(), "{pair:?}");
        }
        assert!(framing(&[("transfer-encoding", "chunked")], Version::HTTP_10).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn what_is_understood_can_be_written_back_in_one_way_only(
            fields in prop::collection::vec(
                (any::<bool>(), prop_oneof!["[0-9+, ]{0,4}", "(?i)chunked", r"[!-~][ -~\t]{0,9}"]), 0..3),
            old: bool,
        ) {
            let version = if old { Version::HTTP_10 } else { Version::HTTP_11 };
            let mut map = HeaderMap::new();
            for (length, value) in &fields {
                map.append(if *length { CONTENT_LENGTH } else { TRANSFER_ENCODING }, value.parse().unwrap());
            }
            let again = |length: &str| matches!(&*fields, [(true, value)] if value == length);
            match of(&map, version) {
                Ok(Framing::None) => prop_assert!(fields.is_empty()),
                Ok(Framing::Length(length)) => prop_assert!(again(&length.to_string()), "{:?}", fields),
                Ok(Framing::Chunked) => {
                    let plain = matches!(&*fields, [(false, value)] if value.eq_ignore_ascii_case("chunked"));
                    prop_assert!(plain && !old, "{:?}", fields);
                }
                Err(_) => {}
            }
        }

        #[test]
        fn every_length_is_understood_as_it_is_written(length: u64) {
            let fields = HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from(length))]);
            prop_assert_eq!(of(&fields, Version::HTTP_11).unwrap(), Framing::Length(length));
        }
    }
}
