//! What it costs to take the current configuration, which every connection and every request does once.

use std::fs;
use std::hint::black_box;
use std::time::Instant;

use portcullis::app;
use portcullis::snapshot::Published;
use portcullis::tools::pki::{Authority, KeyKind, LeafSpec, Name, Validity};

use super::{Case, case};

pub fn cases() -> Vec<Case> {
    vec![case("snapshot/current", || {
        let folder = tempfile::tempdir().expect("a folder");
        let ca = Authority::new("CA", KeyKind::EcdsaP256).expect("an authority");
        let names = vec![Name::Dns("api.example.com".to_owned())];
        let server = ca.issue(&LeafSpec::server("api.example.com", names, Validity::LONG)).expect("a certificate");
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("the file is written");
        write("ca.pem", &ca.pem());
        write("server.pem", &server.pem());
        write("server.key", &server.key_pem());
        write("gate.toml", CONFIGURATION);
        let snapshot = app::check(&folder.path().join("gate.toml")).expect("the configuration is good");
        let published = Published::new(snapshot, Instant::now());
        Box::new(move || drop(black_box(published.current())))
    })]
}

const CONFIGURATION: &str = r#"
[[listener]]
address = "127.0.0.1:0"
[trust.clients]
anchors = ["ca.pem"]
[upstream.backend]
servers = ["http://127.0.0.1:9000"]
[[host]]
names = ["api.example.com"]
certificate = { chain = "server.pem", key = "server.key" }
trust = "clients"
route = { path = "/", allow = "any-verified", upstream = "backend" }
"#;
