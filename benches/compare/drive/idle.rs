//! Connections that have proven who they are, made a request, and are silent since.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::sign::CertifiedKey;
use serde_json::{Value, json};

use super::Job;
use super::client::{Client, Tickets};
use super::http1::Exchange;
use super::http2::Session;
use crate::process;

/// How long proxies have to give back what an idle connection does not need.
const SETTLE: Duration = Duration::from_secs(2);
/// Connections that are opened at once.
const AT_ONCE: usize = 16;

/// Opens `connections` of them; resident memory of the proxy per connection, KiB.
pub fn hold(job: &Job, identities: &[Arc<CertifiedKey>]) -> Value {
    let open = |count: usize| -> Vec<Held> {
        let threads: Vec<_> = (0..AT_ONCE.min(count))
            .map(|_| {
                let (job, identities) = (job.clone(), identities.to_vec());
                thread::spawn(move || Held::several(&job, identities, count.div_ceil(AT_ONCE.min(count))))
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no error")).collect()
    };
    // What a proxy makes once is not the connections'.
    let first = open(AT_ONCE);
    thread::sleep(SETTLE);
    let before = process::resident_kib(&job.proxy);
    let held = open(job.connections);
    thread::sleep(SETTLE);
    let after = process::resident_kib(&job.proxy);
    let count = held.len() as f64;
    drop((first, held));
    json!({ "kib": (after - before) / count, "before_kib": before, "after_kib": after, "units": count })
}

#[expect(dead_code, reason = "held, not used")]
enum Held {
    Http1(super::client::Connection),
    Http2(Session),
}

impl Held {
    fn several(job: &Job, identities: Vec<Arc<CertifiedKey>>, count: usize) -> Vec<Self> {
        let http2 = job.kind == "idle-h2";
        let protocol: &[u8] = if http2 { b"h2" } else { b"http/1.1" };
        let client = Client::new(&job.address, protocol, identities, Tickets::Ignored);
        let mut exchange = Exchange::new(&job.request);
        let open = |_| {
            if http2 {
                let mut session = Session::open(client.connect(), &job.request);
                session.exchange(1, |_| {});
                session.rest();
                Self::Http2(session)
            } else {
                let mut connection = client.connect();
                exchange.run(&mut connection);
                Self::Http1(connection)
            }
        };
        (0..count).map(open).collect()
    }
}
