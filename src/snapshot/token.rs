//! The token of the admin listener.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use zeroize::Zeroizing;

use crate::config::{Config, Problem};
use crate::identity::Digest;

/// 128 bits in hexadecimal digits: who guesses, at any rate, does not guess that.
const LEAST: usize = 32;
/// A JSON web token of a usual size; what is longer is another file.
const MOST: usize = 512;

/// What the token that is shown must hash to; `None`: none is wanted.
///
/// # Errors
/// A file that cannot be read, or holds anything but one token.
pub(super) fn read(config: &Config) -> Result<Option<Digest>, Box<Problem>> {
    let Some(path) = config.admin.as_ref().and_then(|admin| admin.token_file.as_deref()) else { return Ok(None) };
    let hint = "make one with `openssl rand -hex 32`";
    token(path).map(Some).map_err(|what| Box::new(config.places.problem_with(path, &what, hint)))
}

fn token(path: &Path) -> Result<Digest, String> {
    let mut text = Zeroizing::new(String::new());
    let most = u64::try_from(MOST).unwrap_or(u64::MAX).saturating_add(3);
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(most).read_to_string(&mut text).map_err(|error| error.to_string())?;
    let token = text.trim_end_matches(['\r', '\n']);
    if !(LEAST..=MOST).contains(&token.len()) || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("not one token of {LEAST} to {MOST} characters without spaces"));
    }
    Ok(Digest::of(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_line_that_nobody_guesses() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let good = "0123456789abcdef0123456789abcdef";
        for (text, is_token) in [
            (good.to_owned(), true),
            (format!("{good}\n"), true),
            (format!("{good}\r\n"), true),
            ("x".repeat(512), true),
            (String::new(), false),
            ("x".repeat(31), false),
            ("x".repeat(513), false),
            ("x".repeat(10_000), false),
            (format!("{good} {good}"), false),
            (format!("{good}\n{good}\n"), false),
            (format!("{good}ü"), false),
        ] {
            std::fs::write(&path, &text).unwrap();
            assert_eq!(token(&path).is_ok(), is_token, "{text:?}");
        }
        std::fs::write(&path, format!("{good}\n")).unwrap();
        assert_eq!(token(&path).unwrap(), Digest::of(good.as_bytes()));
        assert!(token(&dir.path().join("missing")).is_err());
    }
}
