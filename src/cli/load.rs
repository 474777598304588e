//! `portcullis load`: flags to a plan, an outcome to text and an exit code.

use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use clap::Args;
use http::{HeaderName, HeaderValue, Method};
use indicatif::ProgressBar;
use ipnet::IpNet;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::run::fail;
use crate::clock::Clock;
use crate::runtime;
use crate::tools::load::{
    self, Expected, Identities, Live, Mint, Outcome, Pace, Plan, Protocol, Running, Target, Work, read_password,
};

/// The flags.
#[derive(Args, Debug)]
pub(super) struct Load {
    /// Where to: `https://HOST:PORT/PATH` (`http://` for no TLS); without a port, the scheme's own
    url: String,

    /// Client certificate chain, PEM
    #[arg(long, value_name = "FILE", requires = "key", help_heading = "Who connects")]
    cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "cert", help_heading = "Who connects")]
    key: Option<PathBuf>,
    /// Client certificate and key as a P12
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "cert",
        requires = "password_file",
        help_heading = "Who connects"
    )]
    p12: Option<PathBuf>,
    /// The P12's password, in the first line of FILE
    #[arg(long, value_name = "FILE", help_heading = "Who connects")]
    password_file: Option<PathBuf>,
    /// Many client certificates: a folder (NAME.pem with NAME.key, NAME.p12 with NAME.p12.password), or how many to mint
    #[arg(long, value_name = "DIR|N", conflicts_with_all = ["cert", "p12"], help_heading = "Who connects")]
    identities: Option<String>,
    /// The CA to mint with, PEM
    #[arg(long, value_name = "FILE", requires_all = ["identities", "ca_key"], help_heading = "Who connects")]
    ca: Option<PathBuf>,
    /// The CA's key, PEM
    #[arg(long, value_name = "FILE", requires = "ca", help_heading = "Who connects")]
    ca_key: Option<PathBuf>,
    /// The CA of the server's certificate, PEM
    #[arg(long, value_name = "FILE", help_heading = "Who connects")]
    cacert: Option<PathBuf>,
    /// Connect from the addresses of this network, one after the other
    #[arg(long, value_name = "NETWORK", help_heading = "Who connects")]
    source: Option<IpNet>,

    /// The name in the handshake and in Host, if it is not the URL's
    #[arg(long, value_name = "NAME", help_heading = "What is asked")]
    server_name: Option<String>,
    /// The address to connect to, if it is not the URL's
    #[arg(long, value_name = "ADDRESS:PORT", help_heading = "What is asked")]
    connect: Option<SocketAddr>,
    /// Another header field
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header, help_heading = "What is asked")]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Method (POST with --upload, else GET)
    #[arg(short = 'X', long = "method", value_name = "METHOD", help_heading = "What is asked")]
    method: Option<Method>,
    /// Path and query, if they are not the URL's
    #[arg(long, value_name = "PATH", help_heading = "What is asked")]
    path: Option<String>,
    /// Send a body of so many bytes with each request
    #[arg(long, value_name = "BYTES", help_heading = "What is asked")]
    upload: Option<u64>,
    /// Each response must have a body of so many bytes; without a path, ask for /bytes/BYTES
    #[arg(long, value_name = "BYTES", help_heading = "What is asked")]
    download: Option<u64>,
    /// HTTP/1.1 (the default)
    #[arg(long, help_heading = "What is asked")]
    http1: bool,
    /// HTTP/2
    #[arg(long, conflicts_with = "http1", help_heading = "What is asked")]
    http2: bool,
    /// Requests at a time on one HTTP/2 connection
    #[arg(long, value_name = "N", default_value = "1", requires = "http2", help_heading = "What is asked")]
    streams: NonZeroUsize,

    /// A connection with a full handshake for each request
    #[arg(long, conflicts_with_all = ["resume", "idle"], help_heading = "What is done")]
    new_connection: bool,
    /// A connection with a resumed handshake for each request
    #[arg(long, conflicts_with = "idle", help_heading = "What is done")]
    resume: bool,
    /// Open N connections with a request each, hold them for the duration, and ask each once more
    #[arg(long, value_name = "N", conflicts_with_all = ["requests", "rate"], help_heading = "What is done")]
    idle: Option<NonZeroUsize>,
    /// Send a message on a WebSocket and wait until it comes back
    #[arg(
        long,
        conflicts_with_all = ["new_connection", "resume", "idle", "http2", "upload", "download", "method"],
        help_heading = "What is done"
    )]
    websocket: bool,
    /// The message's size
    #[arg(
        long,
        value_name = "BYTES",
        default_value = "64",
        value_parser = clap::value_parser!(u32).range(..=16_777_216),
        requires = "websocket",
        help_heading = "What is done"
    )]
    message: u32,
    /// Connections at a time (with --idle: how many are opened at a time)
    #[arg(short, long, value_name = "N", default_value = "50", help_heading = "What is done")]
    connections: NonZeroUsize,
    /// How long: 500ms, 10s, 5m, 1h (10s unless -n is given)
    #[arg(short = 'z', long, value_name = "TIME", value_parser = time, help_heading = "What is done")]
    duration: Option<Duration>,
    /// How many requests
    #[arg(short = 'n', long, value_name = "N", help_heading = "What is done")]
    requests: Option<u64>,
    /// Open loop: begin so many a second whatever the server does, and count latency from when each was due
    #[arg(long, value_name = "PER-SECOND", value_parser = rate, help_heading = "What is done")]
    rate: Option<f64>,
    /// Grow to all connections (with --rate: to the rate) during this time
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "0s", help_heading = "What is done")]
    ramp: Duration,
    /// Longest time for a connect, a handshake and a request, each
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "10s", help_heading = "What is done")]
    timeout: Duration,
    /// Threads (one per core unless given)
    #[arg(long, value_name = "N", help_heading = "What is done")]
    threads: Option<NonZeroUsize>,

    /// Print JSON
    #[arg(long, help_heading = "What is told")]
    json: bool,
    /// Write a page with plots of latency and throughput
    #[arg(long, value_name = "FILE.html", help_heading = "What is told")]
    report: Option<PathBuf>,
    /// Statuses that are a success, like 200,429 (those below 400 unless given)
    #[arg(long, value_name = "STATUS", value_delimiter = ',', help_heading = "What is told")]
    expect: Vec<u16>,
    /// Exit with 1 when more than this share of requests (0 to 1) failed
    #[arg(long, value_name = "SHARE", default_value = "0", help_heading = "What is told")]
    max_failures: f64,
}

pub(super) fn load(flags: &Load) -> ExitCode {
    let clock = Clock::system();
    let running = plan(flags, &clock).and_then(|plan| load::start(plan, &clock).map_err(|error| error.to_string()));
    let running = match running {
        Ok(running) => running,
        Err(error) => return fail(&error),
    };
    let outcome = match watch(running, flags.idle.is_some()) {
        Ok(outcome) => outcome,
        Err(error) => return fail(&format!("cannot watch for signals: {error}")),
    };
    let text = if flags.json { format!("{:#}\n", outcome.json()) } else { outcome.to_string() };
    // Whoever closed the output does not want to read it.
    let _ = io::stdout().write_all(text.as_bytes());
    if let Some(file) = &flags.report {
        let written = outcome.page().and_then(|page| Ok(fs::write(file, page)?));
        if let Err(error) = written {
            return fail(&format!("{}: {error}", file.display()));
        }
    }
    if outcome.failure_share() > flags.max_failures { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn plan(flags: &Load, clock: &Clock) -> Result<Plan, String> {
    let threads = runtime::threads(flags.threads);
    let target = target(flags)?;
    let anchors = flags.cacert.as_deref().map(anchors).transpose()?.unwrap_or_default();
    let mut plan = Plan::new(target, anchors, identities(flags, threads, clock)?);
    plan.work = match flags.idle {
        Some(all) => Work::Idle(all),
        None if flags.resume => Work::Resume,
        None if flags.new_connection => Work::NewConnection,
        None if flags.websocket => Work::WebSocket(usize::try_from(flags.message).unwrap_or(usize::MAX)),
        None => Work::Requests,
    };
    if flags.http2 {
        plan.protocol = Protocol::Http2;
    }
    plan.connections = flags.idle.map_or(flags.connections, |all| flags.connections.min(all));
    plan.streams = flags.streams;
    plan.threads = threads;
    plan.pace = flags.rate.map_or(Pace::Closed, Pace::Open);
    plan.ramp = flags.ramp;
    plan.duration = flags.duration.or(if flags.requests.is_none() { plan.duration } else { None });
    plan.requests = flags.requests;
    plan.timeout = flags.timeout;
    plan.source = flags.source;
    plan.upload = flags.upload.unwrap_or_default();
    plan.download = flags.download;
    let usual = if flags.upload.is_some() { Method::POST } else { Method::GET };
    plan.method = flags.method.clone().unwrap_or(usual);
    plan.headers.clone_from(&flags.headers);
    if !flags.expect.is_empty() {
        plan.expected = Expected::Only(flags.expect.clone());
    }
    Ok(plan)
}

fn target(flags: &Load) -> Result<Target, String> {
    let mut target =
        Target::parse(&flags.url, flags.server_name.as_deref(), flags.connect).map_err(|error| error.to_string())?;
    if let Some(path) = &flags.path {
        target.path.clone_from(path);
    } else if let (Some(bytes), "/") = (flags.download, target.path.as_str()) {
        target.path = format!("/bytes/{bytes}");
    }
    if !target.path.starts_with('/') {
        return Err(format!("{:?} is no path: it begins with /", target.path));
    }
    Ok(target)
}

fn identities(flags: &Load, threads: NonZeroUsize, clock: &Clock) -> Result<Identities, String> {
    let password = flags.password_file.as_deref().map(read_password).transpose().map_err(|error| error.to_string())?;
    let found = match (&flags.identities, &flags.cert, &flags.key, &flags.p12) {
        (Some(wanted), ..) => match (wanted.parse(), &flags.ca, &flags.ca_key) {
            (Ok(count), Some(ca), Some(ca_key)) => {
                Identities::mint(&Mint { count, ca: ca.clone(), ca_key: ca_key.clone() }, threads, clock)
            }
            (Ok(_), ..) => return Err("--identities N needs --ca and --ca-key to mint them with".to_owned()),
            (Err(_), ..) => Identities::folder(Path::new(wanted), password.as_deref().map(String::as_str)),
        },
        (None, Some(cert), Some(key), _) => Identities::pem(cert, key),
        (None, _, _, Some(file)) => Identities::p12(file, password.as_deref().map_or("", String::as_str)),
        (None, ..) => return Ok(Identities::default()),
    };
    found.map_err(|error| error.to_string())
}

fn anchors(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let text = fs::read(file).map_err(|error| failed(&error))?;
    let found = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>().map_err(|error| failed(&error))?;
    if found.is_empty() { Err(failed(&"no certificate in it")) } else { Ok(found) }
}

/// Waits for the end, with a line about how far it is if somebody looks, and an early end on Ctrl-C.
fn watch(running: Running, idle: bool) -> io::Result<Outcome> {
    let (give, take) = mpsc::channel();
    let watcher = runtime::aside("watch", move || async move {
        tokio::select! {
            () = look(&running, idle) => {}
            _ = tokio::signal::ctrl_c() => running.stop(),
        }
        // Who waits for it is below.
        let _ = give.send(running);
    })?;
    let running = take.recv().map_err(io::Error::other)?;
    let _ = watcher.join();
    Ok(running.join())
}

/// Until all is done.
async fn look(running: &Running, idle: bool) {
    // Draws on a terminal only.
    let line = ProgressBar::new_spinner();
    let (mut held, mut before) = (false, 0);
    while !running.is_finished() {
        tokio::time::sleep(LOOK).await;
        let now = running.live();
        if idle && !held && now.elapsed.is_some() {
            held = true;
            // A program that measures the server meanwhile waits for this line.
            line.suspend(|| drop(writeln!(io::stderr(), "holding {} connections", now.held)));
        }
        line.set_message(progress(&now, now.done - before));
        line.tick();
        before = now.done;
    }
    line.finish_and_clear();
}

fn progress(live: &Live, more: u64) -> String {
    let elapsed = live.elapsed.map_or_else(|| "connecting".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()));
    let rate = more * 1000 / u64::try_from(LOOK.as_millis()).unwrap_or(u64::MAX);
    format!("{elapsed}: {} done ({rate}/s), {} failed, {} connections", live.done, live.failed, live.open)
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("a header is NAME: VALUE")?;
    let name = name.trim().parse().map_err(|_| format!("{name:?} is no header name"))?;
    let value = value.trim().parse().map_err(|_| format!("{value:?} is no header value"))?;
    Ok((name, value))
}

fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time: a number and ms, s, m or h, like 500ms or 10s");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(wrong)
}

fn rate(text: &str) -> Result<f64, String> {
    let wrong = || format!("{text:?} is no rate: a number of requests per second above 0");
    text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0).ok_or_else(wrong)
}

/// How often somebody who looks wants to see something new.
const LOOK: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_rates_and_headers_are_read_or_told_to_be_wrong() {
        for (text, millis) in [("500ms", 500), ("10s", 10_000), ("2m", 120_000), ("1h", 3_600_000), ("0s", 0)] {
            assert_eq!(time(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "10", "s", "1d", "-1s", "1.5s", "99999999999999999999s", "18446744073709551615h"] {
            assert!(time(text).is_err(), "{text}");
        }
        assert_eq!(rate("0.5"), Ok(0.5));
        for text in ["0", "-1", "NaN", "inf", "x"] {
            assert!(rate(text).is_err(), "{text}");
        }
        assert_eq!(header("X-A:  b: c ").unwrap(), ("x-a".parse().unwrap(), "b: c".parse().unwrap()));
        for text in ["", "x", "a b: c", "a: b\nc"] {
            assert!(header(text).is_err(), "{text:?}");
        }
    }
}
