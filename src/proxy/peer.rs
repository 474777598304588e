//! An admitted connection: what is worked out once, at the handshake, for all its requests.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::identity::{Digest, Identity, IdentityHeaders};
use crate::message::forwarded::{Hop, Trust, trust_of};
use crate::policy::HostId;
use crate::reject::{Reason, Reject};
use crate::snapshot::Snapshot;
use crate::telemetry::Who;
use crate::tls::{Handshaken, Protocol};

/// The client at the other end.
#[derive(Debug)]
pub(super) struct Peer {
    /// What its requests' lines share.
    pub(super) who: Arc<Who>,
    /// Its identity headers, rendered.
    pub(super) headers: IdentityHeaders,
    /// How we name this hop to the upstream.
    pub(super) hop: Hop,
    host: HostId,
    generation: u64,
    server_name: Box<str>,
    admission: Digest,
}

impl Peer {
    /// Works out what all requests of this connection share.
    ///
    /// # Errors
    /// [`Reason::Abandoned`] if the snapshot does not have the host it chose: a bug.
    pub(super) fn establish<IO>(
        done: &Handshaken<IO>,
        server_name: Option<&str>,
        address: SocketAddr,
        snapshot: &Snapshot,
    ) -> Result<Self, Reject> {
        let missing = || Reject::new(Reason::Abandoned, "the handshake's host is not in its snapshot");
        let parts = snapshot.host(done.host).ok_or_else(missing)?;
        let host = snapshot.hosts.get(done.host).ok_or_else(missing)?;
        let headers = match &done.identity {
            Some((identity, chain)) => IdentityHeaders::verified(identity, chain, parts.formats),
            None => IdentityHeaders::anonymous(),
        };
        let who = Who {
            peer: address,
            host: host.name().into(),
            identity: done.identity.as_ref().map(|(identity, _)| Arc::clone(identity)),
            tls: done.version,
            protocol: match done.protocol {
                Protocol::Http1 => "HTTP/1.1",
                Protocol::Http2 => "HTTP/2",
            },
        };
        Ok(Self {
            who: Arc::new(who),
            headers,
            hop: Hop::new(address.ip().to_canonical()),
            host: done.host,
            generation: snapshot.generation,
            // Without a server name the default host's own name finds it again after a reload.
            server_name: server_name.unwrap_or_else(|| host.name()).into(),
            admission: parts.admission,
        })
    }

    /// The identity its certificate states.
    pub(super) fn identity(&self) -> Option<&Identity> {
        self.who.identity.as_deref()
    }

    /// Whether its certificate still counts at this time, Unix seconds. The connection's timers end it too, but a
    /// clock that was set and a machine that slept pass by them.
    ///
    /// # Errors
    /// [`Reason::CertExpired`].
    pub(super) fn valid_at(&self, unix: i64) -> Result<(), Reject> {
        match self.identity() {
            Some(identity) if unix > identity.not_after => {
                Err(Reject::new(Reason::CertExpired, "since this connection's handshake"))
            }
            _ => Ok(()),
        }
    }

    /// Whether it may say where its requests came from. Asked of each request's snapshot: a proxy that is no longer
    /// listed must not go on to speak for others on the connections it has.
    pub(super) fn trust(&self, snapshot: &Snapshot) -> Trust {
        trust_of(self.who.peer.ip(), &snapshot.forwarded.trusted)
    }

    /// The host entry of this connection in `snapshot`, which may be newer than the handshake.
    ///
    /// # Errors
    /// [`Reason::Misdirected`] when the host is gone or admits by other rules now: the handshake
    /// proved something else, and the client must make a new one.
    pub(super) fn host_in(&self, snapshot: &Snapshot) -> Result<HostId, Reject> {
        if snapshot.generation == self.generation {
            return Ok(self.host);
        }
        let host = snapshot.hosts.find(&self.server_name);
        let same = |host: &HostId| snapshot.host(*host).is_some_and(|parts| parts.admission == self.admission);
        host.filter(same).ok_or_else(|| {
            Reject::new(Reason::Misdirected, "the host's admission changed since this connection's handshake")
        })
    }
}
