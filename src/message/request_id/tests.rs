use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

fn with(values: &[&[u8]]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(NAME, HeaderValue::from_bytes(value).unwrap());
    }
    headers
}

fn is_fresh(id: &HeaderValue) -> bool {
    id.len() == 32 && id.as_bytes().iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b))
}

#[test]
fn a_stranger_does_not_name_its_requests() {
    let mut headers = with(&[b"mine", b"too"]);
    let id = assign(&mut headers, Trust::Replace);
    assert!(is_fresh(&id));
    assert!(headers.is_empty());
}

#[test]
fn a_listed_proxy_names_requests_if_the_name_is_harmless() {
    let long = [b'a'; 128];
    for name in [&b"a"[..], b"AZaz09._~+/=-", &long] {
        let mut headers = with(&[name]);
        assert_eq!(assign(&mut headers, Trust::Append).as_bytes(), name);
        assert!(headers.is_empty());
    }
    let too_long = [b'a'; 129];
    for name in [&b""[..], b"a b", b"a,b", b"a\tb", b"a\"b", b"{a}", b"\xc3\xa9", b"<a>", b"a;b", b"%0a", &too_long] {
        let mut headers = with(&[name]);
        let id = assign(&mut headers, Trust::Append);
        assert!(is_fresh(&id), "{name:?}");
        assert!(headers.is_empty());
    }
    assert!(is_fresh(&assign(&mut with(&[b"a", b"a"]), Trust::Append)));
    assert!(is_fresh(&assign(&mut with(&[]), Trust::Append)));
}

#[test]
fn names_do_not_repeat_across_batches_and_threads() {
    let threads: Vec<_> = (0..4)
        .map(|_| std::thread::spawn(|| (0..500).map(|_| assign(&mut HeaderMap::new(), Trust::Replace)).collect()))
        .collect();
    let ids: Vec<Vec<HeaderValue>> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let distinct: HashSet<_> = ids.iter().flatten().collect();
    assert_eq!(distinct.len(), 2000);
    assert!(distinct.iter().all(|id| is_fresh(id)));
}

#[test]
fn names_without_a_generator_do_not_repeat_either() {
    let ids: HashSet<_> = (0..1000).map(|_| render(counted())).collect();
    assert_eq!(ids.len(), 1000);
    assert!(ids.iter().all(is_fresh));
}

#[test]
fn bytes_are_rendered_as_lower_case_hexadecimal() {
    let id = 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210_u128.to_be_bytes();
    assert_eq!(render(id), "0123456789abcdeffedcba9876543210");
}

proptest! {
    #[test]
    fn one_name_is_returned_and_none_stays_behind(value in "[!-~]{0,140}", listed in any::<bool>()) {
        let mut headers = with(&[value.as_bytes()]);
        let id = assign(&mut headers, if listed { Trust::Append } else { Trust::Replace });
        prop_assert!(headers.is_empty());
        prop_assert!(is_fresh(&id) || (listed && id == value));
    }
}
