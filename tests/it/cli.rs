//! What an operator sees before anything runs: help, problems, exit codes.

use std::fs;
use std::net::TcpListener;

use portcullis::tools::pki::{Authority, KeyKind, LeafSpec, Name, Validity};

use crate::harness::{Ended, Process, World, unix};

const BACKEND: &str = "127.0.0.1:9";

/// The usual file, and files that are wrong in one way each.
fn world() -> (World, String) {
    let world = World::new();
    let config = world.config(BACKEND.parse().unwrap());
    let validity = Validity::over(unix());
    world.write("empty.pem", "");
    world.write("garbage.pem", "-----BEGIN CERTIFICATE-----\nthis is not base64!\n-----END CERTIFICATE-----\n");
    world.write("text.pem", "hello\n");
    world.write("expired-ca.pem", &Authority::within("Old CA", KeyKind::EcdsaP256, validity).unwrap().pem());
    world.write("other.key", &world.pki.good.key_pem());
    world.write(
        "encrypted.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIGbMFcGCSqGSIb3DQEFDTBK\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    (world, config)
}

fn check(world: &World, config: &str) -> Ended {
    let file = world.write("gate.toml", config);
    Process::ended(["check", "--config", file.to_str().unwrap()])
}

/// The 1-based line of `config` that has `what`.
fn line_of(config: &str, what: &str) -> usize {
    config.lines().position(|line| line.contains(what)).unwrap_or_else(|| panic!("no {what} in {config}")) + 1
}

#[test]
fn help_names_every_command_and_the_signals() {
    for arguments in [&["--help"][..], &["-h"], &["help"]] {
        let ended = Process::ended(arguments.iter().copied());
        assert_eq!(ended.code, Some(0), "{arguments:?}");
        for word in ["  run ", "  check ", "  demo ", "--config FILE", "HUP reloads", "TERM and INT drain"] {
            assert!(ended.text.contains(word), "{word}: {}", ended.text);
        }
    }
    for command in ["run", "check", "demo"] {
        assert_eq!(Process::ended([command, "--help"]).code, Some(0), "{command}");
    }
}

#[test]
fn arguments_that_make_no_sense_are_told_and_nothing_runs() {
    let cases = [
        (&["run"][..], "--config <FILE>"),
        (&["check"], "--config <FILE>"),
        (&["serve"], "unrecognized subcommand 'serve'"),
        (&["run", "--confg", "x"], "--config"),
        (&[], "Usage: portcullis <COMMAND>"),
    ];
    for (arguments, said) in cases {
        let ended = Process::ended(arguments.iter().copied());
        assert_eq!(ended.code, Some(2), "{arguments:?}");
        assert!(ended.text.contains(said), "{arguments:?}: {}", ended.text);
    }
}

#[test]
fn a_good_file_is_summed_up() {
    let (world, config) = world();
    let ended = check(&world, &config);
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    assert!(ended.text.ends_with("gate.toml: ok (1 host, 1 route, 1 trust store)"), "{}", ended.text);
}

#[test]
fn what_can_hardly_be_meant_is_a_warning_and_no_problem() {
    let (world, config) = world();
    let ended = check(&world, &format!("{config}\n[limit.unused]\nkey = \"all\"\nrate = \"1/s\"\n"));
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    assert!(ended.text.contains("warning: ") && ended.text.contains("limit.unused"), "{}", ended.text);
}

#[test]
fn every_problem_is_told_at_once_with_its_place_and_what_to_do() {
    let (world, config) = world();
    let config = config
        .replace("upstream = \"backend\"", "upstream = \"backen\"\nlimit = [\"nope\"]")
        .replace("trust = \"test\"", "trust = \"test\"\nclient_certificat = \"require\"")
        .replace("[admin]", "[admin]\npublik = true")
        + "[reload]\ninterval = \"1 parsec\"\n";
    let ended = check(&world, &config);
    assert_eq!(ended.code, Some(1), "{}", ended.text);
    let file = world.path().join("gate.toml").display().to_string();
    let cases = [
        ("backen\"", "there is no upstream \"backen\"", "did you mean \"backend\"?"),
        ("nope", "there is no limit \"nope\"", ""),
        ("client_certificat =", "unknown key `client_certificat`", "did you mean `client_certificate`?"),
        ("publik", "unknown key `publik`", "did you mean `public`?"),
        ("parsec", "is not a duration: a number and", "\"10s\""),
    ];
    for (at, what, hint) in cases {
        let place = format!("{file}:{}:", line_of(&config, at));
        let from = ended.text.find(&place).unwrap_or_else(|| panic!("{place} in {}", ended.text));
        let told = ended.text[from..].lines().take(2).collect::<Vec<_>>().join("\n");
        assert!(told.contains(what) && told.contains(hint), "{at}: {told}");
        let column = told[place.len()..].split(':').next().unwrap();
        assert!(column.parse::<usize>().is_ok_and(|column| column > 0), "{told}");
    }
    assert!(ended.text.ends_with("5 problems"), "{}", ended.text);
}

#[test]
fn every_problem_with_a_file_names_the_line_the_file_and_the_remedy() {
    let (world, config) = world();
    let anchors = |file: &str| config.replace("anchors = [\"ca.pem\"]", &format!("anchors = [\"{file}\"]"));
    let key = |file: &str| config.replace("key = \"server.key\"", &format!("key = \"{file}\""));
    let chain = |file: &str| config.replace("chain = \"server.pem\"", &format!("chain = \"{file}\""));
    let cases = [
        (anchors("missing.pem"), "missing.pem", "No such file", "check the path"),
        (anchors("empty.pem"), "empty.pem", "no certificate", "-----BEGIN CERTIFICATE-----"),
        (anchors("garbage.pem"), "garbage.pem", "not a PEM file", "-----BEGIN CERTIFICATE-----"),
        (anchors("text.pem"), "text.pem", "no certificate", "-----BEGIN CERTIFICATE-----"),
        (anchors("expired-ca.pem"), "expired-ca.pem", "Old CA expired on ", "renew"),
        (anchors("server.pem"), "server.pem", "is not a CA certificate", "anchors are CA certificates"),
        (anchors("server.key"), "server.key", "no certificate", "-----BEGIN CERTIFICATE-----"),
        (key("missing.key"), "missing.key", "No such file", "check the path"),
        (key("."), ".", "Is a directory", "check the path"),
        (key("other.key"), "other.key", "does not belong to the first certificate of", "starts with the leaf"),
        (key("encrypted.key"), "encrypted.key", "encrypted", "unencrypted PEM key"),
        (key("server.pem"), "server.pem", "no private key", "PKCS#8"),
        (key("empty.pem"), "empty.pem", "no private key", "PKCS#8"),
        (chain("missing.pem"), "missing.pem", "No such file", "check the path"),
        (chain("empty.pem"), "empty.pem", "no certificate", "-----BEGIN CERTIFICATE-----"),
        (chain("garbage.pem"), "garbage.pem", "not a PEM file", "-----BEGIN CERTIFICATE-----"),
    ];
    for (config, file, what, hint) in cases {
        let ended = check(&world, &config);
        assert_eq!(ended.code, Some(1), "{file}: {}", ended.text);
        let line = line_of(&config, &format!("\"{file}\""));
        let place = format!("{}:{line}:", world.path().join("gate.toml").display());
        let (told, hints) = ended.text.split_once("\n  hint: ").unwrap_or_else(|| panic!("no hint: {}", ended.text));
        assert!(told.starts_with(&place), "{file}: {}", ended.text);
        assert!(told.contains(&format!("{}: ", world.path().join(file).display())), "{file}: {}", ended.text);
        assert!(told.contains(what), "{file}: {}", ended.text);
        assert!(hints.contains(hint), "{file}: {}", ended.text);
        assert!(ended.text.ends_with("\n1 problem"), "{}", ended.text);
    }
}

#[test]
fn problems_with_several_files_are_all_told() {
    let (world, config) = world();
    let config = config.replace("\"ca.pem\"", "\"expired-ca.pem\", \"missing.pem\"").replace("server.key", "other.key");
    let ended = check(&world, &config);
    assert_eq!(ended.code, Some(1));
    for file in ["expired-ca.pem", "missing.pem"] {
        assert!(ended.text.contains(file), "{file}: {}", ended.text);
    }
}

#[test]
fn the_files_of_an_upstream_are_checked_too() {
    let (world, config) = world();
    let servers = format!("servers = [\"http://{BACKEND}\"]");
    for (file, what) in [("missing.pem", "no such file"), ("empty.pem", "empty"), ("text.pem", "certificate")] {
        let tls =
            format!("servers = [\"https://{BACKEND}\"]\ntls = {{ anchors = [\"{file}\"], server_name = \"b.test\" }}");
        let config = config.replace(&servers, &tls);
        let ended = check(&world, &config);
        assert_eq!(ended.code, Some(1), "{file}: {}", ended.text);
        let place = format!("{}:{}:", world.path().join("gate.toml").display(), line_of(&config, file));
        assert!(ended.text.starts_with(&place), "{}", ended.text);
        assert!(ended.text.contains(file) && ended.text.contains(what), "{}", ended.text);
    }
}

#[test]
fn a_name_that_two_hosts_share_is_told_with_both_lines() {
    let (world, config) = world();
    let host = &config[config.find("[[host]]").unwrap()..config.find("[trust.test]").unwrap()];
    let config = format!("{config}\n{}", host.replace("names = [", "names = [\"new.test\", "));
    let ended = check(&world, &config);
    assert_eq!(ended.code, Some(1));
    assert!(ended.text.contains(&format!("gate.toml:{}:", line_of(&config, "new.test"))), "{}", ended.text);
    let first = line_of(&config, "names = [\"api.test\"]");
    assert!(ended.text.contains(&format!("\"api.test\" is also host[0].names[0] (line {first})")), "{}", ended.text);
}

#[test]
fn an_admin_listener_that_others_can_reach_must_be_meant() {
    let (world, config) = world();
    let admin = "[admin]\naddress = \"127.0.0.1:0\"";
    assert!(config.contains(admin));
    world.write("token", "0123456789abcdef0123456789abcdef");
    let exposed = config.replace(admin, "[admin]\naddress = \"0.0.0.0:9901\"\npublic = true");
    let ended = check(&world, &exposed);
    assert!(ended.code == Some(1) && ended.text.contains("nothing asks them who they are"), "{}", ended.text);
    for (address, public, code) in [
        ("0.0.0.0:9901", "", 1),
        ("10.0.0.1:9901", "", 1),
        ("[::]:9901", "public = false", 1),
        ("[::1]:9901", "", 0),
        ("127.8.8.8:9901", "", 0),
        ("0.0.0.0:9901", "public = true\ntoken_file = \"token\"", 0),
    ] {
        let config = config.replace(admin, &format!("[admin]\naddress = \"{address}\"\n{public}"));
        let ended = check(&world, &config);
        assert_eq!(ended.code, Some(code), "{address} {public}: {}", ended.text);
        if code == 1 {
            assert!(ended.text.contains("hint: public = true if that is meant"), "{}", ended.text);
        }
    }
}

#[test]
fn durations_sizes_and_rates_that_are_none_are_told() {
    let (world, config) = world();
    for (text, place) in [
        ("[shutdown]\ndrain_timeout = \"30\"", "30"),
        ("[shutdown]\ndrain_timeout = 30", "30"),
        ("[shutdown]\ndrain_timeout = \"-1s\"", "-1s"),
        ("[connection]\nhandshake_timeout = \"1h\"", "1h"),
        ("[connection]\nidle_timeout = \"0s\"", "0s"),
        ("[connection]\nhandshakes_per_address = \"fast\"", "fast"),
        ("[http]\nbody_bytes = \"10 gallons\"", "gallons"),
        ("[http]\nheader_bytes = -1", "-1"),
    ] {
        let config = format!("{config}\n{text}\n");
        let ended = check(&world, &config);
        assert_eq!(ended.code, Some(1), "{text}: {}", ended.text);
        let line = config.lines().count() - config.lines().rev().position(|line| line.contains(place)).unwrap();
        assert!(ended.text.contains(&format!("gate.toml:{line}:")), "{text}: {}", ended.text);
    }
}

#[test]
fn run_refuses_what_check_refuses_with_the_same_words() {
    let (world, config) = world();
    for config in [
        config.replace("upstream = \"backend\"", "upstream = \"backen\""),
        config.replace("anchors = [\"ca.pem\"]", "anchors = [\"expired-ca.pem\"]"),
        config.replace("key = \"server.key\"", "key = \"other.key\""),
        "not toml".to_owned(),
    ] {
        let checked = check(&world, &config);
        let ran = Process::ended(["run", "--config", world.path().join("gate.toml").to_str().unwrap()]);
        assert_eq!((ran.code, checked.code), (Some(1), Some(1)), "{}", ran.text);
        assert_eq!(ran.text, checked.text);
        assert!(!ran.text.contains("listening"));
    }
}

#[test]
fn a_configuration_that_is_not_there_is_told() {
    let (world, _) = world();
    let file = world.path().join("none.toml").display().to_string();
    for command in ["run", "check"] {
        let ended = Process::ended([command, "--config", &file]);
        assert_eq!(ended.code, Some(1));
        assert!(ended.text.starts_with(&format!("{file}: cannot be read: No such file")), "{}", ended.text);
    }
}

#[test]
fn a_port_in_use_is_told_whoever_has_it_and_however_many_threads_serve() {
    let (world, config) = world();
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = stranger.local_addr().unwrap().to_string();
    for threads in ["threads = 1", "threads = 2", "threads = 2\nflavor = \"work-stealing\""] {
        let listener = format!("[[listener]]\naddress = \"{taken}\"");
        let listeners = config.replace("[[listener]]\naddress = \"127.0.0.1:0\"", &listener);
        let admins = config.replace("[admin]\naddress = \"127.0.0.1:0\"", &format!("[admin]\naddress = \"{taken}\""));
        for (config, key) in [(listeners, "listen"), (admins, "admin.address")] {
            assert!(config.contains(&taken));
            let file = world.write("gate.toml", &config.replace("threads = 1", threads));
            let ended = Process::ended(["run", "--config", file.to_str().unwrap()]);
            assert_eq!(ended.code, Some(1), "{threads}: {}", ended.text);
            let told = format!("{key} {taken}: Address already in use");
            let told = if key == "listen" { format!("cannot listen on {taken}: Address already in use") } else { told };
            assert!(ended.text.contains(&told), "{threads}: {}", ended.text);
            assert!(!ended.text.contains("listening"), "{}", ended.text);
        }
    }
}

#[test]
fn a_second_gate_cannot_share_the_port_of_a_first() {
    let (world, config) = world();
    let config = config.replace("threads = 1", "threads = 2");
    let first = Process::run(&world.write("gate.toml", &config));
    let config = config.replace(
        "[[listener]]\naddress = \"127.0.0.1:0\"",
        &format!("[[listener]]\naddress = \"{}\"", first.address()),
    );
    let second = Process::ended(["run", "--config", world.write("second.toml", &config).to_str().unwrap()]);
    assert_eq!(second.code, Some(1), "{}", second.text);
    assert!(second.text.contains("Address already in use"), "{}", second.text);
}

#[test]
fn whoever_closes_the_output_gets_the_exit_code_and_no_panic() {
    let (world, config) = world();
    let good = world.write("gate.toml", &config);
    let bad = world.write("bad.toml", "x = 1");
    for (file, code) in [(good, 0), (bad, 1)] {
        let script = format!("exec \"$0\" check --config {} >&- 2>&-", file.display());
        let status =
            std::process::Command::new("bash").args(["-c", &script, env!("CARGO_BIN_EXE_portcullis")]).status();
        assert_eq!(status.unwrap().code(), Some(code));
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = Process::command(["check", "--config", file.to_str().unwrap()]);
        let command = command.stdout(full.try_clone().unwrap()).stderr(full);
        assert_eq!(command.status().unwrap().code(), Some(code));
    }
}

#[test]
fn an_expired_server_certificate_is_a_warning_because_other_hosts_can_still_be_served() {
    let (world, config) = world();
    let names = vec![Name::Dns("api.test".to_owned())];
    let late = world.pki.ca.issue(&LeafSpec::server("api.test", names, Validity::over(unix()))).unwrap();
    world.write("server.pem", &late.pem());
    world.write("server.key", &late.key_pem());
    let ended = check(&world, &config);
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    let warned = "the server certificate of api.test expired on ";
    assert!(ended.text.contains(warned), "{}", ended.text);
    let gate = Process::run(&world.path().join("gate.toml"));
    assert!(gate.line(|line| line.contains(warned)).contains("\"WARN\""));
}
