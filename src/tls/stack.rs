//! A certificate that comes from software that it was not issued for is in the wrong hands.

use super::spec::{StackMode, StackSpec};
use crate::fingerprint::TlsPrint;
use crate::reject::{Reason, Reject};

impl StackSpec {
    /// Whether software with this ClientHello is one of those that may show a certificate. What cannot be read is not.
    #[must_use]
    pub fn allows(&self, print: Option<TlsPrint>) -> bool {
        print.is_some_and(|print| self.allow.iter().any(|pattern| pattern.matches(&print)))
    }

    /// The verdict on it, where there is one.
    ///
    /// # Errors
    /// [`Reason::StackNotAllowed`].
    pub fn judge(&self, print: Option<TlsPrint>) -> Result<(), Reject> {
        if self.mode != StackMode::Enforce || self.allows(print) {
            return Ok(());
        }
        Err(Reject::new(Reason::StackNotAllowed, told(print)))
    }
}

/// What an operator would add if it is one of his.
fn told(print: Option<TlsPrint>) -> String {
    match print {
        Some(print) => format!("{} is not in stack.allow", print.stable),
        None => "its ClientHello cannot be read".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_enforcing_refuses_and_the_unknown_is_not_allowed() {
        let ja4 = |text: &str| text.parse().unwrap();
        let plain = ja4("t13d1515h2_8daaf6152771_f37e75b10bcc");
        let resumed = TlsPrint { ja4: ja4("t13d1516h2_8daaf6152771_9b887d9acb53"), stable: plain };
        let other = TlsPrint {
            ja4: ja4("t13d1515h1_8daaf6152771_f37e75b10bcc"),
            stable: ja4("t13d1515h1_8daaf6152771_f37e75b10bcc"),
        };
        for (mode, others) in
            [(StackMode::Enforce, false), (StackMode::Learn, true), (StackMode::Off, true), (StackMode::Shadow, true)]
        {
            let spec = StackSpec { mode, allow: vec!["t13d1515h2_*".parse().unwrap()], learned: None };
            assert!(spec.judge(Some(resumed)).is_ok());
            for print in [Some(other), None] {
                assert!(!spec.allows(print));
                assert_eq!(spec.judge(print).is_ok(), others, "{mode:?}");
            }
        }
    }
}
