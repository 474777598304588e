//! A deny entry as the admin listener takes and shows it: JSON with the words of the deny file.

use serde_json::json;
use toml::{Table, Value};

use super::deny::deny_specs;
use super::deny_state::{canonical, deny_id, time};
use crate::revocation::{DenySpec, Source};

/// What somebody wants denied, and where.
#[derive(Clone, Debug)]
pub struct DenyRequest {
    /// The trust store's name.
    pub trust: Box<str>,
    /// Whom, why, by whom, for how long.
    pub spec: DenySpec,
}

/// Reads the JSON of one entry at `unix` seconds: an entry of the deny file with `trust` beside it,
/// and `expires` as RFC 3339 text.
///
/// # Errors
/// Everything that is wrong with it, in words.
pub fn parse_deny_request(json: &[u8], unix: i64) -> Result<DenyRequest, Vec<String>> {
    let mut entry: Table = serde_json::from_slice(json).map_err(|error| vec![format!("not a JSON entry: {error}")])?;
    let Some(Value::String(trust)) = entry.remove("trust") else {
        return Err(vec!["trust: missing, but required: the name of a trust store".to_owned()]);
    };
    for name in ["reason", "author"] {
        entry.get(name).map_or(Ok(()), |value| bounded(name, value))?;
    }
    if let Some(expires) = entry.remove("expires") {
        entry.insert("expires".to_owned(), Value::Datetime(moment(&expires, unix)?));
    }
    let file: Table = [("deny".to_owned(), Value::Array(vec![Value::Table(entry)]))].into_iter().collect();
    // By way of the file's own reader, so that an entry means the same wherever it stands.
    let specs = deny_specs("entry", &file.to_string()).map_err(|problems| {
        let said = problems.iter().map(|problem| {
            let hint = problem.hint.as_ref().map_or_else(String::new, |hint| format!(" ({hint})"));
            format!("{}: {}{hint}", problem.path.trim_start_matches("deny[0]."), problem.what)
        });
        said.collect::<Vec<_>>()
    })?;
    match <[DenySpec; 1]>::try_from(specs) {
        Ok([spec]) => Ok(DenyRequest { trust: trust.into(), spec: DenySpec { source: Source::Admin, ..spec } }),
        Err(_) => Err(vec!["not one entry".to_owned()]),
    }
}

/// The JSON of an entry of the trust store `trust`.
#[must_use]
pub fn deny_json(trust: &str, spec: &DenySpec) -> serde_json::Value {
    json!({
        "id": deny_id(&spec.matcher),
        "trust": trust,
        // Texts only: this cannot fail.
        "match": serde_json::to_value(canonical(&spec.matcher)).unwrap_or_default(),
        "reason": spec.reason,
        "author": spec.author,
        "expires": spec.expires.and_then(time),
        "source": match spec.source {
            Source::File => "file",
            Source::Admin => "admin",
        },
    })
}

fn bounded(name: &str, value: &Value) -> Result<(), Vec<String>> {
    let Value::String(text) = value else { return Err(vec![format!("{name}: expected a text")]) };
    if text.chars().count() > MAX_TEXT || text.chars().any(char::is_control) {
        return Err(vec![format!("{name}: more than {MAX_TEXT} characters, or one that is a control character")]);
    }
    Ok(())
}

fn moment(value: &Value, unix: i64) -> Result<toml::value::Datetime, Vec<String>> {
    let wrong = || vec!["expires: expected a time like \"2027-01-31T12:00:00Z\"".to_owned()];
    let time: jiff::Timestamp = value.as_str().ok_or_else(wrong)?.parse().map_err(|_| wrong())?;
    if time.as_second() <= unix {
        return Err(vec!["expires: that is past already".to_owned()]);
    }
    // In UTC and whole seconds: what the file can say in any case.
    let time = self::time(time.as_second()).ok_or_else(wrong)?;
    time.parse().map_err(|_| wrong())
}

/// A sentence or three; every refused handshake writes the reason into its log line.
const MAX_TEXT: usize = 512;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_entry_is_read_as_the_file_reads_it_and_shown_in_one_spelling() {
        let json = br#"{"trust":"mobile","match":{"serial":"0A:0B"},"reason":"stolen","author":"ops","expires":"2999-01-31T13:00:00+01:00"}"#;
        let DenyRequest { trust, spec } = parse_deny_request(json, 0).unwrap();
        let shown = deny_json(&trust, &spec);
        assert_eq!(shown["match"], json!({"serial": ["0a0b"]}));
        assert_eq!(shown["expires"], "2999-01-31T12:00:00Z");
        assert_eq!((&shown["trust"], &shown["source"]), (&json!("mobile"), &json!("admin")));
    }

    #[test]
    fn software_is_denied_together_with_whose_certificate_it_shows() {
        let json = br#"{"trust":"t","match":{"ja4":["t13d1516h2_*"],"subject_cn":"x"},"reason":"script"}"#;
        let DenyRequest { trust, spec } = parse_deny_request(json, 0).unwrap();
        assert_eq!(deny_json(&trust, &spec)["match"], json!({"ja4": ["t13d1516h2_*"], "subject_cn": ["x"]}));
    }

    #[test]
    fn what_is_no_entry_is_refused_in_words() {
        let long = "x".repeat(MAX_TEXT + 1);
        for (json, said) in [
            (String::new(), "not a JSON entry"),
            ("[]".to_owned(), "not a JSON entry"),
            (r#"{"trust":null}"#.to_owned(), "not a JSON entry"),
            (r#"{"match":{"serial":"1"},"reason":"x"}"#.to_owned(), "trust: missing"),
            (r#"{"trust":"t","reason":"x"}"#.to_owned(), "match: missing"),
            (r#"{"trust":"t","match":{},"reason":"x"}"#.to_owned(), "an empty matcher would match everybody"),
            (r#"{"trust":"t","match":{"serial":[]},"reason":"x"}"#.to_owned(), "an empty list is no condition"),
            (r#"{"trust":"t","match":{"seriall":"1"},"reason":"x"}"#.to_owned(), "did you mean `serial`?"),
            (r#"{"trust":"t","match":{"serial":"1"}}"#.to_owned(), "reason: missing"),
            (r#"{"trust":"t","match":{"ja4":"*"},"reason":"x"}"#.to_owned(), "every client"),
            (r#"{"trust":"t","match":{"h2":"2:0|00|0|m"},"reason":"x"}"#.to_owned(), "once requests come"),
            (r#"{"trust":"t","match":{"serial":"1"},"reason":7}"#.to_owned(), "reason: expected a text"),
            (r#"{"trust":"t","match":{"serial":"1"},"reason":"a\nb"}"#.to_owned(), "control character"),
            (format!(r#"{{"trust":"t","match":{{"serial":"1"}},"reason":"{long}"}}"#), "512"),
            (format!(r#"{{"trust":"t","match":{{"serial":"1"}},"reason":"x","author":"{long}"}}"#), "512"),
            (r#"{"trust":"t","match":{"serial":"1"},"reason":"x","expires":7}"#.to_owned(), "expected a time"),
            (
                r#"{"trust":"t","match":{"serial":"1"},"reason":"x","expires":"2027-01-31"}"#.to_owned(),
                "expected a time",
            ),
            (
                r#"{"trust":"t","match":{"serial":"1"},"reason":"x","expires":"1969-01-01T00:00:00Z"}"#.to_owned(),
                "past already",
            ),
            (r#"{"trust":"t","match":{"serial":"1"},"reason":"x","ends":"never"}"#.to_owned(), "unknown key `ends`"),
            (r#"{"trust":"t","match":{"serial":"1"},"reason":"x","source":"file"}"#.to_owned(), "unknown key"),
            (format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)), "not a JSON entry"),
        ] {
            let problems = parse_deny_request(json.as_bytes(), 0).expect_err(&json).join("\n");
            assert!(problems.contains(said), "{json}\n{problems}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_request_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "\\PC{0,60}") {
            let _ = parse_deny_request(&bytes, 0);
            let _ = parse_deny_request(format!("{{\"trust\":\"t\",\"match\":{{\"uri\":\"{text}\"}},\"reason\":\"{text}\"}}").as_bytes(), 0);
        }
    }
}
