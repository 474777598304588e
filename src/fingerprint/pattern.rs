//! Sets of JA4s as operators write them.

use std::fmt;
use std::str::FromStr;

use super::ja4::{Ja4, TlsPrint, is_hash, is_head};

/// A JA4 in which whole parts may be `*`: `t13d1516h2_8daaf6152771_e5627efa2ab1`, `*_8daaf6152771_e5627efa2ab1`. A `*`
/// at the end stands for all the parts that are left: `t13d1516h2_*`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Ja4Pattern {
    text: Box<str>,
    /// `None` is any.
    parts: [Option<Box<str>>; 3],
}

impl Ja4Pattern {
    /// Whether it describes this client: its JA4, or the stable form of it.
    #[must_use]
    pub fn matches(&self, print: &TlsPrint) -> bool {
        self.describes(&print.ja4) || self.describes(&print.stable)
    }

    fn describes(&self, ja4: &Ja4) -> bool {
        let parts = self.parts.iter().zip(ja4.parts());
        parts.into_iter().all(|(wanted, part)| wanted.as_deref().is_none_or(|wanted| wanted.as_bytes() == part))
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Ja4Pattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str =
            "not a JA4 like t13d1516h2_8daaf6152771_e5627efa2ab1, nor one with `*` for whole parts like t13d1516h2_*";
        let mut rest: Vec<_> = text.split('_').collect();
        if rest.last() == Some(&"*") && rest.len() < 3 {
            rest.resize(3, "*");
        }
        let [head, ciphers, extensions] = <[&str; 3]>::try_from(rest).map_err(|_| WRONG)?;
        let checks: [fn(&str) -> bool; 3] = [is_head, is_hash, is_hash];
        let parts = [head, ciphers, extensions];
        if parts.iter().zip(checks).any(|(part, well)| *part != "*" && !well(part)) {
            return Err(WRONG);
        }
        if parts == ["*"; 3] {
            return Err("this describes every client");
        }
        Ok(Self { text: text.into(), parts: parts.map(|part| (part != "*").then(|| part.into())) })
    }
}

impl fmt::Debug for Ja4Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for Ja4Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_describes_by_whole_parts() {
        let ja4: Ja4 = "t13d1516h2_8daaf6152771_e5627efa2ab1".parse().unwrap();
        for (text, expected) in [
            ("t13d1516h2_8daaf6152771_e5627efa2ab1", true),
            ("t13d1516h2_8daaf6152771_*", true),
            ("t13d1516h2_*", true),
            ("t13d1516h2_*_e5627efa2ab1", true),
            ("*_8daaf6152771_*", true),
            ("*_8daaf6152771_e5627efa2ab1", true),
            ("t13d1516h1_*", false),
            ("t13d1517h2_8daaf6152771_e5627efa2ab1", false),
            ("*_8daaf6152772_*", false),
            ("*_*_e5627efa2ab2", false),
        ] {
            assert_eq!(text.parse::<Ja4Pattern>().unwrap().describes(&ja4), expected, "{text}");
        }
    }

    #[test]
    fn a_pattern_that_could_describe_nobody_or_everybody_is_refused() {
        for text in [
            "",
            "*",
            "*_*",
            "*_*_*",
            "t13d1516h2",
            "t13d15*",
            "t13d1516h2_8daaf61*",
            "t13d1516h2_8daaf615277_e5627efa2ab1",
            "t13d1516h2_8DAAF6152771_e5627efa2ab1",
            "t13d1516h2_8daaf6152771_e5627efa2ab1_*",
            "x13d1516h2_*",
            "t13x1516h2_*",
            "t13d1516h2__e5627efa2ab1",
        ] {
            assert!(text.parse::<Ja4Pattern>().is_err(), "{text}");
        }
    }
}
