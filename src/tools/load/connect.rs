//! Making connections: TCP from the wished address, TLS with the wished identity, both timed.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use parking_lot::Mutex;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, HandshakeKind, RootCertStore, SignatureScheme};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::engine::StartError;
use super::failure::{Failure, Phase};
use super::plan::{Plan, Protocol, Work};
use super::stream::{Metered, Stream, Wire};
use super::tally::Tally;
use crate::clock::Clock;

/// What all lanes need to connect.
#[derive(Debug)]
pub(super) struct Dialing {
    plan: Arc<Plan>,
    clock: Clock,
    config: ClientConfig,
    dialed: AtomicU64,
}

/// One lane's way to the server: it makes one connection at a time.
pub(super) struct Dialer {
    shared: Arc<Dialing>,
    presented: Arc<Presented>,
    tls: TlsConnector,
    wire: Arc<Wire>,
    tally: Arc<Mutex<Tally>>,
    lane: usize,
    made: usize,
}

impl Dialing {
    pub(super) fn new(plan: Arc<Plan>, clock: Clock) -> Result<Self, StartError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        for anchor in &plan.anchors {
            roots.add(anchor.clone()).map_err(|error| StartError::Anchor(error.to_string()))?;
        }
        if plan.target.server_name.is_some() && roots.is_empty() {
            return Err(StartError::NoAnchor);
        }
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| StartError::Anchor(error.to_string()))?.with_root_certificates(roots);
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = vec![match plan.protocol {
            Protocol::Http1 => b"http/1.1".to_vec(),
            Protocol::Http2 => b"h2".to_vec(),
        }];
        Ok(Self { plan, clock, config, dialed: AtomicU64::new(0) })
    }

    fn source(&self) -> Option<IpAddr> {
        Some(nth_address(self.plan.source?, self.dialed.fetch_add(1, Ordering::Relaxed)))
    }
}

impl Dialer {
    pub(super) fn new(shared: Arc<Dialing>, wire: Arc<Wire>, tally: Arc<Mutex<Tally>>, lane: usize) -> Self {
        let presented = Arc::new(Presented(Mutex::new(shared.plan.identities.nth(lane).cloned())));
        let mut config = shared.config.clone();
        if !shared.plan.identities.is_empty() {
            config.client_auth_cert_resolver = Arc::<Presented>::clone(&presented);
        }
        config.resumption = match shared.plan.work {
            // Of this lane alone: sessions are used once, and lanes that share a store run out of them.
            Work::Resume => Resumption::in_memory_sessions(SESSIONS),
            _ => Resumption::disabled(),
        };
        let tls = TlsConnector::from(Arc::new(config));
        Self { shared, presented, tls, wire, tally, lane, made: 0 }
    }

    /// A connection, ready to talk on.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn dial(&mut self) -> Result<Stream, Failure> {
        let plan = Arc::clone(&self.shared.plan);
        if plan.work != Work::Resume {
            // A session belongs to its identity: where sessions are resumed, a lane stays who it is.
            let number = self.lane + self.made * plan.connections.get();
            *self.presented.0.lock() = plan.identities.nth(number).cloned();
            self.made += 1;
        }
        let outcome = self.attempt(&plan).await;
        if outcome.is_err() {
            self.tally.lock().refused_handshake();
        }
        outcome
    }

    async fn attempt(&self, plan: &Plan) -> Result<Stream, Failure> {
        let clock = &self.shared.clock;
        let begin = clock.now();
        let tcp = timeout(plan.timeout, connect(plan.target.address, self.shared.source())).await;
        let tcp = tcp.map_err(|_| Failure::Timeout(Phase::Connect))?.map_err(|error| Failure::connect(&error))?;
        let connected = clock.now();
        self.tally.lock().connected(connected.duration_since(begin));
        let metered = Metered::new(tcp, Arc::clone(&self.wire));
        let Some(name) = &plan.target.server_name else { return Ok(Stream::Plain(metered)) };
        let stream = timeout(plan.timeout, self.tls.connect(name.clone(), metered)).await;
        let stream = stream.map_err(|_| Failure::Timeout(Phase::Handshake))?.map_err(|error| Failure::io(&error))?;
        let session = stream.get_ref().1;
        if plan.protocol == Protocol::Http2 && session.alpn_protocol() != Some(b"h2") {
            return Err(Failure::Http2("not_spoken".to_owned()));
        }
        let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        self.tally.lock().handshake(took(clock, connected), resumed);
        Ok(Stream::Tls(Box::new(stream)))
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").field("lane", &self.lane).field("made", &self.made).finish_non_exhaustive()
    }
}

impl Stream {
    /// Whether its handshake was a resumed one.
    pub(super) fn is_resumed(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }
}

fn took(clock: &Clock, since: Instant) -> Duration {
    clock.now().duration_since(since)
}

/// A connection from this address, or from any.
///
/// # Errors
/// What the system says.
pub(in crate::tools) async fn connect(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let tcp = socket.connect(address).await?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

/// Address `number` of a network, counted around, without the first and the last of an IPv4 network that has others.
fn nth_address(network: IpNet, number: u64) -> IpAddr {
    match network {
        IpNet::V4(network) => {
            let first = u64::from(u32::from(network.network()));
            let all = 1_u64 << (32 - network.prefix_len());
            let (first, count) = if all > 2 { (first + 1, all - 2) } else { (first, all) };
            let address = u32::try_from(first + number % count);
            address.map_or_else(|_| network.addr(), Ipv4Addr::from).into()
        }
        IpNet::V6(network) => {
            let bits = 128 - u32::from(network.prefix_len());
            let count = 1_u128.checked_shl(bits).unwrap_or(u128::MAX);
            Ipv6Addr::from(u128::from(network.network()) + u128::from(number) % count).into()
        }
    }
}

/// Presents this, whatever the server asks for, and whether or not the key is the certificate's.
pub(in crate::tools) fn presenting(identity: Option<Arc<CertifiedKey>>) -> Arc<dyn ResolvesClientCert> {
    Arc::new(Presented(Mutex::new(identity)))
}

/// The identity that a lane presents next, whatever the server asks for.
#[derive(Debug)]
struct Presented(Mutex<Option<Arc<CertifiedKey>>>);

impl ResolvesClientCert for Presented {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.lock().clone()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// One server is all a lane talks to.
const SESSIONS: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_the_addresses_of_the_network_one_after_the_other() {
        for (network, number, address) in [
            ("127.0.0.0/8", 0, "127.0.0.1"),
            ("127.0.0.0/8", 256, "127.0.1.1"),
            ("127.1.2.0/30", 1, "127.1.2.2"),
            ("127.1.2.0/30", 2, "127.1.2.1"),
            ("127.0.0.9/32", 7, "127.0.0.9"),
            ("127.0.0.8/31", 1, "127.0.0.9"),
            ("0.0.0.0/0", 0, "0.0.0.1"),
            ("::1/128", 5, "::1"),
            ("fd00::/64", 5, "fd00::5"),
            ("::/0", u64::MAX, "::ffff:ffff:ffff:ffff"),
        ] {
            assert_eq!(nth_address(network.parse().unwrap(), number), address.parse::<IpAddr>().unwrap(), "{network}");
        }
    }
}
