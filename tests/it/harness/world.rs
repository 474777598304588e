//! A CA, its certificates and a folder to put them in.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use portcullis::tools::pki::{Authority, Issued, KeyKind, LeafSpec, Name, Validity};
use tempfile::TempDir;

/// Everything that is made once and is the same for all tests.
pub struct Pki {
    pub ca: Authority,
    pub foreign_ca: Authority,
    pub server: Issued,
    pub good: Issued,
}

static PKI: LazyLock<Pki> = LazyLock::new(|| {
    let ca = Authority::new("Test CA", KeyKind::EcdsaP256).unwrap();
    let names = ["api.test", "open.test", "other.test", "*.wild.test", "localhost"];
    let names = names.into_iter().map(|name| Name::Dns(name.to_owned())).collect();
    Pki {
        server: ca.issue(&LeafSpec::server("api.test", names, Validity::LONG)).unwrap(),
        good: ca.issue(&LeafSpec::client("good", Validity::LONG)).unwrap(),
        foreign_ca: Authority::new("Foreign CA", KeyKind::EcdsaP256).unwrap(),
        ca,
    }
});

/// The time since the epoch.
pub fn unix() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// A folder with `ca.pem`, `foreign-ca.pem`, `server.pem` and `server.key`; gone with its test.
pub struct World {
    dir: TempDir,
    pub pki: &'static Pki,
}

impl World {
    pub fn new() -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap(), pki: &PKI };
        world.write("ca.pem", &PKI.ca.pem());
        world.write("foreign-ca.pem", &PKI.foreign_ca.pem());
        world.write("server.pem", &PKI.server.pem());
        world.write("server.key", &PKI.server.key_pem());
        world
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file of the folder and returns its path.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// A client of the test CA.
    pub fn client(&self, change: impl FnOnce(&mut LeafSpec)) -> Issued {
        let mut spec = LeafSpec::client("client", Validity::LONG);
        change(&mut spec);
        self.pki.ca.issue(&spec).unwrap()
    }

    /// The usual file: one host `api.test` that requires a certificate and sends all to `backend`
    /// over HTTP/1.1, and an admin listener.
    pub fn config(&self, backend: SocketAddr) -> String {
        self.config_with("", &format!("servers = [\"http://{backend}\"]"), ROUTE)
    }

    /// The usual file with other text at its top, another upstream, or other routes.
    pub fn config_with(&self, top: &str, upstream: &str, routes: &str) -> String {
        format!(
            r#"
{top}
[[listener]]
address = "127.0.0.1:0"

[[host]]
names = ["api.test"]
certificate = {{ chain = "server.pem", key = "server.key" }}
trust = "test"
{routes}

[trust.test]
anchors = ["ca.pem"]

[upstream.backend]
{upstream}

[admin]
address = "127.0.0.1:0"

[runtime]
threads = 1
"#
        )
    }
}

/// Everything to the backend, for whoever was verified.
pub const ROUTE: &str = r#"
[[host.route]]
path = "/"
allow = "any-verified"
upstream = "backend"
"#;
