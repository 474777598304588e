//! The proxies: how each is told to do the same work, at its best.
//!
//! Common to all: TLS 1.3 with X25519 and AES-128-GCM, a P-256 client certificate required and verified,
//! a limit per certificate that never triggers, subject, fingerprint and verdict of the certificate and
//! where the request came from as headers, connections to the origin kept alive, one worker, no access log.
//! Not in the peers' disfavour: they hash certificates with SHA-1, which is all that they offer as a ready
//! value (the gate's fingerprint is SHA-256), and send fewer headers than the gate does.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::process::{PROXY_CORE, Pinned, tree};

/// What is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// A binary of the gate, and its thread model.
    Gate {
        name: String,
        binary: PathBuf,
        flavor: &'static str,
    },
    /// HAProxy, with buffers of so many bytes.
    Haproxy {
        name: &'static str,
        buffer: usize,
    },
    Nginx,
}

/// What differs between rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Variant {
    /// Whether sessions may be resumed. Where handshakes are full, nobody makes tickets for nothing.
    pub tickets: bool,
    /// Entries of the revocation list; `None`: the peers have no list, and the gate an empty one.
    pub crl: Option<u32>,
}

impl Proxy {
    pub fn name(&self) -> &str {
        match self {
            Self::Gate { name, .. } => name,
            Self::Haproxy { name, .. } => name,
            Self::Nginx => "nginx",
        }
    }

    pub fn is_gate(&self) -> bool {
        matches!(self, Self::Gate { .. })
    }

    /// Starts it and waits until it accepts.
    pub fn start(&self, dir: &Path, origin: &str, variant: Variant) -> Running {
        let port = free_port();
        let files = Files { dir, origin, port, variant };
        let (file, binary, arguments, reload): (String, &Path, &[&str], &'static str) = match self {
            Self::Gate { name, binary, flavor } => {
                (files.write(&format!("{name}.toml"), &gate(&files, flavor)), binary, &["run", "--config"], "HUP")
            }
            // A master and a worker, as packages run it: what reloads.
            Self::Haproxy { name, buffer } => {
                let file = files.write(&format!("{name}.cfg"), &haproxy(&files, *buffer));
                (file, Path::new("haproxy"), &["-W", "-db", "-q", "-f"], "USR2")
            }
            Self::Nginx => (files.write("nginx.conf", &nginx(&files)), Path::new("nginx"), &["-c"], "HUP"),
        };
        let begun = Instant::now();
        let child = Pinned::start(PROXY_CORE, binary, &[arguments, &[&file]].concat());
        let mut running = Running { child, address: format!("127.0.0.1:{port}"), begun, file: file.into(), reload };
        running.drain();
        running.wait();
        running
    }
}

/// A proxy that accepts.
pub struct Running {
    child: Pinned,
    pub address: String,
    /// When it was started.
    pub begun: Instant,
    file: PathBuf,
    /// The signal that makes it read its file again.
    reload: &'static str,
}

impl Running {
    /// It and its workers; they are all there when it has answered once.
    pub fn processes(&self) -> Vec<u32> {
        tree(self.child.id())
    }

    /// Changes its file, and returns the signal to send and to whom.
    pub fn change(&self) -> (&'static str, u32) {
        // The gate does nothing about a file that says the same.
        let text = fs::read_to_string(&self.file).unwrap();
        fs::write(&self.file, text + "# changed\n").unwrap();
        (self.reload, self.child.id())
    }

    fn drain(&mut self) {
        let lines = BufReader::new(self.child.0.stdout.take().unwrap()).lines();
        thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    }

    fn wait(&mut self) {
        // A list with a million entries takes nginx seconds.
        while self.begun.elapsed() < Duration::from_secs(60) {
            if std::net::TcpStream::connect(&self.address).is_ok() {
                return;
            }
            assert!(self.child.0.try_wait().unwrap().is_none(), "the proxy ended: see above");
            thread::sleep(Duration::from_millis(1));
        }
        panic!("nobody listens on {}", self.address);
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

struct Files<'a> {
    dir: &'a Path,
    origin: &'a str,
    port: u16,
    variant: Variant,
}

impl Files<'_> {
    fn write(&self, name: &str, text: &str) -> String {
        let file = self.dir.join(name);
        fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    }
}

/// Everything on: policy with a matcher, limit, revocation list, identity headers, metrics.
fn gate(files: &Files<'_>, flavor: &str) -> String {
    let Files { origin, port, variant, .. } = files;
    let (tickets, crl) = (variant.tickets, variant.crl.unwrap_or(0));
    format!(
        r#"
[[listener]]
address = "127.0.0.1:{port}"
backlog = 4096
[[host]]
names = ["localhost"]
certificate = {{ chain = "server.pem", key = "server.key" }}
trust = "bench"
[[host.route]]
path = "/"
allow = [{{ subject_cn = "device-*" }}]
limit = "never"
upstream = "origin"
[trust.bench]
anchors = ["ca.pem"]
crl = ["crl-{crl}.pem"]
crl_missing = "reject"
[limit.never]
key = "identity"
rate = "1000000/s"
burst = 1000000
[upstream.origin]
servers = ["http://{origin}"]
forward = ["plain"]
max_idle = 1024
[connection]
handshakes_per_address = "1000000/s"
per_address = 20000
max_requests = 1000000000
idle_timeout = "1h"
[resumption]
enabled = {tickets}
[reload]
interval = "0s"
[admin]
address = "127.0.0.1:0"
[log]
format = "json"
access = false
[runtime]
flavor = "{flavor}"
threads = 1
"#
    )
}

/// One worker. `keepalive` with HTTP/1.1 to the origin, and no end to it. Bodies pass: uploads are not
/// written to files first (`proxy_request_buffering`), and downloads find room for a megabyte in memory.
fn nginx(files: &Files<'_>) -> String {
    let Files { dir, origin, port, variant } = files;
    let dir = dir.display();
    let tickets = if variant.tickets { "on" } else { "off" };
    let crl = variant.crl.map(|entries| format!("ssl_crl {dir}/crl-{entries}.pem;")).unwrap_or_default();
    format!(
        r#"
worker_processes 1;
daemon off;
user root;
pid {dir}/nginx.pid;
error_log stderr crit;
worker_rlimit_nofile 20000;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    server_tokens off;
    tcp_nodelay on;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_body_temp_path {dir}/nginx-body;
    proxy_temp_path {dir}/nginx-proxy;
    limit_req_zone $ssl_client_fingerprint zone=never:16m rate=1000000r/s;
    limit_req_status 429;
    upstream origin {{
        server {origin};
        keepalive 1024;
        keepalive_requests 1000000000;
        keepalive_timeout 1h;
    }}
    server {{
        listen 127.0.0.1:{port} ssl http2 reuseport backlog=4096;
        server_name localhost;
        ssl_certificate {dir}/server.pem;
        ssl_certificate_key {dir}/server.key;
        ssl_client_certificate {dir}/ca.pem;
        ssl_verify_client on;
        {crl}
        ssl_protocols TLSv1.3;
        ssl_ecdh_curve X25519;
        ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
        ssl_session_cache off;
        ssl_session_tickets {tickets};
        client_max_body_size 10m;
        location / {{
            limit_req zone=never burst=1000000 nodelay;
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_buffers 64 16k;
            proxy_busy_buffers_size 64k;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Client-Cert-Subject $ssl_client_s_dn;
            proxy_set_header X-Client-Cert-Fingerprint $ssl_client_fingerprint;
            proxy_set_header X-Client-Cert-Verified $ssl_client_verify;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Request-Id $request_id;
        }}
    }}
}}
"#
    )
}

/// One thread. `http-reuse always` shares the connections to the origin. Twice `maxconn` descriptors are
/// needed, and 20,000 are what many systems grant.
fn haproxy(files: &Files<'_>, buffer: usize) -> String {
    let Files { dir, origin, port, variant } = files;
    let dir = dir.display();
    let tickets = if variant.tickets { "" } else { "no-tls-tickets" };
    let crl = variant.crl.map(|entries| format!("crl-file {dir}/crl-{entries}.pem")).unwrap_or_default();
    format!(
        r#"
global
    nbthread 1
    maxconn 8000
    tune.bufsize {buffer}
    tune.ssl.cachesize 0
    ssl-default-bind-options ssl-min-ver TLSv1.3 {tickets}
    ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
defaults
    mode http
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    timeout http-keep-alive 1h
    option http-keep-alive
    http-reuse always
frontend gate
    bind 127.0.0.1:{port} backlog 4096 ssl crt {dir}/server.both.pem ca-file {dir}/ca.pem verify required {crl} alpn h2,http/1.1 curves X25519
    http-request track-sc0 ssl_c_sha1 table never
    http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt 1000000 }}
    http-request set-header X-Client-Cert-Subject %[ssl_c_s_dn]
    http-request set-header X-Client-Cert-Fingerprint %[ssl_c_sha1,hex]
    http-request set-header X-Client-Cert-Verified %[ssl_c_verify]
    http-request set-header X-Forwarded-Proto https
    http-request set-header X-Request-Id %[uuid()]
    option forwardfor
    default_backend origin
backend origin
    server origin {origin}
backend never
    stick-table type binary len 20 size 100k expire 10m store http_req_rate(1s)
"#
    )
}
