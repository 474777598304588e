//! What a start or a reload costs before anything is served: read the file and what it names, and build the tables.

#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up has nothing to measure")]

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::app;
use portcullis::tools::pki::{Authority, KeyKind, LeafSpec, Name, Validity};

fn snapshots(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    material(folder.path());
    for routes in [1, 1_000] {
        let file = folder.path().join(format!("{routes}.toml"));
        fs::write(&file, configuration(routes)).expect("the file is written");
        criterion.bench_function(&format!("snapshot/build/{routes}"), |bencher| {
            bencher.iter(|| app::check(black_box(&file)).expect("the configuration is good"));
        });
    }
}

fn material(folder: &Path) {
    let ca = Authority::new("CA", KeyKind::EcdsaP256).expect("an authority");
    let names = vec![Name::Dns(HOST.to_owned())];
    let server = ca.issue(&LeafSpec::server(HOST, names, Validity::LONG)).expect("a certificate");
    for (name, text) in
        [("ca.pem", ca.pem()), ("server.pem", server.pem()), ("server.key", server.key_pem().to_string())]
    {
        fs::write(folder.join(name), text).expect("the file is written");
    }
}

/// A file whose routes have a prefix, a matcher and a limit each.
fn configuration(routes: usize) -> String {
    let mut text = format!(
        r#"
[[listener]]
address = "127.0.0.1:0"
[trust.clients]
anchors = ["ca.pem"]
[limit.usual]
key = ["identity", "route"]
rate = "100/s"
[upstream.backend]
servers = ["http://127.0.0.1:9000"]
[[host]]
names = ["{HOST}"]
certificate = {{ chain = "server.pem", key = "server.key" }}
trust = "clients"
"#
    );
    for index in 0..routes {
        let _ = write!(
            text,
            r#"
[[host.route]]
path = "/v1/{index}"
allow = [{{ uri = "spiffe://corp.example/ns/team-{index}/**" }}]
limit = ["usual"]
upstream = "backend"
"#
        );
    }
    text
}

const HOST: &str = "api.example.com";

criterion_group!(benches, snapshots);
criterion_main!(benches);
