//! The measurement: rows one after the other, rounds of a row with all proxies in turn.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use clap::Parser;
use serde_json::{Value, json};

use crate::drive::Job;
use crate::drive::client::{Client, Tickets};
use crate::drive::http1::Exchange;
use crate::process::{self, LOAD_CORE, Pinned};
use crate::proxies::{Proxy, Running, Variant};
use crate::rows::{Clients, ROWS, Row, Work};
use crate::{material, results, svg, table};

/// Compares what the gate, nginx and HAProxy spend on the same work.
#[derive(Parser)]
struct Options {
    /// How often each proxy has its turn in each row.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long a turn is.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Rows to run; by default all.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Other builds of the gate, as NAME=BINARY, to compare with this one.
    #[arg(long, value_parser = named)]
    gate: Vec<(String, PathBuf)>,
    /// Also the gate's other thread model.
    #[arg(long)]
    flavors: bool,
    /// Leave nginx and HAProxy out.
    #[arg(long)]
    alone: bool,
    /// Go before all other programs of the machine (as root).
    #[arg(long)]
    priority: bool,
    /// What a reader has to know about this run, such as how the gate was built.
    #[arg(long, default_value = "")]
    note: String,
    /// Where compare.json and compare.svg go.
    #[arg(long)]
    out: Option<PathBuf>,
}

fn named(text: &str) -> Result<(String, PathBuf), String> {
    let (name, binary) = text.split_once('=').ok_or("NAME=BINARY")?;
    Ok((name.to_owned(), binary.into()))
}

pub fn main(arguments: &[String]) {
    let options = Options::parse_from(std::iter::once(&"compare".to_owned()).chain(arguments));
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    process::settle(options.priority);
    let rows: Vec<&Row> = if options.only.is_empty() {
        ROWS.iter().collect()
    } else {
        let known = |name: &String| ROWS.iter().find(|row| row.name == name).expect("a row of that name");
        options.only.iter().map(known).collect()
    };
    let proxies = proxies(&options);
    let dir = tempfile::tempdir().unwrap();
    let ca = material::write(dir.path());
    for entries in rows.iter().filter_map(|row| row.variant.crl) {
        material::write_crl(dir.path(), &ca, entries);
    }
    let bench = Bench { dir: dir.path(), origin: Origin::start(), seconds: options.seconds, rounds: options.rounds };
    proxies.iter().for_each(|proxy| bench.verify(proxy));
    let mut done = Vec::new();
    for row in rows {
        let row = results::row(row, &bench.row(row, &proxies));
        print!("{}", table::text(&row));
        done.push(row);
    }
    let results = json!({
        "machine": results::machine(), "versions": results::versions(), "note": options.note,
        "rounds": options.rounds, "seconds": options.seconds, "rows": done,
    });
    if let Some(out) = options.out {
        std::fs::create_dir_all(&out).unwrap();
        std::fs::write(out.join("compare.json"), format!("{results:#}\n")).unwrap();
        std::fs::write(out.join("compare.svg"), svg::draw(&results)).unwrap();
    }
}

fn proxies(options: &Options) -> Vec<Proxy> {
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_portcullis"));
    let gate = |name: &str, binary: &Path, flavor| Proxy::Gate { name: name.to_owned(), binary: binary.into(), flavor };
    let mut proxies = vec![gate("portcullis", &binary, "thread-per-core")];
    if options.flavors {
        proxies.push(gate("work-stealing", &binary, "work-stealing"));
    }
    proxies.extend(options.gate.iter().map(|(name, binary)| gate(name, binary, "thread-per-core")));
    if options.alone {
        return proxies;
    }
    let there = |program: &str| {
        let found = Command::new(program).arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
        if !found {
            eprintln!("{program} is not installed: left out");
        }
        found
    };
    if there("nginx") {
        proxies.push(Proxy::Nginx);
    }
    if there("haproxy") {
        // The default, and what suits large bodies.
        proxies.push(Proxy::Haproxy { name: "haproxy", buffer: 16 * 1024 });
        proxies.push(Proxy::Haproxy { name: "haproxy-64k", buffer: 64 * 1024 });
    }
    proxies
}

struct Origin {
    process: Pinned,
    address: String,
}

impl Origin {
    fn start() -> Self {
        let mut process = Pinned::start(LOAD_CORE, std::env::current_exe().unwrap(), &["origin"]);
        let mut address = String::new();
        BufReader::new(process.0.stdout.as_mut().unwrap()).read_line(&mut address).unwrap();
        Self { process, address: address.trim().to_owned() }
    }
}

struct Bench<'a> {
    dir: &'a Path,
    origin: Origin,
    seconds: f64,
    rounds: usize,
}

impl Bench<'_> {
    /// The rounds of each proxy.
    fn row<'a>(&self, row: &Row, proxies: &'a [Proxy]) -> Vec<(&'a Proxy, Vec<Value>)> {
        let mut seen: Vec<_> = proxies.iter().map(|proxy| (proxy, Vec::new())).collect();
        // Memory that was used before would be used again: where it counts, each turn has a new process.
        let fresh = matches!(row.work, Work::Idle { .. } | Work::Start);
        let running: Vec<Running> =
            if fresh { Vec::new() } else { proxies.iter().map(|proxy| self.start(proxy, row.variant)).collect() };
        for _ in 0..self.rounds {
            for (index, (proxy, rounds)) in seen.iter_mut().enumerate() {
                rounds.push(match row.work {
                    Work::Start => self.first_answer(&self.start(proxy, row.variant)),
                    Work::Idle { .. } => self.turn(row, &self.start(proxy, row.variant)),
                    _ => self.turn(row, &running[index]),
                });
            }
        }
        seen
    }

    fn start(&self, proxy: &Proxy, variant: Variant) -> Running {
        proxy.start(self.dir, &self.origin.address, variant)
    }

    fn client(&self, running: &Running) -> Client {
        Client::new(&running.address, b"http/1.1", material::clients(self.dir, 1), Tickets::Ignored)
    }

    /// Nobody is measured who does not do the work: the backend must hear who calls.
    fn verify(&self, proxy: &Proxy) {
        let running = self.start(proxy, Variant::default());
        let mut exchange = Exchange::new("GET /headers");
        exchange.run(&mut self.client(&running).connect());
        let seen = exchange.seen().to_ascii_lowercase();
        let fields = ["cert-subject: ", "cert-fingerprint: ", "cert-verified: ", "forwarded-for: ", "request-id: "];
        for wanted in fields.iter().chain(&["device-0000000"]) {
            assert!(seen.contains(wanted), "{} does not tell {wanted}:\n{seen}", proxy.name());
        }
    }

    fn first_answer(&self, running: &Running) -> Value {
        let client = self.client(running);
        let answers = || Exchange::new("GET /1k").try_run(&mut client.try_connect()?);
        // It may accept before it serves.
        while answers().is_err() {
            thread::sleep(Duration::from_millis(1));
        }
        json!({ "ms": running.begun.elapsed().as_secs_f64() * 1000.0 })
    }

    fn turn(&self, row: &Row, running: &Running) -> Value {
        self.first_answer(running);
        let job = self.job(row, running).to_json();
        let mut child = Pinned::start(LOAD_CORE, std::env::current_exe().unwrap(), &["drive", &job]);
        if matches!(row.work, Work::Reloads(_)) {
            thread::sleep(Duration::from_millis(500));
            while child.0.try_wait().unwrap().is_none() {
                let (signal, process) = running.change();
                process::signal(signal, process);
                thread::sleep(Duration::from_secs(1));
            }
        }
        let mut text = String::new();
        child.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        assert!(child.0.wait().unwrap().success(), "{}: the load failed: see above", row.name);
        serde_json::from_str(&text).unwrap()
    }

    fn job(&self, row: &Row, running: &Running) -> Job {
        let (kind, identities, rate) = match row.work {
            Work::Http1 => ("h1", row.connections, 0),
            Work::Http2 => ("h2", row.connections, 0),
            Work::Handshake(Clients::Known) => ("handshake", 64, 0),
            // More than can be used meanwhile.
            Work::Handshake(Clients::New) => ("handshake", (self.seconds + 1.0) as usize * 6000, 0),
            Work::Resumed => ("resumed", row.connections, 0),
            Work::Idle { http2: false } => ("idle-h1", 64, 0),
            Work::Idle { http2: true } => ("idle-h2", 64, 0),
            Work::Paced(rate) | Work::Reloads(rate) => ("paced", row.connections, rate),
            Work::Start => unreachable!("no load"),
        };
        Job {
            kind: kind.to_owned(),
            address: running.address.clone(),
            dir: self.dir.to_owned(),
            proxy: running.processes(),
            origin: self.origin.process.id(),
            connections: row.connections,
            streams: row.streams,
            seconds: self.seconds,
            request: row.request.to_owned(),
            identities,
            rate: f64::from(rate),
            reloads: matches!(row.work, Work::Reloads(_)),
        }
    }
}
