use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;

use p12_keystore::{KeyStore, Pkcs12ImportPolicy};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::mint::{DAY, LIFE};
use super::*;

fn fresh() -> (tempfile::TempDir, PathBuf, Clock) {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("certs/dev");
    (root, directory, Clock::adjustable())
}

fn inodes(directory: &Path) -> Vec<u64> {
    NAMES.iter().map(|name| fs::symlink_metadata(directory.join(name)).unwrap().ino()).collect()
}

/// The second implementation: everything we make must be good in its eyes too.
fn openssl(directory: &Path, arguments: &[&str]) -> (bool, String) {
    let run = Command::new("openssl").current_dir(directory).args(arguments).output();
    let run = run.expect("the openssl command is needed for these tests: install the package `openssl`");
    let text = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    (run.status.success(), text)
}

#[test]
fn the_set_is_complete_and_every_file_is_for_its_owner_only() {
    let (_root, directory, clock) = fresh();
    let report = make(&directory, Force::Keep, &clock).unwrap();
    assert_eq!(report.outcome, Outcome::Made);
    let mut found: Vec<_> =
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let mut expected = NAMES.map(str::to_owned).to_vec();
    found.sort();
    expected.sort();
    assert_eq!(found, expected, "no file is missing and no temporary file is left");
    for name in NAMES {
        assert_eq!(fs::metadata(directory.join(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_complete_set_is_reused_and_not_touched() {
    let (_root, directory, clock) = fresh();
    make(&directory, Force::Keep, &clock).unwrap();
    let before = inodes(&directory);
    let report = make(&directory, Force::Keep, &clock).unwrap();
    assert_eq!(report.outcome, Outcome::Reused);
    assert!(report.to_string().starts_with("reusing"));
    assert_eq!(inodes(&directory), before);
}

#[test]
fn force_makes_every_file_anew() {
    let (_root, directory, clock) = fresh();
    make(&directory, Force::Keep, &clock).unwrap();
    let before = fs::read(directory.join("ca.pem")).unwrap();
    assert_eq!(make(&directory, Force::Overwrite, &clock).unwrap().outcome, Outcome::Made);
    assert_ne!(fs::read(directory.join("ca.pem")).unwrap(), before);
    assert_eq!(make(&directory, Force::Keep, &clock).unwrap().outcome, Outcome::Reused);
}

#[test]
fn an_incomplete_set_is_an_error_that_names_what_is_missing_and_force() {
    let (_root, directory, clock) = fresh();
    make(&directory, Force::Keep, &clock).unwrap();
    fs::remove_file(directory.join("foreign.key")).unwrap();
    let error = make(&directory, Force::Keep, &clock).unwrap_err().to_string();
    assert!(error.contains("foreign.key") && error.contains("--force"), "{error}");
    assert!(!directory.join("foreign.key").exists());
}

#[test]
fn one_file_of_somebody_else_is_not_overwritten() {
    let (_root, directory, clock) = fresh();
    fs::create_dir_all(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(directory.join("server.key"), "mine").unwrap();
    let error = make(&directory, Force::Keep, &clock).unwrap_err();
    assert!(matches!(error, PkiError::Incomplete { .. }), "{error}");
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
    assert_eq!(fs::read(directory.join("server.key")).unwrap(), b"mine");
}

#[test]
fn a_file_that_appears_while_the_set_is_made_stays() {
    let (_root, directory, _clock) = fresh();
    let target = Directory::open(&directory).unwrap();
    fs::write(directory.join("server.key"), "mine").unwrap();
    let ours = [File { name: "server.key", content: b"ours".to_vec() }];
    let error = target.write(&ours, Force::Keep).unwrap_err();
    assert!(matches!(&error, PkiError::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists), "{error}");
    assert_eq!(fs::read(directory.join("server.key")).unwrap(), b"mine");
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn an_expired_set_is_an_error_that_names_the_certificates_and_force() {
    let (_root, directory, clock) = fresh();
    make(&directory, Force::Keep, &clock).unwrap();
    clock.advance(LIFE + DAY);
    let error = make(&directory, Force::Keep, &clock).unwrap_err().to_string();
    assert!(error.contains("server.pem") && error.contains("--force"), "{error}");
}

#[test]
fn a_certificate_that_cannot_be_read_makes_the_set_unusable() {
    let (_root, directory, clock) = fresh();
    make(&directory, Force::Keep, &clock).unwrap();
    for content in ["", "rubbish", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        fs::write(directory.join("client.pem"), content).unwrap();
        let error = make(&directory, Force::Keep, &clock).unwrap_err();
        assert!(matches!(&error, PkiError::Stale { names, .. } if names == &["client.pem"]), "{error}");
    }
}

#[test]
fn a_run_that_was_cut_short_leaves_a_set_that_counts_as_incomplete() {
    let (_root, directory, clock) = fresh();
    make(&directory, Force::Keep, &clock).unwrap();
    // The second file cannot be replaced, for it is a directory now.
    fs::remove_file(directory.join("server.key")).unwrap();
    fs::create_dir(directory.join("server.key")).unwrap();
    make(&directory, Force::Overwrite, &clock).unwrap_err();
    let error = make(&directory, Force::Keep, &clock).unwrap_err();
    assert!(matches!(&error, PkiError::Incomplete { missing, .. } if missing == &[LAST]), "{error}");
}

#[test]
fn force_replaces_a_link_and_not_what_it_points_at() {
    let (root, directory, clock) = fresh();
    make(&directory, Force::Keep, &clock).unwrap();
    let precious = root.path().join("precious");
    fs::write(&precious, "keep me").unwrap();
    fs::remove_file(directory.join("ca.key")).unwrap();
    symlink(&precious, directory.join("ca.key")).unwrap();
    make(&directory, Force::Overwrite, &clock).unwrap();
    assert_eq!(fs::read(&precious).unwrap(), b"keep me");
    assert!(fs::symlink_metadata(directory.join("ca.key")).unwrap().is_file());
}

#[test]
fn a_dangling_link_counts_as_a_file_that_is_there() {
    let (root, directory, clock) = fresh();
    fs::create_dir_all(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    symlink(root.path().join("nowhere"), directory.join("ca.key")).unwrap();
    assert!(matches!(make(&directory, Force::Keep, &clock).unwrap_err(), PkiError::Incomplete { .. }));
    assert!(!root.path().join("nowhere").exists());
}

#[test]
fn a_directory_that_is_open_to_others_is_refused_also_for_reuse() {
    let (_root, directory, clock) = fresh();
    make(&directory, Force::Keep, &clock).unwrap();
    for mode in [0o777, 0o755, 0o710, 0o701] {
        fs::set_permissions(&directory, fs::Permissions::from_mode(mode)).unwrap();
        for force in [Force::Keep, Force::Overwrite] {
            assert!(matches!(make(&directory, force, &clock).unwrap_err(), PkiError::Exposed(_)), "{mode:o}");
        }
    }
}

#[test]
fn runs_at_the_same_time_leave_one_whole_set() {
    let (_root, directory, clock) = fresh();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                // Each of them makes it, finds it, or is told that it is there in part.
                let _ = make(&directory, Force::Keep, &clock);
            });
        }
    });
    assert_eq!(make(&directory, Force::Keep, &clock).unwrap().outcome, Outcome::Reused);
    for (leaf, ca) in [("server.pem", "ca.pem"), ("client.pem", "ca.pem"), ("foreign.pem", "foreign-ca.pem")] {
        assert!(openssl(&directory, &["verify", "-CAfile", ca, leaf]).0, "{leaf}");
    }
    for name in ["ca", "server", "client", "expired", "foreign-ca", "foreign"] {
        let of_key = openssl(&directory, &["pkey", "-in", &format!("{name}.key"), "-pubout"]);
        let of_certificate = openssl(&directory, &["x509", "-in", &format!("{name}.pem"), "-noout", "-pubkey"]);
        assert_eq!(of_key, of_certificate, "{name}");
    }
    assert_eq!(fs::read_dir(&directory).unwrap().count(), NAMES.len(), "no temporary file is left");
}

#[test]
fn validities_are_before_around_and_after_now() {
    let now = Duration::from_hours(24 * 365 * 50);
    let contains = |validity: Validity| (validity.not_before <= now, now <= validity.not_after);
    assert_eq!(contains(Validity::current(now)), (true, true));
    assert_eq!(contains(Validity::over(now)), (true, false));
    assert_eq!(contains(Validity::to_come(now)), (false, true));
    assert_eq!(contains(Validity::LONG), (true, true));
}

#[test]
fn the_p12_opens_with_its_password_only_and_holds_key_and_chain() {
    let (_root, directory, clock) = fresh();
    make(&directory, Force::Keep, &clock).unwrap();
    let data = fs::read(directory.join("client.p12")).unwrap();
    let password = fs::read_to_string(directory.join("client.p12.password")).unwrap();
    let store = KeyStore::from_pkcs12(&data, &password, Pkcs12ImportPolicy::Strict).unwrap();
    let (alias, chain) = store.private_key_chain().unwrap();
    assert_eq!(alias, DEVICE);
    assert_eq!(chain.certs().len(), 2);
    assert!(KeyStore::from_pkcs12(&data, "wrong", Pkcs12ImportPolicy::Strict).is_err());
}

#[test]
fn openssl_opens_the_p12_and_finds_modern_algorithms() {
    let (_root, directory, clock) = fresh();
    make(&directory, Force::Keep, &clock).unwrap();
    let (good, text) =
        openssl(&directory, &["pkcs12", "-in", "client.p12", "-passin", "pass:portcullis", "-info", "-nodes"]);
    assert!(good, "{text}");
    assert!(text.contains("PBES2, PBKDF2, AES-256-CBC, Iteration 10000, PRF hmacWithSHA256"), "{text}");
    assert!(text.contains("MAC: sha256, Iteration 10000"), "{text}");
    assert_eq!(text.matches("BEGIN CERTIFICATE").count(), 2, "{text}");
    assert_eq!(text.matches("BEGIN PRIVATE KEY").count(), 1, "{text}");
    assert!(!openssl(&directory, &["pkcs12", "-in", "client.p12", "-passin", "pass:", "-nokeys"]).0);
}

#[test]
fn openssl_verifies_what_is_good_and_refuses_the_rest() {
    let (_root, directory, clock) = fresh();
    make(&directory, Force::Keep, &clock).unwrap();
    let verify =
        |ca, purpose, leaf| openssl(&directory, &["verify", "-x509_strict", "-CAfile", ca, "-purpose", purpose, leaf]);
    for (ca, purpose, leaf, said) in [
        ("ca.pem", "sslserver", "server.pem", "OK"),
        ("ca.pem", "sslclient", "client.pem", "OK"),
        ("foreign-ca.pem", "sslclient", "foreign.pem", "OK"),
        ("ca.pem", "sslclient", "expired.pem", "certificate has expired"),
        ("ca.pem", "sslclient", "server.pem", "unsuitable certificate purpose"),
        ("ca.pem", "sslclient", "foreign.pem", "unable to get local issuer"),
    ] {
        let (good, text) = verify(ca, purpose, leaf);
        assert_eq!(good, said == "OK", "{leaf}: {text}");
        assert!(text.contains(said), "{leaf}: {text}");
    }
}

#[test]
fn the_foreign_client_says_of_itself_what_the_good_one_says() {
    let (_root, directory, clock) = fresh();
    make(&directory, Force::Keep, &clock).unwrap();
    let names = ["-noout", "-subject", "-ext", "subjectAltName"];
    let read = |file| openssl(&directory, &[&["x509", "-in", file], &names[..]].concat()).1;
    assert_eq!(read("client.pem"), read("foreign.pem"));
    assert!(read("client.pem").contains("URI:spiffe://portcullis.example/app/demo/device/0001"));
    assert!(read("client.pem").contains("CN = demo-device-0001"));
}

#[test]
fn every_kind_of_key_issues_certificates_that_openssl_verifies() {
    let root = tempfile::tempdir().unwrap();
    let kinds = [KeyKind::EcdsaP256, KeyKind::EcdsaP384, KeyKind::Ed25519, KeyKind::Rsa2048, KeyKind::Rsa3072];
    for kind in kinds {
        let ca = Authority::new("Root", kind).unwrap();
        let leaf = ca.issue(&LeafSpec { key: kind, ..LeafSpec::client("leaf", Validity::LONG) }).unwrap();
        fs::write(root.path().join("ca.pem"), ca.pem()).unwrap();
        fs::write(root.path().join("leaf.pem"), leaf.pem()).unwrap();
        fs::write(root.path().join("leaf.key"), leaf.key_pem().as_bytes()).unwrap();
        fs::write(root.path().join("leaf.p12"), leaf.p12("leaf", "secret").unwrap()).unwrap();
        let (good, text) = openssl(root.path(), &["verify", "-CAfile", "ca.pem", "leaf.pem"]);
        assert!(good, "{kind:?}: {text}");
        let (good, text) = openssl(root.path(), &["pkey", "-in", "leaf.key", "-check", "-noout"]);
        assert!(good, "{kind:?}: {text}");
        let (good, text) = openssl(root.path(), &["pkcs12", "-in", "leaf.p12", "-passin", "pass:secret", "-nodes"]);
        assert!(good, "{kind:?}: {text}");
    }
}

#[test]
fn a_leaf_under_two_intermediates_sends_both_and_not_the_root() {
    let root = Authority::new("Root", KeyKind::EcdsaP256).unwrap();
    let lower = root.intermediate("First").unwrap().intermediate("Second").unwrap();
    let leaf = lower.issue(&LeafSpec::client("leaf", Validity::LONG)).unwrap();
    let sent = leaf.chain_der();
    let subjects: Vec<_> =
        sent.iter().map(|der| X509Certificate::from_der(der).unwrap().1.subject().to_string()).collect();
    assert_eq!(subjects, ["CN=leaf", "CN=Second", "CN=First"]);
    assert_eq!(leaf.full_chain_der().last(), Some(&root.cert_der()));
    assert_eq!(leaf.pem().matches("BEGIN CERTIFICATE").count(), 3);
}

#[test]
fn a_leaf_says_what_its_spec_says() {
    let ca = Authority::new("Root", KeyKind::EcdsaP256).unwrap();
    let spec = LeafSpec {
        cn: String::new(),
        organization: Some("Org".to_owned()),
        names: vec![
            Name::Email("a@example.com".to_owned()),
            Name::Dns("b.example.com".to_owned()),
            Name::Uri("urn:c".to_owned()),
            Name::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        ],
        validity: Validity { not_before: Duration::from_millis(1_500), not_after: Duration::from_secs(2) },
        usages: vec![Usage::Other],
        key: KeyKind::EcdsaP256,
    };
    let der = ca.issue(&spec).unwrap().cert_der();
    let leaf = X509Certificate::from_der(&der).unwrap().1;
    assert_eq!(leaf.subject().to_string(), "O=Org");
    assert_eq!((leaf.validity().not_before.timestamp(), leaf.validity().not_after.timestamp()), (1, 2));
    let usage = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.code_signing && !usage.client_auth && !usage.server_auth && !usage.any);
    let names = &leaf.subject_alternative_name().unwrap().unwrap().value.general_names;
    assert_eq!(
        names[..],
        [
            GeneralName::RFC822Name("a@example.com"),
            GeneralName::DNSName("b.example.com"),
            GeneralName::URI("urn:c"),
            GeneralName::IPAddress(&[127, 0, 0, 1]),
        ]
    );
    let bare = ca.issue(&LeafSpec { names: Vec::new(), usages: Vec::new(), ..spec }).unwrap().cert_der();
    let bare = X509Certificate::from_der(&bare).unwrap().1;
    assert!(bare.extended_key_usage().unwrap().is_none() && bare.subject_alternative_name().unwrap().is_none());
}

#[test]
fn names_and_times_that_cannot_be_encoded_are_errors() {
    let ca = Authority::new("Root", KeyKind::EcdsaP256).unwrap();
    let client = LeafSpec::client("leaf", Validity::LONG);
    let odd = LeafSpec { names: vec![Name::Dns("bücher.example".to_owned())], ..client.clone() };
    assert!(matches!(ca.issue(&odd).unwrap_err(), PkiError::Mint(_)));
    for not_after in [Duration::from_hours(24 * 366 * 8_100), Duration::MAX] {
        let late = LeafSpec { validity: Validity { not_before: Duration::ZERO, not_after }, ..client.clone() };
        assert!(matches!(ca.issue(&late).unwrap_err(), PkiError::OutOfTime));
    }
}

#[test]
fn debug_output_shows_no_key() {
    let ca = Authority::new("Root", KeyKind::EcdsaP256).unwrap();
    let leaf = ca.issue(&LeafSpec::client("leaf", Validity::LONG)).unwrap();
    assert_eq!(format!("{ca:?} {leaf:?}"), "Authority { kind: EcdsaP256, depth: 1, .. } Issued { above: 1, .. }");
}
