//! The rules as the configuration states them, before they are compiled into a table.

use std::path::PathBuf;

use ipnet::IpNet;

use crate::fingerprint::Ja4Pattern;
use crate::identity::{Digest, Serial};
use crate::message::target::PathRules;

/// Whether a host asks its clients for a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ClientCertificateMode {
    /// Not asked for.
    None,
    /// Asked for; a certificate that is sent must verify; a route may do without.
    Optional,
    /// Asked for, and the handshake fails without.
    #[default]
    Require,
}

/// A server certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertificateSpec {
    /// PEM chain, leaf first.
    pub chain: PathBuf,
    /// PEM private key (PKCS#8, SEC1 or PKCS#1).
    pub key: PathBuf,
}

/// A set of server names with one certificate, one client-certificate mode and one trust store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSpec {
    /// Server names: exact (`api.example.com`), wildcard (`*.example.com`: one label) or IP addresses; lower case, no trailing dot.
    pub names: Vec<Box<str>>,
    /// Certificates, of different key types if several; never empty.
    pub certificates: Vec<CertificateSpec>,
    /// Whether clients are asked for a certificate.
    pub client_certificate: ClientCertificateMode,
    /// Name of the trust store that client certificates must lead to; present unless the mode is `None`.
    pub trust: Option<Box<str>>,
    /// What is tolerated in paths although it is not canonical.
    pub paths: PathRules,
    /// Its routes; silence denies.
    pub routes: Vec<RouteSpec>,
}

/// Which paths a route has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// This path only.
    Exact(Box<str>),
    /// `*` stands for anything within a segment, `**` for anything; the rest for itself.
    Glob(Box<str>),
    /// This path and everything below it, cut at segments: `/v1` has `/v1` and `/v1/x`, not `/v10`.
    Prefix(Box<str>),
}

/// Who may use a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Allow {
    /// Anybody, also without a certificate.
    Anyone,
    /// Any identity that the host's trust store verified.
    AnyVerified,
    /// Identities that one of these matches. Empty allows nobody.
    Matching(Vec<Matcher>),
    /// Nobody: what a route that says nothing gets.
    #[default]
    Nobody,
}

/// Conditions on one identity and on the software that shows it; all that are present must hold. Within one list, any may hold.
/// An empty list is no condition. Patterns are globs: `*` does not cross the separators of the
/// name's type, `**` does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matcher {
    /// Subject commonName (no separators).
    pub subject_cn: Vec<Box<str>>,
    /// Subject organizationName.
    pub subject_o: Vec<Box<str>>,
    /// Subject organizationalUnitName.
    pub subject_ou: Vec<Box<str>>,
    /// The whole subject as RFC 4514, exactly (no glob).
    pub subject: Vec<Box<str>>,
    /// Issuer commonName.
    pub issuer_cn: Vec<Box<str>>,
    /// Issuer organizationName.
    pub issuer_o: Vec<Box<str>>,
    /// Issuer organizationalUnitName.
    pub issuer_ou: Vec<Box<str>>,
    /// The whole issuer as RFC 4514, exactly (no glob).
    pub issuer: Vec<Box<str>>,
    /// Serial numbers.
    pub serial: Vec<Serial>,
    /// SAN dNSName (separator `.`).
    pub dns: Vec<Box<str>>,
    /// SAN URI (separator `/`; scheme and authority too).
    pub uri: Vec<Box<str>>,
    /// SAN rfc822Name (separators `@` and `.`).
    pub email: Vec<Box<str>>,
    /// SAN iPAddress, by network.
    pub ip: Vec<IpNet>,
    /// SHA-256 of the certificate.
    pub fingerprint: Vec<Digest>,
    /// SHA-256 of the SubjectPublicKeyInfo.
    pub spki: Vec<Digest>,
    /// JA4 of the client's TLS.
    pub ja4: Vec<Ja4Pattern>,
    /// Fingerprint of the client's HTTP/2, exactly.
    pub h2: Vec<Box<str>>,
}

/// A part of a host with its own rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSpec {
    /// Its name in logs, metrics and limits.
    pub name: Box<str>,
    /// Which paths.
    pub path: PathPattern,
    /// Which methods; empty: all (but CONNECT).
    pub methods: Vec<http::Method>,
    /// Who may.
    pub allow: Allow,
    /// Who may not, whatever `allow` says.
    pub deny: Vec<Matcher>,
    /// Names of the limits that count its requests, in the order they are checked.
    pub limits: Vec<Box<str>>,
    /// Name of the upstream.
    pub upstream: Box<str>,
    /// Protocols a client may upgrade to, lower case (`websocket`).
    pub upgrades: Vec<Box<str>>,
    /// Longest request body in bytes; `None`: the gate's `http.body_bytes`.
    pub body_bytes: Option<u64>,
}
