//! What a client is told about its limits: `RateLimit-Policy` and `RateLimit` as in
//! draft-ietf-httpapi-ratelimit-headers-09, and `Retry-After` (RFC 9110 §10.2.3).
//!
//! Both are RFC 9651 lists of one string with parameters: `"login";q=20;w=120` is the operator's rate (`q` requests
//! in `w` seconds), `"login";r=3;t=30` is what is left of the burst at this moment and in how many seconds all of
//! it is there again.

use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};

use super::limit::Limit;
use super::spec::Rate;

/// `RateLimit-Policy`.
pub const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// `RateLimit`.
pub const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Puts the fields of one limit into a response, in place of what the upstream may have said about its own.
pub(super) fn insert(headers: &mut HeaderMap, limit: &Limit, remaining: u32, reset: Duration) {
    headers.insert(RATELIMIT_POLICY, limit.policy().clone());
    headers.insert(RATELIMIT, standing(&limit.spec().name, remaining, reset));
}

/// Puts `Retry-After` into a response.
pub fn insert_retry_after(headers: &mut HeaderMap, wait: Duration) {
    headers.insert(RETRY_AFTER, HeaderValue::from(seconds(wait).max(1)));
}

/// The `RateLimit-Policy` value of a limit. A rate per something other than whole seconds is given for the next
/// whole second.
pub(super) fn policy(name: &str, rate: Rate) -> HeaderValue {
    let window = seconds(rate.per).max(1);
    let per = rate.per.as_nanos().max(1);
    let quota = u128::from(rate.count.get()).saturating_mul(Duration::from_secs(window).as_nanos()) / per;
    parameters(name, ["q", "w"], [u64::try_from(quota).unwrap_or(u64::MAX).max(1), window])
}

fn standing(name: &str, remaining: u32, reset: Duration) -> HeaderValue {
    parameters(name, ["r", "t"], [remaining.into(), seconds(reset)])
}

fn parameters(name: &str, keys: [&str; 2], values: [u64; 2]) -> HeaderValue {
    let mut text = String::with_capacity(name.len() + ROOM);
    push_string(&mut text, name);
    for (key, value) in keys.into_iter().zip(values) {
        text.push(';');
        text.push_str(key);
        text.push('=');
        text.push_str(itoa::Buffer::new().format(value.min(MOST)));
    }
    HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or(HeaderValue::from_static("\"\""))
}

/// RFC 9651 §4.1.6, with `?` for what a string cannot hold.
fn push_string(text: &mut String, value: &str) {
    text.push('"');
    for letter in value.chars() {
        match letter {
            '"' | '\\' => text.extend(['\\', letter]),
            ' '..='~' => text.push(letter),
            _ => text.push('?'),
        }
    }
    text.push('"');
}

/// Whole seconds, rounded up: who waits that long has waited long enough.
fn seconds(time: Duration) -> u64 {
    time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0))
}

/// Two quotes, two keys and two integers of the usual size.
const ROOM: usize = 24;

/// The largest integer of RFC 9651 §3.3.1.
const MOST: u64 = 999_999_999_999_999;

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;

    fn rate(count: u32, per: Duration) -> Rate {
        Rate { count: NonZeroU32::new(count).unwrap(), per }
    }

    #[test]
    fn the_policy_is_the_operators_rate() {
        for (count, per, text) in [
            (20, Duration::from_mins(2), r#""login";q=20;w=120"#),
            (10, Duration::from_secs(1), r#""login";q=10;w=1"#),
            (10, Duration::from_millis(100), r#""login";q=100;w=1"#),
            (3, Duration::from_millis(1500), r#""login";q=4;w=2"#),
            (u32::MAX, Duration::from_nanos(1), r#""login";q=4294967295000000000;w=1"#),
            (1, Duration::MAX, r#""login";q=1;w=999999999999999"#),
        ] {
            let text = text.replace("4294967295000000000", "999999999999999");
            assert_eq!(policy("login", rate(count, per)), text);
        }
    }

    #[test]
    fn the_standing_rounds_the_wait_up() {
        assert_eq!(standing("login", 3, Duration::from_secs(30)), r#""login";r=3;t=30"#);
        assert_eq!(standing("login", 0, Duration::from_millis(1)), r#""login";r=0;t=1"#);
        assert_eq!(standing("login", 5, Duration::ZERO), r#""login";r=5;t=0"#);
    }

    #[test]
    fn retry_after_is_at_least_a_second_and_never_too_early() {
        for (millis, text) in [(0, "1"), (1, "1"), (1_000, "1"), (1_001, "2"), (59_999, "60")] {
            let mut headers = HeaderMap::new();
            insert_retry_after(&mut headers, Duration::from_millis(millis));
            assert_eq!(headers.get(RETRY_AFTER).unwrap(), text, "{millis} ms");
        }
    }

    #[test]
    fn a_name_cannot_leave_its_quotes() {
        let value = standing("a\"b\\c\r\nd\u{e9}", 1, Duration::ZERO);
        assert_eq!(value, r#""a\"b\\c??d?";r=1;t=0"#);
    }

    proptest! {
        #[test]
        fn every_name_and_number_makes_a_value(
            name in any::<String>(), count in 1u32.., per in any::<Duration>(), r in any::<u32>(), t in any::<Duration>(),
        ) {
            for value in [policy(&name, rate(count, per)), standing(&name, r, t)] {
                let text = value.to_str().unwrap();
                prop_assert!(text.starts_with('"') && text.contains("\";"), "{}", text);
            }
        }
    }
}
