//! Setting the stage: a configuration, everything that stands in for the installation, and who plays.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls_pki_types::ServerName;

use super::super::pki::{Authority, KeyKind, LeafSpec, Name, PkiError, RevocationSpec, Validity};
use super::backend::App;
use super::cast::{Folder, Office, Person};
use super::client::Software;
use super::floods;
use super::imitate::filled;
use super::places::{Places, Wanted};
use crate::clock::Clock;
use crate::config::{self, Config, Problem, Props, staged};

/// A rehearsal that only needs a gate.
#[derive(Debug)]
pub struct Stage {
    /// The operator's file.
    pub(super) source: PathBuf,
    /// The configuration to start the gate with.
    file: PathBuf,
    pub(super) config: Config,
    pub(super) has_ladder: bool,
    pub(super) replaced: Vec<String>,
    pub(super) places: Places,
    pub(super) name: ServerName<'static>,
    pub(super) roots: Arc<RootCertStore>,
    pub(super) doors: Vec<(TcpListener, App)>,
    pub(super) cast: Cast,
    pub(super) folder: Folder,
}

/// Everybody.
#[derive(Debug)]
pub(super) struct Cast {
    pub(super) probe: Person,
    pub(super) honest: Vec<Person>,
    pub(super) extracted: Person,
    pub(super) stuffer: Person,
    pub(super) metronome: Person,
    pub(super) thief: Person,
    pub(super) forged: [Person; 2],
    pub(super) flooders: Vec<Person>,
}

/// Why there is nothing to play.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// Every problem of the configuration.
    #[error("the configuration has problems")]
    Config(Vec<Problem>),
    /// The system said no.
    #[error("{0}: {1}")]
    Io(&'static str, io::Error),
    /// No certificates.
    #[error("cannot make certificates for the rehearsal: {0}")]
    Pki(#[from] PkiError),
    /// The configuration is no stage.
    #[error("{0}")]
    Unfit(String),
}

impl Stage {
    /// Reads the configuration at `file` and makes all that it needs to run by itself. Nothing that it names is opened.
    ///
    /// # Errors
    /// As [`StageError`] says.
    pub fn set(file: &Path, wanted: &Wanted, honest: NonZeroUsize, clock: &Clock) -> Result<Self, StageError> {
        // What is played is what was read: a file that somebody writes, or a pipe, is not the same a second time.
        let config::Loaded { config, text, .. } = config::load(file).map_err(StageError::Config)?;
        let places = Places::find(&config, wanted).map_err(StageError::Unfit)?;
        let name = ServerName::try_from(places.host.clone());
        let name = name.map_err(|_| StageError::Unfit(format!("{:?} is no server name", places.host)))?;
        let office = Office::new(&places.wish, clock.unix())?;
        let folder = Folder::new().map_err(|error| StageError::Io("cannot make a private folder", error))?;
        let written = |error| StageError::Io("cannot write into the private folder", error);

        let server_ca = Authority::new("Portcullis rehearsal server CA", KeyKind::EcdsaP256)?;
        let server = server_ca.issue(&LeafSpec::server("", server_names(&config), Validity::current(clock.unix())))?;
        let chain = folder.write("server.pem", server.pem().as_bytes()).map_err(written)?;
        let key = folder.write("server.key", server.key_pem().as_bytes()).map_err(written)?;
        let crl = office.ca.revocation_list(&RevocationSpec::new(clock.unix()))?;
        let mut trust = BTreeMap::new();
        for (number, store) in config.trust.iter().enumerate() {
            // Of each its own files, as the gate keeps its notes beside them.
            let anchor = folder.write(&format!("trust-{number}.pem"), office.ca.pem().as_bytes()).map_err(written)?;
            let list = folder.write(&format!("trust-{number}.crl"), &crl).map_err(written)?;
            trust.insert(store.name.clone(), (anchor, list));
        }
        let doors = doors(&config, &places).map_err(|error| StageError::Io("cannot listen for the backends", error))?;
        let mut upstreams = BTreeMap::new();
        for (socket, app) in &doors {
            let address = socket.local_addr().map_err(|error| StageError::Io("a backend has no address", error))?;
            upstreams.insert(app.upstream.clone(), address);
        }
        let mut stack = Vec::new();
        for software in [Software::App1, Software::App2] {
            stack.extend(software.print(&name).map_err(StageError::Unfit)?);
        }
        let props = Props { folder: folder.path().to_owned(), server: (chain, key), trust, upstreams, stack };
        let staged = staged(&text, &props).map_err(StageError::Unfit)?;
        let file_on_stage = folder.write("gate.toml", staged.text.as_bytes()).map_err(written)?;
        let mut roots = RootCertStore::empty();
        roots.add(server_ca.cert_der()).map_err(|error| StageError::Unfit(error.to_string()))?;
        Ok(Self {
            source: file.to_owned(),
            file: file_on_stage,
            cast: Cast::new(&office, honest)?,
            has_ladder: staged.has_ladder,
            replaced: staged.replaced,
            roots: Arc::new(roots),
            config,
            places,
            name,
            doors,
            folder,
        })
    }

    /// The configuration to start the gate with.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.file.clone()
    }

    /// What is not as the operator has written it, in words.
    #[must_use]
    pub fn replaced(&self) -> &[String] {
        &self.replaced
    }
}

impl Cast {
    fn new(office: &Office, honest: NonZeroUsize) -> Result<Self, PkiError> {
        let person = |label: &str| office.person(&format!("rehearsal-{label}"));
        Ok(Self {
            probe: person("probe")?,
            honest: (1..=honest.get()).map(|n| person(&format!("{n:04}"))).collect::<Result<_, _>>()?,
            extracted: person("extracted")?,
            stuffer: person("stuffer")?,
            metronome: person("metronome")?,
            thief: person("thief")?,
            forged: office.forged()?,
            flooders: (0..floods::COUNT).map(|n| person(&format!("flooder-{n}"))).collect::<Result<_, _>>()?,
        })
    }
}

fn server_names(config: &Config) -> Vec<Name> {
    let names = config.hosts.iter().flat_map(|host| &host.names);
    let name = |name: &str| match name.parse() {
        Ok(address) => Name::Ip(address),
        Err(_) => Name::Dns(filled(name, "rehearsal")),
    };
    names.map(|own| name(own)).collect()
}

/// A socket for each upstream.
fn doors(config: &Config, places: &Places) -> io::Result<Vec<(TcpListener, App)>> {
    let door = |name: &str| {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        Ok((socket, App { upstream: name.into(), failing: places.login.failing.clone() }))
    };
    config.upstreams.iter().map(|upstream| door(&upstream.name)).collect()
}
