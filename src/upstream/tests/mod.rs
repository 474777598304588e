//! The room as a whole, over real sockets on the loopback.

mod body;
mod early;
mod ejection;
mod exchange;
mod multiplex;
mod reload;
mod reuse;
mod tunnel;

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::spec::{Balance, ServerSpec, Timeouts, TlsSpec, UpstreamSpec, Via};
use super::{Upstream, UpstreamBody, Upstreams};
use crate::clock::Clock;
use crate::identity::Formats;
use crate::message::body::RequestBody;
use crate::message::target::PathRules;
use crate::policy::spec::{Allow, ClientCertificateMode, HostSpec, PathPattern, RouteSpec};
use crate::policy::{Facts, HostTable, Permit, decide};
use crate::reject::{Reason, Reject};

/// Long enough that only a hang reaches it.
pub(super) const LONG: Duration = Duration::from_secs(20);
/// Short enough to wait for.
pub(super) const SHORT: Duration = Duration::from_millis(300);

/// A server on a free port, and how many connections it took.
#[derive(Clone)]
pub(super) struct Backend {
    pub(super) port: u16,
    pub(super) connections: Arc<AtomicUsize>,
}

impl Backend {
    /// Calls `serve` with the number of each connection.
    pub(super) async fn start<F>(serve: impl Fn(usize, TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let backend = Self { port: listener.local_addr().unwrap().port(), connections: Arc::new(AtomicUsize::new(0)) };
        let connections = Arc::clone(&backend.connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(connections.fetch_add(1, SeqCst), stream));
            }
        });
        backend
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

/// A group of one server that speaks `via`.
pub(super) fn spec(via: Via, port: u16) -> UpstreamSpec {
    UpstreamSpec {
        name: "backend".into(),
        servers: vec![ServerSpec { via, host: "127.0.0.1".into(), port }],
        balance: Balance::RoundRobin,
        tls: TlsSpec::default(),
        timeouts: Timeouts { connect: LONG, response: LONG, idle: LONG, keep_alive: LONG },
        max_idle: 8,
        eject_after: 0,
        eject_for: Duration::from_secs(10),
        forward: Formats::default(),
    }
}

pub(super) fn build(spec: UpstreamSpec, clock: &Clock) -> Arc<Upstream> {
    let upstreams = Upstreams::build(&[spec], 1, clock, None).unwrap_or_else(|errors| panic!("{errors:?}"));
    Arc::clone(upstreams.get(upstreams.by_name("backend").unwrap()).unwrap())
}

pub(super) fn upstream(via: Via, port: u16) -> Arc<Upstream> {
    build(spec(via, port), &Clock::system())
}

pub(super) fn request(method: &str, path: &str, body: RequestBody) -> Request<RequestBody> {
    Request::builder().method(method).uri(path).body(body).unwrap()
}

pub(super) async fn send(upstream: &Upstream, request: Request<RequestBody>) -> Result<Response<UpstreamBody>, Reject> {
    upstream.send(&permit(), 0, ("app.test", &()), request, &|_, _| {}).await
}

/// The policy's yes, for a route that anybody may use.
pub(super) fn permit() -> Permit<'static> {
    static TABLE: LazyLock<HostTable> = LazyLock::new(|| {
        let route = RouteSpec {
            name: "all".into(),
            path: PathPattern::Prefix("/".into()),
            methods: Vec::new(),
            allow: Allow::Anyone,
            deny: Vec::new(),
            limits: Vec::new(),
            upstream: "app".into(),
            upgrades: Vec::new(),
            body_bytes: None,
        };
        let host = HostSpec {
            names: vec!["app.test".into()],
            certificates: Vec::new(),
            client_certificate: ClientCertificateMode::None,
            trust: None,
            paths: PathRules::default(),
            routes: vec![route],
        };
        HostTable::new(vec![host]).unwrap()
    });
    let facts = Facts {
        connection_host: TABLE.find("app.test").unwrap(),
        authority_host: "app.test",
        path: "/",
        method: &Method::GET,
        identity: None,
        stack: crate::fingerprint::Stack::default(),
        upgrade: None,
    };
    decide(&TABLE, &facts).unwrap()
}

pub(super) async fn get(upstream: &Upstream, path: &str) -> Result<Response<UpstreamBody>, Reject> {
    send(upstream, request("GET", path, RequestBody::Empty)).await
}

/// The body of a response that must be there.
pub(super) async fn text(response: Result<Response<UpstreamBody>, Reject>) -> String {
    let body = response.unwrap().into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

pub(super) async fn get_text(upstream: &Upstream, path: &str) -> String {
    text(get(upstream, path).await).await
}

pub(super) fn reason<T>(outcome: Result<T, Reject>) -> Reason {
    match outcome {
        Ok(_) => panic!("went well"),
        Err(reject) => reject.reason,
    }
}

/// A body of known size.
pub(super) fn sized(text: &'static str) -> RequestBody {
    RequestBody::Stream(Box::pin(
        Full::new(Bytes::from_static(text.as_bytes())).map_err(|never: Infallible| match never {}),
    ))
}

/// A body that is fed by the test.
pub(super) fn fed() -> (mpsc::UnboundedSender<Result<Frame<Bytes>, Reject>>, RequestBody) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let frames = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
    (sender, RequestBody::Stream(Box::pin(StreamBody::new(frames))))
}

pub(super) fn data(text: &'static str) -> Frame<Bytes> {
    Frame::data(Bytes::from_static(text.as_bytes()))
}

/// Reads up to and with the empty line; empty if the connection ends before.
pub(super) async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return String::new(),
        }
    }
    String::from_utf8(head).unwrap()
}

/// Answers every request head on the connection with `answer`.
pub(super) async fn answer_all(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &str) {
    while !read_head(&mut stream).await.is_empty() {
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Serves one HTTP/2 connection with `service`.
pub(super) async fn serve_http2<S, F, B>(io: S, service: impl Fn(Request<Incoming>) -> F, most_streams: u32)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let service = service_fn(move |request| {
        let response = service(request);
        async move { Ok::<_, Infallible>(response.await) }
    });
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    let _ = builder.max_concurrent_streams(most_streams).serve_connection(TokioIo::new(io), service).await;
}

pub(super) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
