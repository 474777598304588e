//! The demonstration's stage: certificates, a configuration, and lines to copy and paste.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::pki::{self, Force, P12_PASSWORD, PkiError, Report};
use crate::clock::Clock;
use crate::config::Config;

/// How the demonstration's configuration names its backend.
pub const SERVERS: &str = "servers = [\"http://127.0.0.1:PORT\"]";

/// A demonstration that only needs to be started.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The configuration to run.
    pub config: PathBuf,
    /// Where the certificates are, and whether they are new.
    pub certificates: Report,
}

/// Makes `certs/dev` under `directory`, and `config/demo.toml` unless it is there.
///
/// # Errors
///
/// As [`pki::make`]; [`PkiError::Io`] if the configuration cannot be written.
pub fn prepare(directory: &Path, force: Force, clock: &Clock) -> Result<Prepared, PkiError> {
    let folder = directory.join("certs/dev");
    let certificates = pki::make(&folder, force, clock)?;
    let config = directory.join("config/demo.toml");
    write_config(&config).map_err(|source| PkiError::Io { path: config.clone(), source })?;
    Ok(Prepared { config, certificates })
}

/// Where the demonstration's backend listens: the first server of the upstream `echo`. `None` when
/// that is no loopback address with a port, because the backend trusts whoever connects.
pub fn backend(config: &Config) -> Option<SocketAddr> {
    let echo = config.upstreams.iter().find(|upstream| &*upstream.name == "echo")?;
    let server = echo.servers.first()?;
    let address = SocketAddr::new(server.host.parse().ok()?, server.port);
    (address.ip().is_loopback() && address.port() != 0).then_some(address)
}

/// How a client on this machine names the gate.
pub fn gate(addresses: &[SocketAddr]) -> String {
    addresses.first().map_or_else(String::new, |address| format!("https://localhost:{}", address.port()))
}

/// For each kind of client a `curl` line and, above it, what it will show. `certificates` is what
/// [`pki::make`] filled.
pub fn curl_lines(gate: &str, certificates: &Path) -> String {
    let path = |name: &str| shell_word(&certificates.join(name).to_string_lossy());
    let curl = format!("curl --cacert {}", path("ca.pem"));
    let pair = |name: &str| format!("--cert {} --key {}", path(&format!("{name}.pem")), path(&format!("{name}.key")));
    let p12 = shell_word(&format!("{}:{P12_PASSWORD}", certificates.join("client.p12").to_string_lossy()));
    let good = pair("client");
    let scenes = [
        ("let in: the backend shows who it was told is calling", format!("{curl} {good} {gate}/hello")),
        (
            "let in: the same with the P12, as an app carries it",
            format!("{curl} --cert-type P12 --cert {p12} {gate}/hello"),
        ),
        (
            "let in, though the headers claim otherwise: the backend sees the certificate's name only",
            format!("{curl} {good} -H 'X-Client-Cert-Subject: CN=admin' {gate}/hello"),
        ),
        ("refused: no certificate (TLS alert certificate required)", format!("{curl} {gate}/hello")),
        (
            "refused: the same name from a foreign CA (TLS alert unknown ca)",
            format!("{curl} {} {gate}/hello", pair("foreign")),
        ),
        (
            "refused: expired yesterday (TLS alert certificate expired)",
            format!("{curl} {} {gate}/hello", pair("expired")),
        ),
        (
            "limited: five pass, then 429 with Retry-After",
            format!(
                "for i in 1 2 3 4 5 6 7; do {curl} {good} -s -o /dev/null -w '%{{http_code}}\\n' -X POST {gate}/v1/login; done"
            ),
        ),
    ];
    let mut out = String::new();
    for (shows, line) in scenes {
        let _ = writeln!(out, "# {shows}\n{line}\n");
    }
    out
}

/// Writes the configuration this binary was built with; one that is there is the operator's.
fn write_config(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => file.write_all(CONFIG.as_bytes()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// The text as one word of a POSIX shell.
fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

const CONFIG: &str = include_str!("../../config/demo.toml");

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;
    use crate::config;

    const GATE: &str = "https://localhost:8443";

    #[test]
    fn a_stage_is_set_once_and_found_again() {
        let root = tempfile::tempdir().unwrap();
        let clock = Clock::system();
        let first = prepare(root.path(), Force::Keep, &clock).unwrap();
        assert_eq!(fs::read_to_string(&first.config).unwrap(), CONFIG);
        fs::write(&first.config, "# mine").unwrap();
        let second = prepare(root.path(), Force::Overwrite, &clock).unwrap();
        assert_eq!(fs::read_to_string(&second.config).unwrap(), "# mine");
    }

    #[test]
    fn every_file_that_the_configuration_and_the_lines_name_is_made() {
        let root = tempfile::tempdir().unwrap();
        let prepared = prepare(root.path(), Force::Keep, &Clock::system()).unwrap();
        let folder = prepared.config.parent().unwrap();
        let named = CONFIG.split('"').filter(|word| word.starts_with("../certs/"));
        assert_eq!(named.inspect(|path| assert!(folder.join(path).is_file(), "{path}")).count(), 3);
        let prefix = root.path().to_str().unwrap();
        let lines = curl_lines(GATE, &prepared.certificates.directory);
        let words = lines.split_whitespace().filter(|word| word.starts_with(prefix));
        let paths: Vec<_> = words.map(|word| word.trim_end_matches(":portcullis")).collect();
        assert!(paths.len() > 10);
        assert!(paths.iter().all(|path| Path::new(path).is_file()), "{paths:?}");
    }

    #[test]
    fn the_addresses_are_those_of_the_configuration() {
        let with = |server: &str| {
            let text = CONFIG.replace("127.0.0.1:9000", server);
            backend(&config::parse("config/demo.toml", &text).unwrap())
        };
        assert_eq!(with("127.0.0.1:9000"), Some("127.0.0.1:9000".parse().unwrap()));
        assert_eq!(with("[::1]:7"), Some("[::1]:7".parse().unwrap()));
        for reachable in ["0.0.0.0:9000", "10.0.0.1:9000", "backend:9000"] {
            assert_eq!(with(reachable), None, "{reachable}");
        }
        assert_eq!(gate(&["127.0.0.1:8443".parse().unwrap()]), GATE);
    }

    #[test]
    fn what_is_refused_is_said_above_its_line() {
        let lines = curl_lines(GATE, Path::new("certs/dev"));
        let refused: Vec<_> = lines.lines().filter(|line| line.starts_with("# refused")).collect();
        assert_eq!(refused.len(), 3, "{lines}");
        assert!(lines.contains("--cert-type P12 --cert certs/dev/client.p12:portcullis"), "{lines}");
    }

    proptest! {
        #[test]
        fn a_shell_reads_a_word_as_what_it_was(text in "[^\0]{0,20}") {
            let script = format!("printf %s {}", shell_word(&text));
            let said = Command::new("sh").args(["-c", &script]).output().unwrap().stdout;
            prop_assert_eq!(String::from_utf8(said).unwrap(), text);
        }
    }
}
