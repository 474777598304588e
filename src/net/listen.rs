//! Listening sockets.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use super::ListenerSpec;

/// Whether other sockets may listen on the same address, the kernel spreading connections over all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReusePort {
    /// One socket; a second one on the address is an error.
    Alone,
    /// `SO_REUSEPORT`: as many as there are, of processes of the same user.
    Shared,
}

/// Listens. Call inside the runtime that shall accept.
///
/// # Errors
///
/// What the system says, with the address in front.
pub fn bind(spec: &ListenerSpec, reuse_port: ReusePort) -> io::Result<TcpListener> {
    TcpListener::from_std(open(spec.address, spec, reuse_port)?)
}

/// `count` sockets that listen on the same address, one for each worker; also if the wish is port 0, where the
/// first one gets a free port and the others share it. Hand each to [`TcpListener::from_std`] inside its runtime.
///
/// All of them listen when this returns: the kernel gives every one its share from now on, so one that nobody
/// accepts from is a share of connections that hang.
///
/// # Errors
///
/// As [`bind`]; then none is open.
pub fn bind_shared(spec: &ListenerSpec, count: NonZeroUsize) -> io::Result<Vec<std::net::TcpListener>> {
    let reuse_port = if count.get() > 1 { ReusePort::Shared } else { ReusePort::Alone };
    if spec.address.port() != 0 {
        // Shared sockets would also share with another process of this user: connections would go by chance to a
        // gate with an older policy.
        bound(spec.address, ReusePort::Alone).map_err(cannot_listen(spec.address))?;
    }
    let first = open(spec.address, spec, reuse_port)?;
    let address = first.local_addr()?;
    let others = (1..count.get()).map(|_| open(address, spec, reuse_port));
    std::iter::once(Ok(first)).chain(others).collect()
}

/// Makes an accepted connection ready: no Nagle, because a handshake flight or a response head that waits for an
/// acknowledgement costs the client a delayed-ACK timer.
///
/// # Errors
///
/// What the system says; the connection is then most likely gone.
pub fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)
}

/// How an accept loop goes on after an error. It always goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// The error was one connection's: accept the next one at once.
    None,
    /// The system is short of something, usually file descriptors: trying at once would only burn the processor.
    BackOff,
}

/// What an error of `accept` means. Linux hands out errors of the connection here (accept(2)): those are known by
/// name; everything else backs off, so an unforeseen error cannot turn the loop into a hot one.
pub fn accept_error(error: &io::Error) -> Pause {
    match error.kind() {
        ErrorKind::ConnectionAborted
        | ErrorKind::ConnectionRefused
        | ErrorKind::ConnectionReset
        | ErrorKind::HostUnreachable
        | ErrorKind::Interrupted
        | ErrorKind::NetworkDown
        | ErrorKind::NetworkUnreachable
        | ErrorKind::TimedOut
        | ErrorKind::WouldBlock => Pause::None,
        _ => Pause::BackOff,
    }
}

/// How long to back off: longer each time, until something was accepted.
#[derive(Clone, Copy, Debug, Default)]
pub struct BackOff {
    last: Duration,
}

impl BackOff {
    /// The wait after one more error.
    #[expect(clippy::should_implement_trait, reason = "it is not an iterator: it starts over")]
    pub fn next(&mut self) -> Duration {
        self.last = (self.last * 2).clamp(SHORTEST_WAIT, LONGEST_WAIT);
        self.last
    }

    /// Something was accepted.
    pub fn reset(&mut self) {
        self.last = Duration::ZERO;
    }
}

fn open(address: SocketAddr, spec: &ListenerSpec, reuse_port: ReusePort) -> io::Result<std::net::TcpListener> {
    listen(address, spec.backlog, reuse_port).map_err(cannot_listen(address))
}

fn cannot_listen(address: SocketAddr) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
}

fn listen(address: SocketAddr, backlog: u32, reuse_port: ReusePort) -> io::Result<std::net::TcpListener> {
    let socket = bound(address, reuse_port)?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn bound(address: SocketAddr, reuse_port: ReusePort) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the old process's connections in TIME_WAIT. It lets no second listener in.
    socket.set_reuse_address(true)?;
    if reuse_port == ReusePort::Shared {
        socket.set_reuse_port(true)?;
    }
    if address.ip() == IpAddr::from(std::net::Ipv6Addr::UNSPECIFIED) {
        // `[::]` means every address, as in other servers, and not what the sysctl net.ipv6.bindv6only says on this
        // machine. IPv4 peers then have IPv4-mapped addresses, which everything that looks at addresses unwraps. A
        // listener on 0.0.0.0 with the same port is in use then; if both are shared, it gets the IPv4 connections.
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Long enough to let other tasks run and close something.
const SHORTEST_WAIT: Duration = Duration::from_millis(5);

/// Short enough that clients still wait for the connection when descriptors are free again.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "`tokio::test` builds the test's own runtime")]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream as Client;

    use super::*;

    fn spec(address: &str) -> ListenerSpec {
        ListenerSpec {
            address: address.parse().unwrap(),
            proxy_protocol_from: Vec::new(),
            default_host: None,
            backlog: 128,
        }
    }

    fn several(n: usize) -> NonZeroUsize {
        NonZeroUsize::new(n).unwrap()
    }

    #[tokio::test]
    async fn a_connection_is_accepted_and_prepared() {
        let listener = bind(&spec("127.0.0.1:0"), ReusePort::Alone).unwrap();
        let mut client = Client::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        prepare(&stream).unwrap();
        assert!(stream.nodelay().unwrap());
        assert_eq!(peer, client.local_addr().unwrap());
        client.write_all(b"x").unwrap();
        drop(stream);
        let _closed_or_reset = client.read(&mut [0]);
    }

    #[test]
    fn workers_share_a_port_that_the_system_chose() {
        let listeners = bind_shared(&spec("127.0.0.1:0"), several(4)).unwrap();
        let addresses: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        assert_eq!(addresses.len(), 4);
        assert!(addresses.iter().all(|address| *address == addresses[0] && address.port() != 0), "{addresses:?}");
    }

    #[tokio::test]
    async fn every_shared_socket_gets_connections() {
        let listeners = bind_shared(&spec("127.0.0.1:0"), several(2)).unwrap();
        let address = listeners[0].local_addr().unwrap();
        // The kernel chooses by a hash of the addresses: sixty-four of them missing one of two is 2^-63.
        let _clients: Vec<_> = (0..64).map(|_| Client::connect(address).unwrap()).collect();
        for listener in listeners {
            TcpListener::from_std(listener).unwrap().accept().await.unwrap();
        }
    }

    #[test]
    fn one_worker_is_alone_on_its_address() {
        let listeners = bind_shared(&spec("127.0.0.1:0"), several(1)).unwrap();
        let taken = listeners[0].local_addr().unwrap();
        let error = bind_shared(&ListenerSpec { address: taken, ..spec("127.0.0.1:0") }, several(1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&taken.to_string()), "{error}");
    }

    #[test]
    fn several_workers_share_with_each_other_but_with_no_other_gate() {
        let listeners = bind_shared(&spec("127.0.0.1:0"), several(2)).unwrap();
        let taken = listeners[0].local_addr().unwrap();
        let error = bind_shared(&ListenerSpec { address: taken, ..spec("127.0.0.1:0") }, several(2)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        drop(listeners);
        bind_shared(&ListenerSpec { address: taken, ..spec("127.0.0.1:0") }, several(2)).unwrap();
    }

    #[tokio::test]
    async fn the_unspecified_ipv6_address_takes_ipv4_too() {
        let Ok(listener) = bind(&spec("[::]:0"), ReusePort::Alone) else { return };
        let port = listener.local_addr().unwrap().port();
        let _client = Client::connect(("127.0.0.1", port)).unwrap();
        let (_, peer) = listener.accept().await.unwrap();
        assert_eq!(peer.ip().to_canonical(), IpAddr::from([127, 0, 0, 1]));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn an_ipv4_listener_beside_the_unspecified_ipv6_one_gets_the_ipv4_connections() {
        let Ok(wide) = bind(&spec("[::]:0"), ReusePort::Shared) else { return };
        let port = wide.local_addr().unwrap().port();
        let narrow = bind(&spec(&format!("0.0.0.0:{port}")), ReusePort::Shared).unwrap();
        for _ in 0..32 {
            let client = Client::connect(("127.0.0.1", port)).unwrap();
            let (_, peer) = narrow.accept().await.unwrap();
            assert_eq!(peer, client.local_addr().unwrap());
        }
        assert_eq!(bind(&spec(&format!("0.0.0.0:{port}")), ReusePort::Alone).unwrap_err().kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn an_unforeseen_error_backs_off() {
        use ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, OutOfMemory, PermissionDenied};
        for (kind, pause) in [
            (ConnectionAborted, Pause::None),
            (ConnectionReset, Pause::None),
            (Interrupted, Pause::None),
            (OutOfMemory, Pause::BackOff),
            (PermissionDenied, Pause::BackOff),
        ] {
            assert_eq!(accept_error(&kind.into()), pause, "{kind}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn being_out_of_descriptors_or_memory_backs_off() {
        // ECONNABORTED is the one that goes on; the others are ENOMEM, ENFILE, EMFILE, ENOBUFS.
        for (code, pause) in
            [(103, Pause::None)].into_iter().chain([12, 23, 24, 105].map(|code| (code, Pause::BackOff)))
        {
            assert_eq!(accept_error(&io::Error::from_raw_os_error(code)), pause, "errno {code}");
        }
    }

    #[test]
    fn the_wait_grows_to_a_second_and_starts_over() {
        let mut back_off = BackOff::default();
        let waits: Vec<_> = (0..10).map(|_| back_off.next().as_millis()).collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        back_off.reset();
        assert_eq!(back_off.next(), SHORTEST_WAIT);
    }
}
