//! The life of a request, top to bottom.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use http::header::{ALLOW, CONNECTION, EXPECT, HOST, TE, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use http_body::Body as _;

use super::body::{Counted, ResponseBody};
use super::peer::Peer;
use super::reputation::{Behaviour, CLIENT_REPUTATION, Treatment};
use super::rounds::{News, Place};
use super::stamp::Stamp;
use super::tunnel::{Question, Tunnel};
use super::{plausible, respond};
use crate::http1::{self, Answer, EarlyResponses, Seen};
use crate::http2;
use crate::identity;
use crate::limits::{KeyFacts, RequestPermit, Standing, check_all};
use crate::message::body::RequestBody;
use crate::message::forwarded::{self, Rfc7239, Trust};
use crate::message::target::{Authority, canonical_path, forward_target};
use crate::message::{hop, request_id};
use crate::policy::{self, Facts, Host, Permit};
use crate::reject::{Reason, Reject};
use crate::snapshot::{RouteParts, Snapshot};
use crate::telemetry::RequestRecord;
use crate::tls::Ends;
use crate::upstream::{Upstream, UpstreamBody};

/// Answers the requests of one connection.
#[derive(Debug)]
pub(super) struct Exchange {
    peer: Peer,
    behaviour: Behaviour,
    place: Place,
}

impl Exchange {
    /// `place` was taken before the snapshot that `peer` was established under.
    pub(super) fn new(peer: Peer, behaviour: Behaviour, place: Place) -> Self {
        Self { peer, behaviour, place }
    }

    /// News of every snapshot after the one of the handshake, when it is this connection's turn.
    pub(super) fn news(&self) -> News {
        self.place.news()
    }

    /// Something was refused: if it is an abuse, the client answers for it.
    pub(super) fn misbehaved(&self, reason: Reason) {
        self.behaviour.refused(reason);
    }

    /// Until when the current configuration welcomes this connection's certificate; `None` without
    /// one.
    ///
    /// # Errors
    /// Why the connection must end now.
    pub(super) fn welcome(&self) -> Result<Option<Ends>, Reject> {
        let snapshot = self.behaviour.worker.shared.published.current();
        let host = self.peer.stand(&snapshot)?;
        Ok(self.peer.ends(&snapshot, host))
    }

    /// Since when the connection, which is not welcome, has not been: since the first snapshot after the last one
    /// that welcomed it; or since now, if something has just ended.
    pub(super) fn unwelcome_since(&self) -> Instant {
        let shared = &self.behaviour.worker.shared;
        shared.published.first_after(self.peer.judged_by()).unwrap_or_else(|| shared.clock.now())
    }

    /// The connection has ended because of what was so since `since`.
    pub(super) fn enforced(&self, since: Instant) {
        let shared = &self.behaviour.worker.shared;
        shared.telemetry.metrics.enforced(shared.clock.now().saturating_duration_since(since));
    }

    /// Resolves once a snapshot would no longer permit `tunnel`: its request was permitted by an older one.
    pub(super) async fn forbidden(&self, asked: &Question) -> Reject {
        let published = &self.behaviour.worker.shared.published;
        let mut news = self.news();
        loop {
            if let Err(reject) = self.permits(asked, &published.current()) {
                return reject;
            }
            news.changed().await;
        }
    }

    fn permits(&self, asked: &Question, snapshot: &Snapshot) -> Result<(), Reject> {
        let identity = self.peer.identity();
        let facts = Facts {
            connection_host: self.peer.stand(snapshot)?,
            authority_host: &asked.host,
            path: &asked.path,
            method: &asked.method,
            identity,
            stack: self.peer.stack(),
            upgrade: Some(&asked.protocol),
        };
        policy::decide(&snapshot.hosts, &facts).map(drop)
    }

    /// One request, from its head to the head of its answer. The first line holds the only load
    /// of the snapshot: nothing below can see half of a reload.
    async fn answer(&self, request: Request<RequestBody>, early: EarlyResponses) -> Answer<ResponseBody, Tunnel> {
        let shared = &self.behaviour.worker.shared;
        let snapshot = shared.published.current();
        let mut record = shared.telemetry.request(&self.peer.who, request.method().clone());
        match self.attempt(request, early, &snapshot, &mut record).await {
            Ok(forwarded) => forwarded.answer(record),
            Err(reject) => {
                self.misbehaved(reject.reason);
                respond::refusal(reject, record).into()
            }
        }
    }

    /// Decide, limit, forward: the cheapest refusal first, and nothing leaves before everything
    /// has said yes.
    async fn attempt(
        &self,
        request: Request<RequestBody>,
        early: EarlyResponses,
        snapshot: &Snapshot,
        record: &mut RequestRecord,
    ) -> Result<Forwarded, Reject> {
        let (mut parts, body) = request.into_parts();
        record.uri = Some(parts.uri.clone());
        let id = request_id::assign(&mut parts.headers, self.peer.trust(snapshot));
        record.id = Some(id.clone());
        self.peer.stand(snapshot)?;
        let permits = &self.behaviour.worker.shared.permits;
        let in_flight = match permits.request() {
            Ok(permit) => permit,
            // Boxed: requests that find room do not carry it.
            Err(_) => Box::pin(permits.request_within(snapshot.config.request_wait)).await?,
        };
        plausible::check(&parts, snapshot)?;
        let asked = self.decide(&parts, snapshot, record)?;
        if asked.upgrade.is_some() && !body.is_end_stream() {
            // Nobody could say where the request ends and the other protocol begins.
            return Err(Reject::new(Reason::RequestMalformed, "an upgrade with a body"));
        }
        let route = asked.route;
        let treatment = self.behaviour.treat(snapshot, route)?;
        let standing = self.limit(&asked, &treatment)?;
        self.behaviour.request(snapshot, route, asked.target.path());
        self.behaviour.wait(&treatment, snapshot).await?;
        let received = Arc::new(AtomicU64::new(0));
        let body = Counted::bound(body, route.body_bytes, &received)?;

        let upstream = treatment.upstream.map_or(&*route.upstream, |(_, quarantine)| &**quarantine);
        if let Some((name, _)) = treatment.upstream {
            record.upstream = Some(Arc::clone(name));
        }
        let authority = asked.authority.clone();
        let stamp = self.rewrite(&mut parts, &asked, (&authority, &id), upstream, snapshot);
        parts.headers.extend(treatment.tag.map(|tag| (CLIENT_REPUTATION, tag)));
        parts.uri = asked.target;
        let request = Request::from_parts(parts, body);
        let hint = move |status, mut headers: HeaderMap| {
            hop::strip_response(&mut headers);
            early.send(status, &headers);
        };
        let to = authority.to_str().map_err(|_| Reject::from(Reason::AuthorityInvalid))?;
        let mut response =
            upstream.send(&asked.permit, self.behaviour.worker.seat.0, (to, &stamp), request, &hint).await?;
        record.answered();
        let took = record.upstream_time.unwrap_or_default().saturating_sub(treatment.delay.unwrap_or_default());
        self.behaviour.answered(snapshot, route, (response.status().as_u16(), response.headers()), took);
        hop::strip_response(response.headers_mut());
        response.headers_mut().insert(&request_id::FIELD, id);
        if let Some(standing) = standing {
            Standing::insert_into(&standing, response.headers_mut());
        }
        record.status = response.status().as_u16();
        Ok(Forwarded { response, received, in_flight, upgrade: asked.upgrade, idle: upstream.spec().timeouts.idle })
    }

    /// The decision: pure functions over what the request says and who says it.
    fn decide<'s>(
        &self,
        parts: &Parts,
        snapshot: &'s Snapshot,
        record: &mut RequestRecord,
    ) -> Result<Asked<'s>, Reject> {
        let host_id = self.peer.stand(snapshot)?;
        let host = snapshot.hosts.get(host_id).ok_or(Reason::Misdirected)?;
        let host_parts = snapshot.host(host_id).ok_or(Reason::Misdirected)?;
        record.metrics = Some(host_parts.metrics.clone());
        let authority = Authority::of(parts)?;
        let path = canonical_path(&parts.uri, host.paths())?;
        // RFC 9110 §7.8: HTTP/1.0 knows no upgrade either.
        let upgrade = if parts.version == Version::HTTP_11 { hop::upgrade_requested(&parts.headers)? } else { None };
        let identity = self.peer.identity();
        let facts = Facts {
            connection_host: host_id,
            authority_host: &authority.host,
            path: &path,
            method: &parts.method,
            identity,
            stack: self.peer.stack(),
            upgrade,
        };
        let (host, route) = policy::route(&snapshot.hosts, &facts).map_err(|reject| with_allow(reject, host, &path))?;
        record.route = Some(Arc::clone(&route.name));
        let parts_of_route = snapshot.route(route).ok_or(Reason::RouteUnknown)?;
        record.metrics = Some(parts_of_route.metrics.clone());
        record.upstream = Some(Arc::clone(&parts_of_route.upstream_name));
        let permit = policy::authorize(route, host.client_certificate(), identity, facts.stack)?;
        Ok(Asked {
            permit,
            route: parts_of_route,
            host_key: host_parts.key,
            authority: authority.to_value()?,
            target: forward_target(&parts.uri, &path)?.into(),
            upgrade: upgrade.map(|protocol| Question {
                host: authority.host.as_ref().into(),
                path: path.as_ref().into(),
                method: parts.method.clone(),
                protocol: protocol.into(),
            }),
        })
    }

    /// Counts the request in its route's limits, and in one more where its client's standing says so.
    fn limit(&self, asked: &Asked<'_>, treatment: &Treatment<'_>) -> Result<Option<Standing>, Reject> {
        let (limits, facts) = (&asked.route.limits, self.key_facts(asked.host_key, asked.route));
        match treatment.limit {
            None => check_all(limits, &facts),
            Some(stricter) => check_all(&[limits, std::slice::from_ref(stricter)].concat(), &facts),
        }
    }

    fn key_facts(&self, host: u64, route: &RouteParts) -> KeyFacts<'_> {
        KeyFacts {
            identity: self.peer.identity().map(|identity| &identity.fingerprint.0),
            stack: self.peer.stack(),
            address: self.peer.who.peer.ip(),
            host,
            route: route.key,
        }
    }

    /// What the upstream is told: what the client said, less what belongs to its hop and less
    /// what only the gate may say; then the stamp, which is what the gate says. Strip before stamp, always.
    fn rewrite<'a>(
        &'a self,
        parts: &mut Parts,
        asked: &Asked<'_>,
        (authority, id): (&'a HeaderValue, &'a HeaderValue),
        upstream: &Upstream,
        snapshot: &Snapshot,
    ) -> Stamp<'a> {
        let headers = &mut parts.headers;
        let trailers = hop::wants_trailers(headers);
        hop::strip_request(headers);
        headers.remove(HOST);
        headers.remove(EXPECT);
        let spoofed = identity::strip(headers);
        if spoofed > 0 {
            self.behaviour.worker.shared.telemetry.metrics.spoofed(spoofed);
        }
        let rfc7239 = if snapshot.forwarded.rfc7239 { Rfc7239::Send } else { Rfc7239::Omit };
        let forwarded = match self.peer.trust(snapshot) {
            Trust::Replace => {
                forwarded::strip(headers);
                Some((authority, rfc7239))
            }
            trust @ Trust::Append => {
                forwarded::apply(headers, &self.peer.hop, authority, trust, rfc7239);
                None
            }
        };
        if trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        if let Some(protocol) = asked.upgrade.as_ref().and_then(Question::protocol) {
            // RFC 9110 §7.8: an Upgrade that Connection does not list is to be ignored.
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, protocol);
        }
        Stamp { peer: &self.peer, formats: upstream.spec().forward, id, forwarded, version: parts.version }
    }
}

/// A request that the policy permits.
struct Asked<'s> {
    permit: Permit<'s>,
    route: &'s RouteParts,
    host_key: u64,
    /// As the client wrote it.
    authority: HeaderValue,
    /// The path that was matched, and the query.
    target: http::Uri,
    upgrade: Option<Question>,
}

/// An upstream's answer.
struct Forwarded {
    response: Response<UpstreamBody>,
    received: Arc<AtomicU64>,
    in_flight: RequestPermit,
    upgrade: Option<Question>,
    idle: std::time::Duration,
}

impl Forwarded {
    fn answer(self, mut record: RequestRecord) -> Answer<ResponseBody, Tunnel> {
        let Self { mut response, received, in_flight, upgrade, idle } = self;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return response.map(|body| ResponseBody::upstream(body, record, received, in_flight)).into();
        }
        let asked = upgrade.and_then(|asked| asked.protocol().map(|protocol| (asked, protocol)));
        let (Some((asked, protocol)), Some(upstream)) = (asked, response.body_mut().tunnel()) else {
            // RFC 9110 §15.2.2: a server must not switch to what was not asked for.
            let reject = Reject::new(Reason::UpstreamInvalid, "101 without a request to upgrade");
            return respond::refusal(reject, record).into();
        };
        record.status = StatusCode::SWITCHING_PROTOCOLS.as_u16();
        response.headers_mut().insert(UPGRADE, protocol);
        let (head, body) = response.into_parts();
        let tunnel = Tunnel { upstream, record, in_flight, idle, held: body, asked };
        Answer { response: Response::from_parts(head, ResponseBody::empty()), tunnel: Some(Box::new(tunnel)) }
    }
}

/// RFC 9110 §15.5.6: a refused method is told which would do.
fn with_allow(reject: Reject, host: &Host, path: &str) -> Reject {
    let allowed = (reject.reason == Reason::MethodNotAllowed).then(|| host.routes().allowed_methods(path)).flatten();
    match allowed.and_then(|methods| HeaderValue::try_from(methods).ok()) {
        Some(methods) => reject.field(ALLOW, methods),
        None => reject,
    }
}

impl http1::Handler for Exchange {
    type Body = ResponseBody;
    type Tunnel = Tunnel;

    async fn request(&self, request: Request<RequestBody>, early: EarlyResponses) -> Answer<ResponseBody, Tunnel> {
        self.answer(request, early).await
    }

    fn refused(&self, reject: Reject, seen: Seen<'_>) -> Response<ResponseBody> {
        self.misbehaved(reject.reason);
        let method = seen.method.and_then(|method| method.parse().ok()).unwrap_or_default();
        let mut record = self.behaviour.worker.shared.telemetry.request(&self.peer.who, method);
        record.uri = seen.target.and_then(|target| target.parse().ok());
        respond::refusal(reject, record)
    }
}

impl http2::Handler for Exchange {
    type Body = ResponseBody;

    async fn request(self: Arc<Self>, request: Request<RequestBody>) -> Response<ResponseBody> {
        // HTTP/2 has no Upgrade, so there is no tunnel; and hyper cannot send 1xx over HTTP/2.
        // Boxed: hyper moves a stream's future from hand to hand, and it would be kilobytes.
        Box::pin(self.answer(request, EarlyResponses::default())).await.response
    }
}
