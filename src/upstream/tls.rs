//! TLS towards servers: the anchors and the certificate of a group, and the handshake.
//!
//! A server is trusted by the anchors of its group only, never by the system's roots, and always by
//! name.

use std::error::Error;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::form::Protocol;
use super::material::{File, Files, Problem};

/// What may be spoken inside TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// HTTP/2 or HTTP/1.1, as the server likes.
    Both,
    /// HTTP/1.1 only: HTTP/2 knows no `Upgrade`.
    Http1,
}

/// The gate as a TLS client of one group.
#[derive(Clone)]
pub(super) struct Client {
    both: TlsConnector,
    http1: TlsConnector,
}

/// The gate as a TLS client of one server.
pub(super) struct Connector {
    client: Client,
    name: ServerName<'static>,
}

impl Client {
    /// A client that trusts the anchors in `files` and shows the certificate in them, if any.
    ///
    /// # Errors
    /// Everything that is wrong with the files.
    pub(super) fn new(files: &Files) -> Result<Self, Vec<Problem>> {
        let anchors = anchors(&files.anchors);
        let certificate = files.certificate.as_ref().map(|(chain, key)| certificate(chain, key)).transpose();
        let (anchors, certificate) = match (anchors, certificate) {
            (Ok(anchors), Ok(certificate)) => (anchors, certificate),
            (anchors, certificate) => {
                let mut problems = anchors.err().unwrap_or_default();
                problems.extend(certificate.err());
                return Err(problems);
            }
        };
        let both = config(anchors, certificate, files).map_err(|problem| vec![problem])?;
        let mut http1 = both.clone();
        http1.alpn_protocols = vec![HTTP1.to_vec()];
        Ok(Self { both: Arc::new(both).into(), http1: Arc::new(http1).into() })
    }

    /// A client of the server whose certificate must be for `name`; `None` if that is neither a host
    /// name nor an address.
    pub(super) fn for_server(&self, name: &str) -> Option<Connector> {
        let name = ServerName::try_from(name.to_owned()).ok()?;
        Some(Connector { client: self.clone(), name })
    }
}

impl Connector {
    /// The handshake on `tcp`, and what is spoken after it.
    ///
    /// # Errors
    /// What the handshake failed with.
    pub(super) async fn handshake(
        &self,
        tcp: TcpStream,
        offer: Offer,
    ) -> std::io::Result<(impl AsyncRead + AsyncWrite + Send + Unpin + use<>, Protocol)> {
        let connector = match offer {
            Offer::Both => &self.client.both,
            Offer::Http1 => &self.client.http1,
        };
        let stream = connector.connect(self.name.clone(), tcp).await?;
        let protocol = match stream.get_ref().1.alpn_protocol() {
            Some(HTTP2) => Protocol::Http2,
            // A server without ALPN speaks HTTP/1.1.
            _ => Protocol::Http1,
        };
        Ok((stream, protocol))
    }
}

/// Whether this error is TLS's. A server that does not like our certificate says so in TLS 1.3 only
/// after the handshake, where the exchange would be blamed otherwise.
pub(super) fn is_tls_fault(error: &(dyn Error + 'static)) -> bool {
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>() || inner.is_some_and(<dyn Error + Send + Sync>::is::<rustls::Error>)
}

type Certificate = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn config(anchors: RootCertStore, certificate: Option<Certificate>, files: &Files) -> Result<ClientConfig, Problem> {
    let key_file = files.certificate.as_ref().map(|(_, key)| key.path.clone()).unwrap_or_default();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| (key_file.clone(), error.to_string()))?
        .with_root_certificates(anchors);
    let mut config = match certificate {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => (
                key_file,
                "is not the key of the certificate: use the key that the certificate was made for".to_owned(),
            ),
            other => (key_file, format!("cannot be used with the certificate ({other}): make both anew")),
        })?,
    };
    config.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
    Ok(config)
}

fn anchors(files: &[File]) -> Result<RootCertStore, Vec<Problem>> {
    let mut store = RootCertStore::empty();
    let mut problems = Vec::new();
    for file in files {
        let certificates = match certificates(file) {
            Ok(certificates) => certificates,
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        };
        problems.extend(certificates.into_iter().zip(1..).filter_map(|(certificate, at)| {
            let error = store.add(certificate).err()?;
            Some((file.path.clone(), format!("certificate {at} is no anchor ({error}): replace it")))
        }));
    }
    if problems.is_empty() { Ok(store) } else { Err(problems) }
}

fn certificate(chain: &File, key: &File) -> Result<Certificate, Problem> {
    let chain = certificates(chain)?;
    let key = PrivateKeyDer::from_pem_slice(&key.bytes).map_err(|error| {
        (key.path.clone(), format!("has no PEM private key in it ({error}): PKCS #8, SEC1 or PKCS #1 is wanted"))
    })?;
    Ok((chain, key))
}

fn certificates(file: &File) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&file.bytes).collect();
    match parsed {
        Err(error) => Err((file.path.clone(), format!("is not PEM ({error}): export the certificate anew"))),
        Ok(none) if none.is_empty() => {
            Err((file.path.clone(), "has no PEM certificate in it (-----BEGIN CERTIFICATE-----)".to_owned()))
        }
        Ok(certificates) => Ok(certificates),
    }
}

const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "each #[tokio::test] builds its own runtime")]
mod tests {
    use std::path::PathBuf;

    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::Full;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use rustls::ServerConfig;
    use rustls::server::WebPkiClientVerifier;
    use tokio::io::AsyncWriteExt;
    use tokio_rustls::TlsAcceptor;

    use super::super::spec::{ClientCertificate, TlsSpec, UpstreamSpec, Via};
    use super::super::tests::{
        Backend, LONG, OK, SHORT, answer_all, build, get, get_text, read_head, reason, request, send, serve_http2, spec,
    };
    use super::super::{BuildError, Upstream, Upstreams};
    use super::*;
    use crate::clock::Clock;
    use crate::message::body::RequestBody;
    use crate::reject::Reason;

    /// A CA with its files in a directory of their own.
    struct Pki {
        issuer: Issuer<'static, KeyPair>,
        directory: tempfile::TempDir,
    }

    impl Pki {
        fn new() -> Self {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = KeyPair::generate().unwrap();
            let pem = params.self_signed(&key).unwrap().pem();
            let this = Self { issuer: Issuer::new(params, key), directory: tempfile::tempdir().unwrap() };
            this.write("ca.pem", &pem);
            this
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        }

        fn anchor(&self) -> PathBuf {
            self.directory.path().join("ca.pem")
        }

        fn leaf(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            (params.signed_by(&key, &self.issuer).unwrap(), key)
        }

        fn client(&self) -> ClientCertificate {
            let (certificate, key) = self.leaf("gate.test");
            let chain = self.write("client.pem", &certificate.pem());
            ClientCertificate { chain, key: self.write("client.key", &key.serialize_pem()) }
        }

        /// A server for `name` that speaks `alpn` and, if `clients` says so, wants a certificate.
        fn server(&self, name: &str, alpn: &[&[u8]], clients: Clients) -> TlsAcceptor {
            let (certificate, key) = self.leaf(name);
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(self.anchor()).unwrap()).unwrap();
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
            let builder = builder.with_safe_default_protocol_versions().unwrap();
            let builder = match clients {
                Clients::Any => builder.with_no_client_auth(),
                Clients::WithCertificate => {
                    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
                    builder.with_client_cert_verifier(verifier.unwrap())
                }
            };
            let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
            config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
            Arc::new(config).into()
        }

        fn trusting(&self, port: u16) -> UpstreamSpec {
            UpstreamSpec { tls: TlsSpec { anchors: vec![self.anchor()], ..TlsSpec::default() }, ..spec(Via::Tls, port) }
        }
    }

    #[derive(Clone, Copy)]
    enum Clients {
        Any,
        WithCertificate,
    }

    /// Answers `ok`, or `<certificates>` of the client, in the protocol that was agreed on.
    async fn backend(acceptor: TlsAcceptor) -> Backend {
        Backend::start(move |_, tcp| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(tls) = acceptor.accept(tcp).await else { return };
                let certificates = tls.get_ref().1.peer_certificates().map_or(0, <[_]>::len);
                if tls.get_ref().1.alpn_protocol() == Some(HTTP2) {
                    let said = move |request: Request<hyper::body::Incoming>| async move {
                        Response::new(Full::new(Bytes::from(format!("{} {certificates}", request.uri()))))
                    };
                    return serve_http2(tls, said, 100).await;
                }
                let said = format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{certificates}");
                answer_all(tls, &said).await;
            }
        })
        .await
    }

    fn at(spec: UpstreamSpec) -> Arc<Upstream> {
        build(spec, &Clock::system())
    }

    #[tokio::test]
    async fn http2_is_spoken_where_alpn_says_so_and_a_burst_makes_one_connection() {
        let pki = Pki::new();
        let backend = backend(pki.server("127.0.0.1", &[HTTP2, HTTP1], Clients::Any)).await;
        let upstream = at(pki.trusting(backend.port));
        for _ in 0..2 {
            let all = futures_util::future::join_all((0..20).map(|_| get_text(&upstream, "/a"))).await;
            assert!(all.iter().all(|text| text == "https://app.test/a 0"), "{}", all[0]);
        }
        assert_eq!(backend.connections(), 1);
    }

    #[tokio::test]
    async fn http1_is_spoken_where_alpn_says_so_or_nothing_and_connections_are_kept() {
        let pki = Pki::new();
        for alpn in [&[HTTP1][..], &[]] {
            let backend = backend(pki.server("127.0.0.1", alpn, Clients::Any)).await;
            let upstream = at(pki.trusting(backend.port));
            for _ in 0..5 {
                assert_eq!(get_text(&upstream, "/").await, "0");
            }
            assert_eq!(backend.connections(), 1);
        }
    }

    #[tokio::test]
    async fn a_server_of_another_ca_or_another_name_gets_no_request() {
        let (pki, other) = (Pki::new(), Pki::new());
        let strange = backend(other.server("127.0.0.1", &[HTTP1], Clients::Any)).await;
        let refusal = get(&at(pki.trusting(strange.port)), "/").await.err().unwrap();
        assert_eq!(refusal.reason, Reason::UpstreamTls);
        assert!(refusal.detail.contains("invalid peer certificate"), "{refusal}");

        let named = backend(pki.server("svc.test", &[HTTP1], Clients::Any)).await;
        assert_eq!(reason(get(&at(pki.trusting(named.port)), "/").await), Reason::UpstreamTls);
        let mut spec = pki.trusting(named.port);
        spec.tls.server_name = Some("svc.test".into());
        assert_eq!(get_text(&at(spec), "/").await, "0");
    }

    #[tokio::test]
    async fn the_gates_certificate_is_shown_and_a_server_that_misses_it_is_blamed_on_tls() {
        let pki = Pki::new();
        let backend = backend(pki.server("127.0.0.1", &[HTTP1], Clients::WithCertificate)).await;
        let mut spec = pki.trusting(backend.port);
        assert_eq!(reason(get(&at(spec.clone()), "/").await), Reason::UpstreamTls);
        spec.tls.certificate = Some(pki.client());
        assert_eq!(get_text(&at(spec), "/").await, "1");
    }

    #[tokio::test]
    async fn a_server_without_tls_or_without_an_answer_is_told_apart() {
        let pki = Pki::new();
        let plain = Backend::start(|_, mut tcp| async move {
            let _ = tcp.write_all(OK.as_bytes()).await;
        })
        .await;
        assert_eq!(reason(get(&at(pki.trusting(plain.port)), "/").await), Reason::UpstreamTls);

        let silent = Backend::start(|_, tcp| async move {
            tokio::time::sleep(LONG).await;
            drop(tcp);
        })
        .await;
        let mut spec = pki.trusting(silent.port);
        spec.timeouts.connect = SHORT;
        let upstream = at(spec);
        // Those that wait for the first one's attempt are not kept longer than it.
        let all = futures_util::future::join_all((0..10).map(|_| get(&upstream, "/")));
        let all = tokio::time::timeout(LONG / 4, all).await.unwrap();
        assert!(all.into_iter().all(|outcome| reason(outcome) == Reason::UpstreamConnectTimeout));
    }

    #[tokio::test]
    async fn an_upgrade_is_made_over_http1_although_the_server_prefers_http2() {
        let pki = Pki::new();
        let acceptor = pki.server("127.0.0.1", &[HTTP2, HTTP1], Clients::Any);
        let backend = Backend::start(move |_, tcp| {
            let acceptor = acceptor.clone();
            async move {
                let mut tls = acceptor.accept(tcp).await.unwrap();
                assert_eq!(tls.get_ref().1.alpn_protocol(), Some(HTTP1));
                read_head(&mut tls).await;
                let answer = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
                tls.write_all(answer).await.unwrap();
            }
        })
        .await;
        let mut upgrade = request("GET", "/", RequestBody::Empty);
        upgrade.headers_mut().insert("upgrade", http::HeaderValue::from_static("x"));
        upgrade.headers_mut().insert("connection", http::HeaderValue::from_static("upgrade"));
        let response = send(&at(pki.trusting(backend.port)), upgrade).await.unwrap();
        assert_eq!(response.status(), 101);
    }

    fn problems(spec: UpstreamSpec) -> Vec<BuildError> {
        Upstreams::build(&[spec], 1, &Clock::system(), None).err().unwrap_or_default()
    }

    #[test]
    fn every_fault_of_a_file_is_told_with_the_file_and_never_worked_around() {
        let pki = Pki::new();
        let key = pki.client().key;
        let cases = [
            (pki.directory.path().join("nowhere.pem"), "no such file"),
            (pki.write("empty.pem", ""), "empty"),
            (pki.write("words.pem", "no PEM at all"), "no PEM certificate"),
            (key, "no PEM certificate"),
            (pki.write("cut.pem", "-----BEGIN CERTIFICATE-----\nMIIB"), "not PEM"),
            (pki.write("odd.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "no anchor"),
        ];
        for (path, expected) in cases {
            let mut spec = pki.trusting(1);
            // A good file beside it changes nothing.
            spec.tls.anchors.push(path.clone());
            let [error] = &problems(spec)[..] else { panic!("{expected}") };
            assert_eq!((&*error.upstream, error.file.as_ref()), ("backend", Some(&path)));
            assert!(error.problem.contains(expected), "{error}");
        }
        let without = UpstreamSpec { tls: TlsSpec::default(), ..pki.trusting(1) };
        assert!(problems(without)[0].problem.contains("no anchors"));
    }

    #[test]
    fn a_key_of_another_certificate_and_a_key_that_is_none_are_told() {
        let pki = Pki::new();
        let mut spec = pki.trusting(1);
        let mut certificate = pki.client();
        certificate.key = pki.write("other.key", &KeyPair::generate().unwrap().serialize_pem());
        spec.tls.certificate = Some(certificate.clone());
        let errors = problems(spec.clone());
        assert_eq!(errors[0].file.as_ref(), Some(&certificate.key));
        assert!(errors[0].problem.contains("not the key of the certificate"), "{}", errors[0]);
        certificate.key.clone_from(&certificate.chain);
        spec.tls.certificate = Some(certificate);
        assert!(problems(spec)[0].problem.contains("no PEM private key"));
    }

    #[test]
    fn a_name_that_no_certificate_can_be_for_is_refused() {
        let pki = Pki::new();
        let mut spec = pki.trusting(1);
        spec.tls.server_name = Some("not a name".into());
        assert!(problems(spec)[0].problem.contains("not a name"));
    }

    #[test]
    fn a_group_is_built_anew_when_a_byte_of_its_files_changed_and_only_then() {
        let (pki, other) = (Pki::new(), Pki::new());
        let spec = [pki.trusting(1)];
        let clock = Clock::system();
        let first = Upstreams::build(&spec, 1, &clock, None).ok().unwrap();
        let same = Upstreams::build(&spec, 1, &clock, Some(&first)).ok().unwrap();
        assert!(Arc::ptr_eq(first.get(0).unwrap(), same.get(0).unwrap()));
        std::fs::copy(other.anchor(), pki.anchor()).unwrap();
        let changed = Upstreams::build(&spec, 1, &clock, Some(&same)).ok().unwrap();
        assert!(!Arc::ptr_eq(first.get(0).unwrap(), changed.get(0).unwrap()));
        pki.write("ca.pem", "broken");
        assert!(Upstreams::build(&spec, 1, &clock, Some(&changed)).is_err());
    }
}
