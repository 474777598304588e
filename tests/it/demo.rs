//! `portcullis demo`, and the lines that it prints.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use crate::harness::Process;

const CONFIG: &str = include_str!("../../config/demo.toml");

/// A demonstration in a folder of its own, on free ports.
struct Demo {
    process: Process,
    backend: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Demo {
    fn start() -> Self {
        // Between the choice of the backend's port and its use another process may take it.
        (0..10).find_map(|_| Self::attempt()).expect("a free port")
    }

    fn attempt() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let backend = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = CONFIG
            .replace("127.0.0.1:8443", "127.0.0.1:0")
            .replace("127.0.0.1:9901", "127.0.0.1:0")
            .replace("127.0.0.1:9000", &backend.to_string());
        fs::create_dir(folder.path().join("config")).unwrap();
        fs::write(folder.path().join("config/demo.toml"), config).unwrap();
        let process = Process::spawn(Process::command(["demo", "--dir", folder.path().to_str().unwrap()]));
        let said = process.line(|line| line.contains("Ctrl-C ends it.") || line.contains("cannot listen"));
        said.contains("Ctrl-C").then_some(Self { process, backend, _folder: folder })
    }

    /// What bash says to the printed line below the comment that has `what`.
    fn copied(&self, what: &str) -> String {
        let lines = self.process.lines();
        let comment = lines.iter().position(|line| line.starts_with('#') && line.contains(what));
        let line = &lines[comment.unwrap_or_else(|| panic!("no {what} in {}", lines.join("\n"))) + 1];
        // -sS: no progress bar, but errors; -v for the alert's name.
        let line = line.replace("curl ", "curl -sSv --max-time 20 ");
        let output = Command::new("bash").args(["-c", &line]).output().unwrap();
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }
}

#[test]
fn every_printed_line_shows_what_is_said_above_it() {
    let demo = Demo::start();
    for (what, shown) in [
        ("let in: the backend shows", &["x-client-cert-subject: CN=demo-device-0001"][..]),
        ("let in: the same with the P12", &["x-client-cert-subject: CN=demo-device-0001"]),
        ("let in, though the headers claim", &["x-client-cert-subject: CN=demo-device-0001"]),
        ("refused: no certificate", &["alert", "certificate required"]),
        ("refused: the same name from a foreign CA", &["alert", "unknown ca"]),
        ("refused: expired yesterday", &["alert", "certificate expired"]),
    ] {
        let said = demo.copied(what);
        for words in shown {
            assert!(said.contains(words), "{what}: no {words:?} in {said}");
        }
        assert!(!said.contains("CN=admin\n") || what.contains("claim"), "{said}");
    }
    let limited = demo.copied("limited: five pass");
    let statuses: Vec<_> = limited.lines().filter(|line| matches!(*line, "200" | "429")).collect();
    assert_eq!(statuses, ["200", "200", "200", "200", "200", "429", "429"], "{limited}");
}

#[test]
fn interrupting_it_ends_it_well_and_leaves_nothing_behind() {
    let demo = Demo::start();
    let gate = demo.process.address();
    assert!(demo.copied("let in: the backend shows").contains("CN=demo-device-0001"));
    let (process, backend) = (demo.process, demo.backend);
    let id = process.id();
    process.signal("INT");
    let ended = process.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    assert!(!Path::new(&format!("/proc/{id}")).exists());
    for address in [gate, backend] {
        assert!(TcpStream::connect(address).is_err(), "{address}");
    }
}

#[test]
fn a_backend_that_others_could_reach_is_not_started() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("config")).unwrap();
    fs::write(folder.path().join("config/demo.toml"), CONFIG.replace("http://127.0.0.1:9000", "http://0.0.0.0:9000"))
        .unwrap();
    let ended = Process::ended(["demo", "--dir", folder.path().to_str().unwrap()]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.text.contains("the demonstration needs an [upstream.echo]"), "{}", ended.text);
}

#[test]
fn a_problem_in_the_operators_own_demonstration_is_told() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("config")).unwrap();
    fs::write(folder.path().join("config/demo.toml"), CONFIG.replace("upstream = \"echo\"", "upstream = \"eco\""))
        .unwrap();
    let ended = Process::ended(["demo", "--dir", folder.path().to_str().unwrap()]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.text.contains("did you mean \"echo\"?"), "{}", ended.text);
}
