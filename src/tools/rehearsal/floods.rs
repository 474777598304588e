//! Clients that break the protocols: each in one way, each with a certificate and an address of its own.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};

use super::super::load::Failure;
use super::cast::Person;
use super::client::{Client, PATIENCE, Software};
use super::diary::{Came, Effect};
use super::forecast::Promise;
use super::frames;
use super::scene::{Part, Scene, shown};

pub(super) const NAME: &str = "floods";

/// How many there are.
pub(super) const COUNT: usize = 10;

pub(super) struct Floods(Vec<Flood>);

struct Flood {
    part: Part,
    client: Client,
    from: Ipv4Addr,
    way: Way,
}

/// One way to break a protocol.
struct Way {
    name: &'static str,
    /// The bound that it runs into.
    knob: &'static str,
    /// The reasons that count.
    codes: &'static [&'static str],
    sends: Sends,
    /// How long the gate may take by its configuration.
    takes: Duration,
}

enum Sends {
    /// Bytes before any handshake.
    Bare(Vec<u8>),
    /// Bytes inside TLS, over HTTP/1.1.
    Http1(Vec<u8>),
    /// Frames behind the greeting.
    Http2(Vec<u8>),
    /// The start of a head, and then byte by byte.
    Drip(Vec<u8>),
}

impl Floods {
    pub(super) fn new(scene: &Scene, who: &[Person]) -> Result<Self, String> {
        let flood = |((way, person), number): ((Way, &Person), u8)| {
            // As long as the configuration says, and a moment.
            let promise = if way.takes + MOMENT < scene.attack {
                Promise::Refusal
            } else {
                Promise::Nothing(format!("{} is {}: rehearse for longer", way.knob, shown(way.takes)))
            };
            let from = Ipv4Addr::new(127, 119, number, 1);
            let client = Client::new(&scene.door, Some(Arc::clone(&person.key)), Software::Script)?;
            let client = client.speaking(matches!(way.sends, Sends::Http2(_)));
            let id = if matches!(way.sends, Sends::Bare(_)) { from.to_string() } else { person.id.clone() };
            let part = Part::new(NAME, format!("{}, against {}", way.name, way.knob), promise, Some(&id));
            Ok(Flood { part, client, from, way })
        };
        ways(scene).into_iter().zip(who).zip(1..).map(flood).collect::<Result<_, String>>().map(Self)
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = &Part> {
        self.0.iter().map(|flood| &flood.part)
    }

    /// One begins after the other; none waits for another one's end.
    pub(super) async fn play(&self, scene: &Scene) {
        let quick = self.0.iter().filter(|flood| flood.way.takes.is_zero()).count();
        let every = scene.attack / 2 / u32::try_from(quick.max(1)).unwrap_or(1);
        let mut next = Duration::ZERO;
        let mut all = Vec::new();
        for flood in &self.0 {
            // Those that take their time begin at once.
            let begin = if flood.way.takes.is_zero() { next } else { Duration::ZERO };
            next += if flood.way.takes.is_zero() { every } else { Duration::ZERO };
            all.push(async move {
                sleep(begin).await;
                flood.play(scene).await;
            });
        }
        join_all(all).await;
    }
}

impl Flood {
    async fn play(&self, scene: &Scene) {
        let pen = &self.part.pen;
        // By its own reason, or by what is looked at before.
        let codes: Vec<_> = self.way.codes.iter().chain(&BEFORE).copied().collect();
        let before = scene.admin.refusals(&codes).await;
        pen.begin(scene.now());
        let outcome = timeout(self.way.takes + PATIENCE, self.attack()).await;
        let at = scene.now();
        match outcome {
            Err(_) => pen.write(at, Came::Served),
            Ok(Err(failure @ (Failure::Connect(_) | Failure::Timeout(_)))) => {
                pen.write(at, Came::Lost(failure.to_string()));
            }
            Ok(_) => {
                let code = counted(scene, &codes, &before).await;
                if let Some(code) = code {
                    pen.counted(code);
                }
                pen.write(at, Came::Felt(Effect::Drop, code.unwrap_or("closed").to_owned()));
            }
        }
    }

    /// Ends when the gate has ended the connection.
    async fn attack(&self) -> Result<(), Failure> {
        match &self.way.sends {
            Sends::Bare(bytes) => pour(self.client.knock(self.from).await?, bytes).await,
            Sends::Http1(bytes) => pour(self.client.dial(self.from).await?, bytes).await,
            Sends::Http2(bytes) => {
                let bytes = [frames::greeting(), bytes.clone()].concat();
                pour(self.client.dial(self.from).await?, &bytes).await;
            }
            Sends::Drip(bytes) => drip(self.client.dial(self.from).await?, bytes).await,
        }
        Ok(())
    }
}

/// The reason that was counted since, of these. The gate counts when the connection's task ends, which may be a moment
/// behind its last byte.
async fn counted(scene: &Scene, codes: &[&'static str], before: &[f64]) -> Option<&'static str> {
    for _ in 0..LOOKS {
        let now = scene.admin.refusals(codes).await;
        let more = now.iter().zip(before).position(|(now, before)| now > before);
        if let Some(code) = more.and_then(|index| codes.get(index)) {
            return Some(code);
        }
        sleep(LOOK).await;
    }
    None
}

/// Sends all of it while it reads whatever comes, until the other side has closed.
async fn pour(stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) {
    let (mut from, mut to) = tokio::io::split(stream);
    let send = async {
        let _ = to.write_all(bytes).await;
        let _ = to.flush().await;
        // Who closes first has not been refused.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = drain(&mut from) => {}
        () = send => {}
    }
}

async fn drip(stream: impl AsyncRead + AsyncWrite + Unpin, start: &[u8]) {
    let (mut from, mut to) = tokio::io::split(stream);
    let send = async {
        let mut sent = to.write_all(start).await;
        while sent.is_ok() {
            sleep(DRIP).await;
            sent = to.write_all(b"x").await;
        }
    };
    tokio::select! {
        () = drain(&mut from) => {}
        () = send => {}
    }
}

async fn drain(from: &mut (impl AsyncRead + Unpin)) {
    let mut piece = [0; 4096];
    while from.read(&mut piece).await.is_ok_and(|read| read > 0) {}
}

fn ways(scene: &Scene) -> [Way; COUNT] {
    let (http1, http2, connection) = (&scene.config.http1, &scene.config.http2, &scene.config.connection);
    let (host, path) = (scene.door.host.as_str(), scene.places.app.first().map_or("/".to_owned(), |spot| spot.at(1)));
    let more = |bound: u32| bound.saturating_add(bound / 4).saturating_add(64);
    let resets = (0..more(http2.resets)).flat_map(|number| frames::reset_at_once(number, host, &path)).collect();
    let way = |name, knob, codes, sends| Way { name, knob, codes, sends, takes: Duration::ZERO };
    let head = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nx: ").into_bytes();
    let bomb = [&head[..], &vec![b'y'; http1.header_bytes.saturating_add(16 << 10)]].concat();
    [
        way("rapid reset", "http2.resets", &["http2_resets"], Sends::Http2(resets)),
        way(
            "a head without end",
            "http2.continuations",
            &["http2_continuations", "header_bytes"],
            Sends::Http2(frames::head_without_end(host, &path, more(http2.continuations))),
        ),
        way(
            "a flood of SETTINGS",
            "http2.settings",
            &["http2_settings"],
            Sends::Http2(frames::settings(more(http2.settings))),
        ),
        way("a flood of PING", "http2.pings", &["http2_pings"], Sends::Http2(frames::pings(more(http2.pings)))),
        way(
            "a flood of WINDOW_UPDATE",
            "http2.control_frames",
            &["http2_control_frames"],
            Sends::Http2(frames::windows(more(http2.control_frames))),
        ),
        way("a head of many bytes", "http.header_bytes", &["header_bytes"], Sends::Http1(bomb)),
        way(
            "a huge ClientHello",
            "connection.client_hello_bytes",
            &["client_hello_too_large"],
            Sends::Bare(huge_hello(connection.client_hello_bytes)),
        ),
        way(
            "no TLS at all",
            "the handshake",
            &["client_hello_invalid", "handshake_invalid"],
            Sends::Bare(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec()),
        ),
        Way {
            takes: connection.handshake_timeout,
            ..way(
                "silence",
                "connection.handshake_timeout",
                &["handshake_timeout", "connections_silent"],
                Sends::Bare(Vec::new()),
            )
        },
        Way {
            takes: http1.header_timeout,
            ..way("a head byte by byte", "http.header_timeout", &["header_timeout"], Sends::Drip(head))
        },
    ]
}

/// Whole records of a ClientHello that says it has 16 MiB.
fn huge_hello(bound: usize) -> Vec<u8> {
    let record = |first: &[u8]| [&[22, 3, 1, 0x40, 0][..], first, &vec![0; (16 << 10) - first.len()]].concat();
    let mut out = record(&[1, 0xff, 0xff, 0xff, 3, 3]);
    while out.len() <= bound.saturating_add(1 << 10) {
        out.extend_from_slice(&record(&[]));
    }
    out
}

const MOMENT: Duration = Duration::from_secs(1);
const DRIP: Duration = Duration::from_millis(200);
const LOOK: Duration = Duration::from_millis(50);
const LOOKS: u32 = 40;
/// Refusals of a client that was not even looked at.
const BEFORE: [&str; 3] = ["stack_not_allowed", "reputation_dropped", "handshakes_per_address"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_huge_hello_is_beyond_the_bound_and_made_of_whole_records() {
        for bound in [1_024, 16 << 10, 64 << 10] {
            let hello = huge_hello(bound);
            assert!(hello.len() > bound && hello.len().is_multiple_of((16 << 10) + 5), "{bound}");
        }
    }
}
