//! The one table of refusals.
//!
//! A row is a reason: its code is the log value, the metric label and the anchor in
//! `docs/rejections.md`; its wire column is what the peer is shown; its blame decides the log
//! level and whose error budget it counts against. Nothing else in the gate invents a status, an
//! alert or a code.

mod abuse;
mod refusal;

use std::fmt;

pub use self::abuse::Abuse;
pub use self::refusal::Reject;

/// What the peer sees of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// A TLS alert, by its RFC 8446 §6 name. The TLS library sends it; a test compares.
    Alert(&'static str),
    /// The TCP connection is closed without a word.
    Close,
    /// The HTTP exchange is cut off: a stream reset in HTTP/2, a closed connection in HTTP/1.1.
    Reset,
    /// An HTTP response with this status.
    Status(u16),
}

/// Whose fault a refusal is: the level of its log line and whose error budget it counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The client's side. Never pages anybody.
    Downstream,
    /// The gate itself.
    Gate,
    /// The backend's side.
    Upstream,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Log value, metric label and documentation anchor.
    pub code: &'static str,
    /// What the peer sees.
    pub wire: Wire,
    /// Whose fault it is.
    pub blame: Blame,
    /// All that a stranger is told.
    pub public: &'static str,
    /// What it means, for `docs/rejections.md`.
    pub doc: &'static str,
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $wire:ident $(($arg:expr))?, $blame:ident, $public:literal;)+) => {
        /// Why a connection or a request was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($(#[doc = $doc])+ $name,)+ }

        impl Reason {
            /// Every reason, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The row of this reason.
            #[must_use]
            pub const fn row(self) -> Row {
                match self {
                    $(Self::$name => Row {
                        code: $code,
                        wire: Wire::$wire $(($arg))?,
                        blame: Blame::$blame,
                        public: $public,
                        doc: concat!($($doc, "\n"),+),
                    },)+
                }
            }
        }
    };
}

reasons! {
    // ---- before TLS -------------------------------------------------------------------------
    /// As many connections are open as `connection.max` allows.
    Connections = "connections", Close, Gate, "busy";
    /// The address already holds as many connections as `connection.per_address` allows.
    ConnectionsPerAddress = "connections_per_address", Close, Downstream, "too many connections";
    /// As many connections have sent no ClientHello as `connection.silent` allows, and this one has been silent longest.
    ConnectionsSilent = "connections_silent", Close, Gate, "busy";
    /// The address starts handshakes faster than `connection.handshakes_per_address` allows.
    HandshakesPerAddress = "handshakes_per_address", Close, Downstream, "too many handshakes";
    /// As many handshakes are under way as `connection.handshakes` allows.
    HandshakesInFlight = "handshakes_in_flight", Close, Gate, "busy";
    /// There is more to do than there is time for: as many clients wait for their handshake's turn as `connection.handshakes_waiting` allows, or this one has waited for `connection.handshake_wait`.
    HandshakesWaiting = "handshakes_waiting", Close, Gate, "busy";
    /// The PROXY protocol header is missing, malformed or too long.
    ProxyHeaderInvalid = "proxy_header_invalid", Close, Downstream, "bad PROXY protocol header";
    /// A peer that is not listed under `listener.proxy_protocol.from` connected to a listener that takes PROXY protocol.
    ProxyPeerUntrusted = "proxy_peer_untrusted", Close, Downstream, "not a trusted proxy";

    // ---- the handshake ----------------------------------------------------------------------
    /// The ClientHello is longer than `connection.client_hello_bytes`.
    ClientHelloTooLarge = "client_hello_too_large", Close, Downstream, "ClientHello too large";
    /// The first bytes are not a TLS ClientHello.
    ClientHelloInvalid = "client_hello_invalid", Alert("decode_error"), Downstream, "not a TLS ClientHello";
    /// The handshake did not end within `connection.handshake_timeout`.
    HandshakeTimeout = "handshake_timeout", Close, Downstream, "handshake timed out";
    /// The client closed the connection inside the handshake.
    HandshakeAborted = "handshake_aborted", Close, Downstream, "handshake aborted";
    /// The client sent a TLS alert inside the handshake, usually because it does not trust our certificate.
    HandshakeAlert = "handshake_alert", Close, Downstream, "client sent an alert";
    /// A handshake message of the client is longer than 64 KiB (a certificate chain, as a rule).
    HandshakeTooLarge = "handshake_too_large", Close, Downstream, "handshake message too large";
    /// The client broke the TLS protocol.
    HandshakeInvalid = "handshake_invalid", Alert("unexpected_message"), Downstream, "TLS protocol error";
    /// No TLS version, cipher suite, group or signature scheme in common.
    HandshakeIncompatible = "handshake_incompatible", Alert("handshake_failure"), Downstream, "no TLS parameters in common";
    /// The client offered ALPN, but neither `h2` nor `http/1.1`.
    AlpnUnsupported = "alpn_unsupported", Alert("no_application_protocol"), Downstream, "no application protocol in common";
    /// The client sent no server name (or an IP address, which is none), and the listener has no `default_host`.
    ServerNameMissing = "server_name_missing", Alert("unrecognized_name"), Downstream, "server name required";
    /// No host has the server name that the client asked for.
    ServerNameUnknown = "server_name_unknown", Alert("unrecognized_name"), Downstream, "server name unknown";
    /// The host requires a client certificate and the client sent none.
    CertMissing = "cert_missing", Alert("certificate_required"), Downstream, "client certificate required";
    /// The chain does not lead to an anchor of the host's trust store.
    CertUnknownIssuer = "cert_unknown_issuer", Alert("unknown_ca"), Downstream, "certificate not trusted";
    /// A signature in the chain does not verify: the certificate names an anchor of ours that did not sign it.
    CertBadSignature = "cert_bad_signature", Alert("decrypt_error"), Downstream, "certificate not trusted";
    /// A certificate of the chain is past its notAfter.
    CertExpired = "cert_expired", Alert("certificate_expired"), Downstream, "certificate expired";
    /// A certificate of the chain is before its notBefore.
    CertNotYetValid = "cert_not_yet_valid", Alert("certificate_expired"), Downstream, "certificate not yet valid";
    /// The certificate is not for TLS client authentication (extended key usage `clientAuth`).
    CertWrongPurpose = "cert_wrong_purpose", Alert("unsupported_certificate"), Downstream, "certificate not for client authentication";
    /// The certificate cannot be parsed, or holds what a certificate must not hold.
    CertMalformed = "cert_malformed", Alert("bad_certificate"), Downstream, "certificate malformed";
    /// A name in the certificate does not parse: NUL, control characters, wrong type or wrong form.
    CertNameInvalid = "cert_name_invalid", Alert("certificate_unknown"), Downstream, "certificate name invalid";
    /// The chain has more certificates than `trust.max_chain_length`.
    CertChainTooLong = "cert_chain_too_long", Alert("certificate_unknown"), Downstream, "certificate chain too long";
    /// The chain has more bytes than `trust.max_chain_bytes`.
    CertChainTooLarge = "cert_chain_too_large", Alert("certificate_unknown"), Downstream, "certificate chain too large";
    /// An RSA key of the chain is smaller than `trust.min_rsa_bits` or larger than 8192 bits.
    CertKeySize = "cert_key_size", Alert("certificate_unknown"), Downstream, "certificate key size not accepted";
    /// The certificate's key type or signature algorithm is not accepted.
    CertKeyUnsupported = "cert_key_unsupported", Alert("decrypt_error"), Downstream, "certificate key type not accepted";
    /// The certificate has more subject alternative names than `trust.max_names`.
    CertTooManyNames = "cert_too_many_names", Alert("certificate_unknown"), Downstream, "certificate has too many names";
    /// A certificate of the chain is on its issuer's revocation list.
    CertRevoked = "cert_revoked", Alert("certificate_revoked"), Downstream, "certificate revoked";
    /// The revocation list of a certificate's issuer is past its nextUpdate and the trust store's `crl_expired` does not tolerate that.
    CrlExpired = "crl_expired", Alert("unknown_ca"), Gate, "certificate status unknown";
    /// No revocation list covers a certificate's issuer, and the trust store's `crl_missing` is `reject`.
    CrlMissing = "crl_missing", Alert("unknown_ca"), Gate, "certificate status unknown";
    /// The trust store's deny list has the certificate.
    CertDenied = "cert_denied", Alert("access_denied"), Downstream, "certificate not accepted";
    /// The certificate is shown by other software than the trust store's `stack.allow` has.
    StackNotAllowed = "stack_not_allowed", Alert("access_denied"), Downstream, "client not accepted";
    /// The chain breaks a name, path-length or other constraint of its issuers.
    CertConstraint = "cert_constraint", Alert("certificate_unknown"), Downstream, "certificate not trusted";
    /// The client does not hold the private key of its certificate: the CertificateVerify signature is wrong.
    CertProofInvalid = "cert_proof_invalid", Alert("decrypt_error"), Downstream, "certificate proof invalid";

    // ---- the connection ---------------------------------------------------------------------
    /// What the connection was admitted by is gone: its anchor, its host or the host's rules of admission changed while it lived.
    TrustWithdrawn = "trust_withdrawn", Status(421), Downstream, "certificate not trusted any more";
    /// The client broke TLS after its handshake: a record that does not decrypt or is no record, an attempt to renegotiate, key updates without end.
    TlsInvalid = "tls_invalid", Close, Downstream, "TLS protocol error";
    /// The HTTP/2 client reset more streams than `http2.resets` allows (rapid reset, CVE-2023-44487).
    Http2Resets = "http2_resets", Close, Downstream, "too many stream resets";
    /// The HTTP/2 client sent more CONTINUATION frames than `http2.continuations` allows (CVE-2024-27316).
    Http2Continuations = "http2_continuations", Close, Downstream, "too many CONTINUATION frames";
    /// The HTTP/2 client sent more SETTINGS frames than `http2.settings` allows (CVE-2019-9515).
    Http2Settings = "http2_settings", Close, Downstream, "too many SETTINGS frames";
    /// The HTTP/2 client sent more PING frames than `http2.pings` allows (CVE-2019-9512).
    Http2Pings = "http2_pings", Close, Downstream, "too many PING frames";
    /// The HTTP/2 client sent more empty DATA, PRIORITY or WINDOW_UPDATE frames than `http2.control_frames` allows (CVE-2019-9518, CVE-2025-8671).
    Http2ControlFrames = "http2_control_frames", Close, Downstream, "too many control frames";
    /// The HTTP/2 client broke the protocol; the connection or stream was closed with an HTTP/2 error code.
    Http2Invalid = "http2_invalid", Close, Downstream, "HTTP/2 protocol error";

    // ---- the request as a message -----------------------------------------------------------
    /// The request line or a header field is malformed (bare LF, obs-fold, white space before the colon, control characters).
    RequestMalformed = "request_malformed", Status(400), Downstream, "malformed request";
    /// The length of the body is ambiguous: Content-Length with Transfer-Encoding, or either of them twice or odd.
    RequestFraming = "request_framing", Status(400), Downstream, "ambiguous message length";
    /// The request line names a version other than HTTP/1.0 and HTTP/1.1.
    RequestVersion = "request_version", Status(505), Downstream, "HTTP version not supported";
    /// The request head is longer than `http.header_bytes`.
    HeaderBytes = "header_bytes", Status(431), Downstream, "request head too large";
    /// The request has more header fields than `http.header_count`.
    HeaderCount = "header_count", Status(431), Downstream, "too many header fields";
    /// The request target is longer than `http.uri_bytes`.
    UriTooLong = "uri_too_long", Status(414), Downstream, "request target too long";
    /// The request head did not arrive within `http.header_timeout`.
    HeaderTimeout = "header_timeout", Status(408), Downstream, "request head timed out";
    /// The body is longer than the route's or the gate's `body_bytes`.
    BodyTooLarge = "body_too_large", Status(413), Downstream, "request body too large";
    /// The body stopped arriving for longer than `http.body_timeout`.
    BodyTimeout = "body_timeout", Status(408), Downstream, "request body timed out";
    /// The body arrives more slowly than `http.min_body_rate`, and `http.rate_grace` is used up.
    BodyTooSlow = "body_too_slow", Status(408), Downstream, "request body too slow";
    /// The body is malformed: a bad chunk, or a connection closed in its middle.
    BodyMalformed = "body_malformed", Status(400), Downstream, "malformed request body";
    /// CONNECT is refused: the gate is not a forward proxy.
    ConnectRefused = "connect_refused", Status(405), Downstream, "CONNECT not supported";
    /// The request has an expectation other than `100-continue`.
    ExpectationUnknown = "expectation_unknown", Status(417), Downstream, "expectation not supported";
    /// The request names no host, two different hosts, or one that is not a host name.
    AuthorityInvalid = "authority_invalid", Status(400), Downstream, "host missing, malformed or contradictory";
    /// The path is not in canonical form: dot segments, `//`, `%2f`, `%5c`, `%00`, a backslash, `;` or bad percent-encoding.
    PathInvalid = "path_invalid", Status(400), Downstream, "path not canonical";

    // ---- the decision -----------------------------------------------------------------------
    /// The request is for another host than the one the TLS handshake was for.
    Misdirected = "misdirected", Status(421), Downstream, "wrong host for this connection";
    /// No route of the host has this path.
    RouteUnknown = "route_unknown", Status(404), Downstream, "not found";
    /// A route has this path, but not with this method.
    MethodNotAllowed = "method_not_allowed", Status(405), Downstream, "method not allowed";
    /// The route asks for an upgrade that it does not permit.
    UpgradeRefused = "upgrade_refused", Status(403), Downstream, "upgrade not permitted";
    /// The route needs a client certificate and the connection has none.
    IdentityRequired = "identity_required", Status(403), Downstream, "client certificate required";
    /// A deny rule of the route matches the identity.
    IdentityDenied = "identity_denied", Status(403), Downstream, "not permitted";
    /// No allow rule of the route matches the identity.
    IdentityNotAllowed = "identity_not_allowed", Status(403), Downstream, "not permitted";
    /// A limit of the route is exhausted.
    RateLimited = "rate_limited", Status(429), Downstream, "too many requests";
    /// The client's score has got it to a rung of the ladder that challenges (`reputation.ladder`, 403): the app can react.
    ReputationChallenge = "reputation_challenge", Status(403), Downstream, "prove yourself";
    /// The client's score has got it to a rung of the ladder that challenges (`reputation.ladder`, 401): the app can react.
    ReputationUnauthorized = "reputation_unauthorized", Status(401), Downstream, "sign in again";
    /// The client's score has got it to a rung of the ladder that refuses or denies (`reputation.ladder`).
    ReputationRejected = "reputation_rejected", Status(403), Downstream, "not permitted";
    /// The score of the address, its network or the client has got it to a rung of the ladder that drops (`reputation.ladder`).
    ReputationDropped = "reputation_dropped", Close, Downstream, "not permitted";
    /// A rung of the ladder lets the request wait, and as many wait as `reputation.sleepers` allows.
    ReputationSlowed = "reputation_slowed", Status(429), Downstream, "too many requests";
    /// As many requests are in flight as `http.requests_in_flight` allows.
    RequestsInFlight = "requests_in_flight", Status(503), Gate, "busy";

    // ---- the upstream -----------------------------------------------------------------------
    /// Every server of the upstream is ejected after failures.
    UpstreamUnavailable = "upstream_unavailable", Status(503), Upstream, "no server available";
    /// No TCP connection to the upstream server could be made.
    UpstreamConnect = "upstream_connect", Status(502), Upstream, "upstream connection failed";
    /// The upstream server did not accept a connection within `upstream.connect_timeout`.
    UpstreamConnectTimeout = "upstream_connect_timeout", Status(504), Upstream, "upstream connection timed out";
    /// The TLS handshake with the upstream server failed.
    UpstreamTls = "upstream_tls", Status(502), Upstream, "upstream TLS failed";
    /// The upstream server broke the HTTP protocol or closed the connection before it answered.
    UpstreamInvalid = "upstream_invalid", Status(502), Upstream, "bad upstream response";
    /// The upstream server did not answer within `upstream.response_timeout`.
    UpstreamTimeout = "upstream_timeout", Status(504), Upstream, "upstream timed out";
    /// The upstream server broke off in the middle of its response body.
    UpstreamBodyBroken = "upstream_body_broken", Reset, Upstream, "upstream response cut short";
    /// The upstream server's response body stopped for longer than `upstream.idle_timeout`.
    UpstreamBodyTimeout = "upstream_body_timeout", Reset, Upstream, "upstream response timed out";

    // ---- the end ----------------------------------------------------------------------------
    /// The client went away before its response was complete.
    ClientGone = "client_gone", Close, Downstream, "client went away";
    /// The client stopped reading its response for longer than `http.write_timeout`.
    WriteTimeout = "write_timeout", Close, Downstream, "client does not read";
    /// The client reads its response more slowly than `http.min_response_rate`, and `http.rate_grace` is used up.
    ResponseTooSlow = "response_too_slow", Close, Downstream, "client reads too slowly";
    /// A bug: the exchange ended without an outcome.
    Abandoned = "abandoned", Reset, Gate, "internal error";
}

impl Reason {
    /// Log value, metric label and documentation anchor.
    #[must_use]
    pub const fn code(self) -> &'static str {
        self.row().code
    }

    /// The HTTP status to answer with; a refusal that has none by itself (it happened before or
    /// beside HTTP) answers 400 or 502 by blame where an answer is still possible.
    #[must_use]
    pub const fn status(self) -> u16 {
        match (self.row().wire, self.row().blame) {
            (Wire::Status(status), _) => status,
            (_, Blame::Downstream) => 400,
            (_, Blame::Gate) => 500,
            (_, Blame::Upstream) => 502,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_safe_as_metric_labels() {
        let mut seen = HashSet::new();
        for reason in Reason::ALL {
            let code = reason.code();
            assert!(seen.insert(code), "{code} stands twice");
            assert!(code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{code}");
        }
    }

    #[test]
    fn every_reason_has_a_public_text_and_a_document() {
        for reason in Reason::ALL {
            assert!(!reason.row().public.is_empty() && reason.row().doc.len() > 20, "{reason}");
        }
    }

    #[test]
    fn what_is_surely_abuse_is_the_clients_fault_and_what_happens_to_the_honest_is_none() {
        for reason in Reason::ALL.iter().filter(|reason| reason.abuse() == Some(Abuse::Sure)) {
            assert_eq!(reason.row().blame, Blame::Downstream, "{reason}");
        }
        for reason in [Reason::ClientGone, Reason::CertExpired, Reason::CertMissing, Reason::RateLimited] {
            assert!(!reason.is_abuse(), "{reason}");
        }
    }

    #[test]
    fn an_http_refusal_is_always_an_error_status() {
        for reason in Reason::ALL {
            assert!((400..600).contains(&reason.status()), "{reason}");
        }
    }
}
