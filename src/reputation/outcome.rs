//! What the backend's answers say: which are failures, and which are not.

use std::time::Duration;

use http::header::{HeaderMap, HeaderName};

/// A kind of failure. All conditions that it has must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct OutcomeClass {
    /// The status is one of these; empty: any.
    pub statuses: Vec<u16>,
    /// The response has this field with this value.
    pub header: Option<(HeaderName, Box<str>)>,
    /// The backend took longer than this.
    pub slower_than: Option<Duration>,
    /// What it adds to the scores; below zero: what it takes back.
    pub weight: f32,
}

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// It failed, by so much; or it makes up for so much.
    Counted(f32),
    /// It did not fail; the weight that a failure would have had.
    Good(f32),
    /// It says nothing: an error that no class has.
    Neutral,
}

/// The outcome of an answer: the first class that it is of.
#[must_use]
pub fn outcome(classes: &[OutcomeClass], status: u16, headers: &HeaderMap, took: Duration) -> Outcome {
    if let Some(class) = classes.iter().find(|class| class.has(status, headers, took)) {
        return Outcome::Counted(class.weight);
    }
    match classes.iter().map(|class| class.weight).reduce(f32::max) {
        Some(weight) if status < 400 && weight > 0.0 => Outcome::Good(weight),
        _ => Outcome::Neutral,
    }
}

impl OutcomeClass {
    fn has(&self, status: u16, headers: &HeaderMap, took: Duration) -> bool {
        let value = |(name, value): &(HeaderName, Box<str>)| {
            headers.get_all(name).iter().any(|found| found.as_bytes().eq_ignore_ascii_case(value.as_bytes()))
        };
        (self.statuses.is_empty() || self.statuses.contains(&status))
            && self.header.as_ref().is_none_or(value)
            && self.slower_than.is_none_or(|most| took > most)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn an_answer_is_of_the_first_class_that_has_it() {
        let class = |statuses: &[u16], weight| OutcomeClass {
            statuses: statuses.to_vec(),
            header: None,
            slower_than: None,
            weight,
        };
        let name = HeaderName::from_static("x-login-result");
        let classes = [
            class(&[401, 403, 429], 1.0),
            OutcomeClass { header: Some((name.clone(), "fail".into())), ..class(&[], 2.0) },
            OutcomeClass { header: Some((name.clone(), "proved".into())), ..class(&[200], -20.0) },
            OutcomeClass { slower_than: Some(Duration::from_secs(2)), ..class(&[500, 200], 0.5) },
        ];
        for (status, header, millis, expected) in [
            (401, None, 1, Outcome::Counted(1.0)),
            (403, Some("fail"), 1, Outcome::Counted(1.0)),
            (200, Some("fail"), 1, Outcome::Counted(2.0)),
            (200, Some("FAIL"), 1, Outcome::Counted(2.0)),
            (200, Some("failed"), 1, Outcome::Good(2.0)),
            (200, Some("proved"), 1, Outcome::Counted(-20.0)),
            (204, Some("proved"), 1, Outcome::Good(2.0)),
            (200, None, 2_001, Outcome::Counted(0.5)),
            (200, None, 2_000, Outcome::Good(2.0)),
            (302, None, 1, Outcome::Good(2.0)),
            (404, None, 1, Outcome::Neutral),
            (503, None, 5_000, Outcome::Neutral),
        ] {
            let fields = header.map(|value| (name.clone(), HeaderValue::from_static(value)));
            let headers = fields.into_iter().collect();
            let got = outcome(&classes, status, &headers, Duration::from_millis(millis));
            assert_eq!(got, expected, "{status} {header:?} {millis}");
        }
        assert_eq!(outcome(&[], 401, &HeaderMap::new(), Duration::ZERO), Outcome::Neutral);
    }
}
