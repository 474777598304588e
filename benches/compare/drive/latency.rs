//! Requests at a fixed rate, with latency from when each was to be sent: a proxy that stalls is charged for
//! everything that waits meanwhile.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use super::client::{Client, has_ended};
use super::http1::Exchange;
use super::{Job, Meter};

/// Each thread takes every `connections`-th slot of the schedule. Connections that the proxy ends between two
/// requests are replaced; requests that it takes and does not answer are lost.
pub fn requests(client: &Client, job: &Job, index: usize, meter: &mut Meter) {
    // By default the kernel wakes sleepers up to 50 µs late, to wake several at once.
    let _ = fs::write("/proc/thread-self/timerslack_ns", "1");
    let (mut connection, mut exchange) = (client.connect(), Exchange::new(&job.request));
    exchange.run(&mut connection);
    meter.shared.ready.wait();
    let between = Duration::from_secs_f64(1.0 / job.rate);
    // All threads count from the same instant: a little after the last of them is ready.
    let begin = *meter.shared.begin.get_or_init(|| Instant::now() + Duration::from_millis(5));
    let mut due = begin + between * index as u32;
    while meter.goes_on() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let ended = job.reloads && has_ended(&mut connection);
        if ended {
            connection = client.connect();
        }
        match exchange.try_run(&mut connection) {
            Ok(()) => meter.unit(due),
            Err(error) => {
                assert!(job.reloads, "{error}");
                meter.lost();
                connection = client.connect();
            }
        }
        due += between * job.connections as u32;
    }
}
