//! An admitted connection: what is worked out once, at the handshake, for all its requests.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use bytes::BytesMut;
use http::HeaderMap;
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::fingerprint::{self, FingerprintHeaders, Stack};
use crate::identity::{Formats, Identity, IdentityHeaders};
use crate::message::forwarded::{Hop, Trust, trust_of};
use crate::policy::spec::ClientCertificateMode;
use crate::policy::{Host, HostId};
use crate::reject::{Reason, Reject};
use crate::snapshot::Snapshot;
use crate::telemetry::{Metrics, Who};
use crate::tls::{Attempt, Ends, Handshaken, Proof, Protocol};

/// The client at the other end.
#[derive(Debug)]
pub(super) struct Peer {
    /// What its requests' lines share.
    pub(super) who: Arc<Who>,
    /// Its identity headers, rendered.
    headers: IdentityHeaders,
    fingerprints: FingerprintHeaders,
    /// How we name this hop to the upstream.
    pub(super) hop: Hop,
    proof: Option<Arc<Proof>>,
    server_name: Box<str>,
    clock: Clock,
    /// A lock and not atomics because its parts belong together; it is held for a comparison.
    standing: Mutex<Standing>,
}

/// What a connection was told when it was last judged.
#[derive(Clone, Copy, Debug)]
struct Standing {
    /// The configuration that judged it.
    generation: u64,
    /// The host it has there.
    host: HostId,
    /// How long that verdict holds (inclusive, Unix seconds) if no configuration comes.
    until: i64,
}

impl Peer {
    /// Works out what all requests of this connection share.
    ///
    /// # Errors
    /// [`Reason::Abandoned`] if the snapshot does not have the host it chose: a bug.
    pub(super) fn establish<IO>(
        done: &Handshaken<IO>,
        attempt: &Attempt,
        address: SocketAddr,
        snapshot: &Snapshot,
        clock: &Clock,
    ) -> Result<Self, Reject> {
        let missing = || Reject::new(Reason::Abandoned, "the handshake's host is not in its snapshot");
        let parts = snapshot.host(done.host).ok_or_else(missing)?;
        let host = snapshot.hosts.get(done.host).ok_or_else(missing)?;
        let headers = match &done.identity {
            Some(verified) => IdentityHeaders::verified(&verified.identity, &verified.chain, parts.formats),
            None => IdentityHeaders::anonymous(),
        };
        let who = Who {
            peer: address,
            host: host.name().into(),
            identity: done.identity.as_ref().map(|verified| Arc::clone(&verified.identity)),
            print: attempt.print,
            http2: Arc::default(),
            withdrawn: OnceLock::new(),
            tls: done.version,
            protocol: match done.protocol {
                Protocol::Http1 => "HTTP/1.1",
                Protocol::Http2 => "HTTP/2",
            },
        };
        Ok(Self {
            who: Arc::new(who),
            headers,
            fingerprints: FingerprintHeaders::default(),
            hop: Hop::new(address.ip().to_canonical()),
            proof: done.identity.as_ref().map(|verified| Arc::clone(&verified.proof)),
            // Without a server name the default host's own name finds it again after a reload.
            server_name: attempt.server_name.as_deref().unwrap_or_else(|| host.name()).into(),
            clock: clock.clone(),
            standing: Mutex::new(Standing { generation: snapshot.generation, host: done.host, until: UNJUDGED }),
        })
    }

    /// The identity its certificate states.
    pub(super) fn identity(&self) -> Option<&Identity> {
        self.who.identity.as_deref()
    }

    /// What is known of its software.
    pub(super) fn stack(&self) -> Stack<'_> {
        self.who.stack()
    }

    /// Puts what the gate says of it into a request that has been stripped.
    pub(super) fn stamp(&self, formats: Formats, headers: &mut HeaderMap) {
        self.headers.stamp(formats, headers);
        if formats.fingerprint {
            self.fingerprints.stamp(self.stack(), headers);
        }
    }

    /// Writes the same behind the fields of a request in HTTP/1.1.
    pub(super) fn write(&self, formats: Formats, out: &mut BytesMut) {
        self.headers.write(formats, out);
        if formats.fingerprint {
            self.fingerprints.write(self.stack(), out);
        }
    }

    /// Writes its fingerprint into the log in full, if anybody wants it there: that is for telling what a client
    /// changed, and too long for every line.
    pub(super) fn tell_stack(&self, client_hello: &[u8]) {
        let Some(print) = self.who.print else { return };
        tracing::debug!(
            target: "portcullis::fingerprint", peer = %self.who.peer, host = &*self.who.host,
            subject = self.identity().map(|identity| &*identity.subject.text), ja4 = %print.ja4,
            ja4_stable = %print.stable, ja4_r = fingerprint::ja4_raw(client_hello), "handshake"
        );
    }

    /// Counts the handshake for the anchor that it was verified with.
    pub(super) fn count_anchor(&self, snapshot: &Snapshot, host: HostId, metrics: &Metrics) {
        let trust = snapshot.host(host).and_then(|parts| parts.trust.as_deref());
        if let Some((trust, proof)) = trust.zip(self.proof.as_deref())
            && let Some(anchor) = trust.anchor(proof)
        {
            metrics.anchored(&trust.spec().name, &anchor.subject);
        }
    }

    /// Until when it is welcome at `host` of `snapshot`; `None` without a certificate.
    pub(super) fn ends(&self, snapshot: &Snapshot, host: HostId) -> Option<Ends> {
        let trust = snapshot.host(host).and_then(|parts| parts.trust.as_deref());
        let over = Ends { certificate: 0, lists: 0 };
        self.proof.as_deref().map(|proof| trust.map_or(over, |trust| trust.ends(proof)))
    }

    /// Whether it may say where its requests came from. Asked of each request's snapshot: a proxy that is no longer
    /// listed must not go on to speak for others on the connections it has.
    pub(super) fn trust(&self, snapshot: &Snapshot) -> Trust {
        trust_of(self.who.peer.ip(), &snapshot.forwarded.trusted)
    }

    /// The configuration that welcomed it last: the handshake's, at first.
    pub(super) fn judged_by(&self) -> u64 {
        self.standing.lock().generation
    }

    /// The host entry of this connection in `snapshot`, which may be newer than the handshake. A
    /// connection is judged once under every configuration, by its next request, or before that by
    /// its own task, which hears of each; and again when what it was judged by has ended. The task's
    /// timers see to that too, but a clock that was set and a machine that slept pass by them.
    ///
    /// # Errors
    /// Why the connection must end: its host is gone or asks for what it has not shown, or its
    /// certificate is not welcome any more.
    pub(super) fn stand(&self, snapshot: &Snapshot) -> Result<HostId, Reject> {
        let unix = i64::try_from(self.clock.unix().as_secs()).unwrap_or(i64::MAX);
        let mut standing = self.standing.lock();
        if standing.generation == snapshot.generation && unix <= standing.until {
            return Ok(standing.host);
        }
        let host = self.judge(snapshot, unix).inspect_err(|reject| {
            let _ = self.who.withdrawn.set(reject.reason);
        })?;
        let until = self.ends(snapshot, host).map_or(i64::MAX, |ends| ends.certificate.min(ends.lists));
        *standing = Standing { generation: snapshot.generation, host, until };
        Ok(host)
    }

    fn judge(&self, snapshot: &Snapshot, unix: i64) -> Result<HostId, Reject> {
        let withdrawn = |what: &str| Reject::new(Reason::TrustWithdrawn, what);
        let host = snapshot.hosts.find(&self.server_name).ok_or_else(|| withdrawn("its host is gone"))?;
        let mode = snapshot.hosts.get(host).map(Host::client_certificate);
        let trust = snapshot.host(host).and_then(|parts| parts.trust.as_deref());
        match (mode, self.identity().zip(self.proof.as_deref()), trust) {
            (Some(ClientCertificateMode::None | ClientCertificateMode::Optional), None, _) => {}
            (
                Some(ClientCertificateMode::Optional | ClientCertificateMode::Require),
                Some((identity, proof)),
                Some(trust),
            ) => {
                trust.judge(identity, proof, self.who.print, unix)?;
            }
            // A certificate is required that was not asked for, or was verified for a host that
            // does not verify any more.
            _ => return Err(withdrawn("its host admits by other rules now")),
        }
        Ok(host)
    }
}

/// The first question judges it: how long the handshake's verdict holds is not known yet.
const UNJUDGED: i64 = i64::MIN;
