//! One TLS configuration per host, built once per snapshot.

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::UnixTime;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SignatureScheme};

use super::chains::Chains;
use super::material::{MaterialError, certified_key};
use super::tickets::{TicketKeys, Tickets};
use super::trust::TrustStore;
use super::verifier::ClientVerifier;
use crate::clock::Clock;
use crate::identity::Digest;
use crate::policy::spec::{CertificateSpec, ClientCertificateMode};

/// The application protocols we speak, best first (RFC 7301 identifiers).
pub(super) const ALPN_H2: &[u8] = b"h2";
const ALPN_HTTP1: &[u8] = b"http/1.1";

/// The crypto provider: AWS-LC with the hybrid post-quantum group first, then the curves.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    use aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};
    let kx_groups = vec![X25519MLKEM768, X25519, SECP256R1, SECP384R1];
    Arc::new(CryptoProvider { kx_groups, ..aws_lc_rs::default_provider() })
}

/// What the TLS side of a host needs.
pub struct HostTls<'a> {
    /// The host's certificates.
    pub certificates: &'a [CertificateSpec],
    /// Its mode.
    pub mode: ClientCertificateMode,
    /// Its trust store, and the chains that it has verified; present unless the mode is `None`.
    pub trust: Option<(&'a Arc<TrustStore>, &'a Arc<Chains>)>,
    /// How its sessions are resumed; `None`: not at all.
    pub resumption: Option<Resumption<'a>>,
}

/// How a host's sessions are resumed.
pub struct Resumption<'a> {
    /// The keys of its tickets.
    pub keys: &'a Arc<TicketKeys>,
    /// Digest of the host and of all that its trust consists of: what tickets are sealed to.
    pub seal: Digest,
    /// How long after its full handshake a session may be resumed.
    pub max_age: Duration,
}

/// A host's configuration, and when its certificates end.
#[derive(Debug)]
pub struct HostConfig {
    pub(super) config: Arc<ServerConfig>,
    /// What resumed sessions are asked; `None` where no client is asked for a certificate.
    pub(super) verifier: Option<Arc<ClientVerifier>>,
    pub(super) clock: Clock,
    /// The first notAfter of its certificates, Unix seconds.
    pub certificate_not_after: i64,
}

/// Builds the configuration of one host.
///
/// # Errors
/// Every certificate or key that cannot be used.
pub fn host(
    provider: &Arc<CryptoProvider>,
    clock: &Clock,
    host: &HostTls<'_>,
) -> Result<HostConfig, Vec<MaterialError>> {
    let (mut keys, mut errors) = (Vec::new(), Vec::new());
    for spec in host.certificates {
        match certified_key(provider, &spec.chain, &spec.key) {
            Ok(key) => keys.push(Arc::new(key)),
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let certificate_not_after = keys
        .iter()
        .filter_map(|key| key.cert.first())
        .filter_map(|leaf| crate::identity::authority(leaf).ok())
        .map(|facts| facts.not_after)
        .min()
        .unwrap_or(i64::MAX);
    let (config, verifier) =
        config(provider, clock, host, Arc::new(ByKeyType(keys))).map_err(|what| vec![misfit(host, what)])?;
    Ok(HostConfig { config: Arc::new(config), verifier, clock: clock.clone(), certificate_not_after })
}

impl HostConfig {
    /// The same certificates, without another look at their files, under another trust.
    ///
    /// # Errors
    /// As [`host`] when settings do not fit together.
    pub fn under(&self, provider: &Arc<CryptoProvider>, host: &HostTls<'_>) -> Result<Self, MaterialError> {
        let certificates = Arc::clone(&self.config.cert_resolver);
        let (config, verifier) =
            config(provider, &self.clock, host, certificates).map_err(|what| misfit(host, what))?;
        let certificate_not_after = self.certificate_not_after;
        Ok(Self { config: Arc::new(config), verifier, clock: self.clock.clone(), certificate_not_after })
    }
}

fn misfit(host: &HostTls<'_>, what: String) -> MaterialError {
    let path = host.certificates.first().map(|spec| spec.chain.clone()).unwrap_or_default();
    MaterialError::new(&path, what, "this combination of settings cannot be served")
}

fn config(
    provider: &Arc<CryptoProvider>,
    clock: &Clock,
    host: &HostTls<'_>,
    certificates: Arc<dyn ResolvesServerCert>,
) -> Result<(ServerConfig, Option<Arc<ClientVerifier>>), String> {
    let time = Arc::new(WallClock(clock.clone()));
    let builder = ServerConfig::builder_with_details(Arc::clone(provider), time)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| error.to_string())?;
    let mut verifier = None;
    let builder = match (host.mode, host.trust) {
        (ClientCertificateMode::None, None) => builder.with_no_client_auth(),
        (mode @ (ClientCertificateMode::Optional | ClientCertificateMode::Require), Some((store, chains))) => {
            let algorithms = provider.signature_verification_algorithms;
            let ours = verifier.insert(Arc::new(ClientVerifier::new(algorithms, store, chains, mode)));
            let theirs: Arc<dyn ClientCertVerifier> = Arc::<ClientVerifier>::clone(ours);
            builder.with_client_cert_verifier(theirs)
        }
        // Half a trust configuration must never become "no client authentication".
        (_, _) => return Err("client_certificate and trust do not fit together".to_owned()),
    };
    let mut config = builder.with_cert_resolver(certificates);
    config.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()];
    // A resumed session skips the verifier, so there is no way to one but a sealed ticket: no
    // cache, and no 0-RTT, which could be replayed (RFC 8446 §8).
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    // The record layer after the handshake is ours (see `record`); nothing else asks for keys.
    config.enable_secret_extraction = true;
    if let Some(Resumption { keys, seal, max_age }) = &host.resumption {
        config.ticketer = Arc::new(Tickets::new(keys, *seal, *max_age));
        // One is enough for a client that reconnects; each costs an encryption and its bytes.
        config.send_tls13_tickets = 1;
    }
    Ok((config, verifier))
}

/// Our clock, as rustls asks for it.
#[derive(Debug)]
struct WallClock(Clock);

impl TimeProvider for WallClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.unix().as_secs())))
    }
}

/// The first of a host's certificates whose key can sign as the client understands.
#[derive(Debug)]
struct ByKeyType(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for ByKeyType {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let offered: &[SignatureScheme] = hello.signature_schemes();
        let fits = self.0.iter().find(|key| key.key.choose_scheme(offered).is_some());
        // With none that fits, the first makes rustls say `handshake_failure` in its own words.
        fits.or(self.0.first()).map(Arc::clone)
    }
}
