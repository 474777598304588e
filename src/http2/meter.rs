//! Counting the frames that cost us more than they cost the client.
//!
//! hyper's HTTP/2 bounds memory, but it has no counters for frames that are cheap to send and make
//! work: SETTINGS, PING, RST_STREAM, CONTINUATION, empty DATA, PRIORITY, WINDOW_UPDATE. The meter
//! sits under it and reads frame headers as they pass (RFC 9113 §4.1); payloads are skipped, but for those before the
//! first request, which tell what software the client is.

use std::time::{Duration, Instant};

use super::Settings;
use crate::fingerprint::Http2Print;
use crate::reject::Reason;

/// `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n` (RFC 9113 §3.4).
const PREFACE_BYTES: usize = 24;
const FRAME_HEADER_BYTES: usize = 9;
/// The counts are per this long: attacks of this family send thousands a second, and honest
/// clients tens.
const WINDOW: Duration = Duration::from_secs(10);
/// A client may announce room once for each KiB that we send it; real ones do so every 16 to 64 KiB.
const SENT_BYTES_PER_UPDATE: u64 = 1024;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const WINDOW_UPDATE: u8 = 0x8;
const CONTINUATION: u8 = 0x9;

const END_STREAM: u8 = 0x1;

/// Frame counts of one connection.
#[derive(Debug)]
pub(super) struct Meter {
    bounds: Settings,
    /// Bytes to pass over before the next frame header.
    skip: usize,
    /// A frame header that is cut by the end of a read.
    partial: [u8; FRAME_HEADER_BYTES],
    partial_len: usize,
    window_start: Option<Instant>,
    counts: Counts,
    continuations: u32,
    sent: u64,
    /// Reads along until the client's software is known.
    print: Option<Box<Http2Print>>,
    known: Option<Box<str>>,
}

#[derive(Debug, Default)]
struct Counts {
    resets: u32,
    settings: u32,
    pings: u32,
    control: u32,
    updates: u64,
}

impl Meter {
    pub(super) fn new(bounds: Settings) -> Self {
        Self {
            bounds,
            skip: PREFACE_BYTES,
            partial: [0; FRAME_HEADER_BYTES],
            partial_len: 0,
            window_start: None,
            counts: Counts::default(),
            continuations: 0,
            sent: 0,
            print: Some(Box::default()),
            known: None,
        }
    }

    /// The fingerprint of the client's HTTP/2: once, when it is known.
    pub(super) fn fingerprint(&mut self) -> Option<Box<str>> {
        self.known.take()
    }

    /// Bytes that went out: they explain WINDOW_UPDATE frames.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent = self.sent.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// Bytes that came in. `now` is asked only when a counted frame is among them.
    pub(super) fn received(&mut self, mut bytes: &[u8], now: impl Fn() -> Instant) -> Result<(), Reason> {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let (payload, rest) = bytes.split_at(self.skip.min(bytes.len()));
                self.skip = self.skip.saturating_sub(payload.len());
                self.learn(|print| print.payload(payload));
                bytes = rest;
                continue;
            }
            let missing = FRAME_HEADER_BYTES.saturating_sub(self.partial_len);
            let (head, rest) = bytes.split_at(missing.min(bytes.len()));
            let end = self.partial_len.saturating_add(head.len());
            if let Some(room) = self.partial.get_mut(self.partial_len..end) {
                room.copy_from_slice(head);
            }
            self.partial_len = end;
            bytes = rest;
            if self.partial_len == FRAME_HEADER_BYTES {
                self.partial_len = 0;
                self.frame(&now)?;
            }
        }
        Ok(())
    }

    fn frame(&mut self, now: &impl Fn() -> Instant) -> Result<(), Reason> {
        let [l2, l1, l0, kind, flags, s3, s2, s1, s0] = self.partial;
        let length = u32::from_be_bytes([0, l2, l1, l0]);
        self.skip = usize::try_from(length).unwrap_or(usize::MAX);
        let (stream, skip) = (u32::from_be_bytes([s3 & 0x7f, s2, s1, s0]), self.skip);
        self.learn(|print| print.frame(kind, flags, stream, skip));
        if kind == CONTINUATION {
            self.continuations = self.continuations.saturating_add(1);
            return within(self.continuations, self.bounds.continuations, Reason::Http2Continuations);
        }
        self.continuations = 0;
        let empty_data = kind == DATA && length == 0 && flags & END_STREAM == 0;
        if matches!(kind, DATA | HEADERS) && !empty_data {
            return Ok(());
        }
        self.roll(now());
        let (counts, bounds) = (&mut self.counts, &self.bounds);
        match kind {
            RST_STREAM => count(&mut counts.resets, bounds.resets, Reason::Http2Resets),
            SETTINGS => count(&mut counts.settings, bounds.settings, Reason::Http2Settings),
            PING => count(&mut counts.pings, bounds.pings, Reason::Http2Pings),
            WINDOW_UPDATE => {
                counts.updates = counts.updates.saturating_add(1);
                let explained = u64::from(bounds.control_frames).saturating_add(self.sent / SENT_BYTES_PER_UPDATE);
                if counts.updates > explained { Err(Reason::Http2ControlFrames) } else { Ok(()) }
            }
            // Empty DATA, PRIORITY, and whatever has no meaning here.
            _ => count(&mut counts.control, bounds.control_frames, Reason::Http2ControlFrames),
        }
    }

    fn learn(&mut self, read: impl FnOnce(&mut Http2Print) -> Option<Box<str>>) {
        let Some(print) = self.print.as_deref_mut() else { return };
        if let Some(known) = read(print) {
            self.known = Some(known);
            self.print = None;
        }
    }

    fn roll(&mut self, now: Instant) {
        let fresh = self.window_start.is_some_and(|start| now.saturating_duration_since(start) < WINDOW);
        if !fresh {
            self.window_start = Some(now);
            self.counts = Counts::default();
            self.sent = 0;
        }
    }
}

fn count(counter: &mut u32, most: u32, reason: Reason) -> Result<(), Reason> {
    *counter = counter.saturating_add(1);
    within(*counter, most, reason)
}

fn within(counter: u32, most: u32, reason: Reason) -> Result<(), Reason> {
    if counter > most { Err(reason) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Clock;
    use crate::message::pace::PaceSpec;

    const PRIORITY: u8 = 0x2;

    fn bounds() -> Settings {
        Settings {
            streams: 10,
            resets: 3,
            continuations: 2,
            settings: 4,
            pings: 5,
            control_frames: 6,
            header_bytes: 1000,
            stream_window: 65_535,
            connection_window: 65_535,
            body_timeout: WINDOW,
            write_timeout: WINDOW,
            pace: PaceSpec::NONE,
            idle_timeout: WINDOW,
            max_requests: 100,
        }
    }

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        let mut out = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        out.resize(FRAME_HEADER_BYTES + payload, 7);
        out
    }

    fn run(clock: &Clock, frames: &[Vec<u8>]) -> Result<(), Reason> {
        let mut meter = Meter::new(bounds());
        meter.received(&[0; PREFACE_BYTES], || clock.now())?;
        frames.iter().try_for_each(|frame| meter.received(frame, || clock.now()))
    }

    #[test]
    fn each_kind_has_its_own_bound_and_reason() {
        for (kind, payload, most, reason) in [
            (RST_STREAM, 4, 3, Reason::Http2Resets),
            (CONTINUATION, 10, 2, Reason::Http2Continuations),
            (SETTINGS, 0, 4, Reason::Http2Settings),
            (PING, 8, 5, Reason::Http2Pings),
            (DATA, 0, 6, Reason::Http2ControlFrames),
            (PRIORITY, 5, 6, Reason::Http2ControlFrames),
            (WINDOW_UPDATE, 4, 6, Reason::Http2ControlFrames),
            (0xfa, 3, 6, Reason::Http2ControlFrames),
        ] {
            let clock = Clock::system();
            assert_eq!(run(&clock, &vec![frame(kind, 0, payload); most]), Ok(()), "{kind}");
            assert_eq!(run(&clock, &vec![frame(kind, 0, payload); most + 1]), Err(reason), "{kind}");
        }
    }

    #[test]
    fn honest_frames_are_never_counted() {
        let clock = Clock::system();
        assert_eq!(run(&clock, &vec![frame(DATA, 0, 100); 1000]), Ok(()));
        assert_eq!(run(&clock, &vec![frame(DATA, END_STREAM, 0); 1000]), Ok(()));
        assert_eq!(run(&clock, &vec![frame(HEADERS, 4, 50); 1000]), Ok(()));
    }

    #[test]
    fn window_updates_are_explained_by_what_was_sent() {
        let clock = Clock::system();
        let mut meter = Meter::new(bounds());
        meter.received(&[0; PREFACE_BYTES], || clock.now()).unwrap();
        meter.received(&frame(WINDOW_UPDATE, 0, 4), || clock.now()).unwrap();
        meter.sent(100 * 1024);
        for _ in 0..100 {
            meter.received(&frame(WINDOW_UPDATE, 0, 4), || clock.now()).unwrap();
        }
    }

    #[test]
    fn a_new_window_starts_the_counts_again() {
        let clock = Clock::adjustable();
        let mut meter = Meter::new(bounds());
        meter.received(&[0; PREFACE_BYTES], || clock.now()).unwrap();
        for _ in 0..10 {
            for _ in 0..3 {
                meter.received(&frame(RST_STREAM, 0, 4), || clock.now()).unwrap();
            }
            clock.advance(WINDOW);
        }
    }

    #[test]
    fn the_fingerprint_is_there_once_with_the_first_request_and_not_before() {
        let clock = Clock::system();
        let mut meter = Meter::new(bounds());
        meter.received(&[0; PREFACE_BYTES], || clock.now()).unwrap();
        meter.received(&[0, 0, 6, SETTINGS, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0], || clock.now()).unwrap();
        assert_eq!(meter.fingerprint(), None);
        let request = [0, 0, 3, HEADERS, 5, 0, 0, 0, 1, 0x82, 0x87, 0x84];
        for byte in &request {
            assert_eq!(meter.fingerprint(), None);
            meter.received(&[*byte], || clock.now()).unwrap();
        }
        assert_eq!(meter.fingerprint().as_deref(), Some("2:0|00|0|m,s,p"));
        meter.received(&request, || clock.now()).unwrap();
        assert_eq!(meter.fingerprint(), None);
    }

    proptest! {
        #[test]
        fn cuts_do_not_change_the_verdict(kinds in prop::collection::vec((0u8..12, 0usize..40), 0..60), cut in 1usize..50) {
            let clock = Clock::adjustable();
            let bytes: Vec<u8> = [0; PREFACE_BYTES].into_iter()
                .chain(kinds.iter().flat_map(|(kind, payload)| frame(*kind, 0, *payload))).collect();
            let whole = Meter::new(bounds()).received(&bytes, || clock.now());
            let mut meter = Meter::new(bounds());
            let pieces = bytes.chunks(cut).try_for_each(|piece| meter.received(piece, || clock.now()));
            prop_assert_eq!(whole, pieces);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let clock = Clock::system();
            let _ = Meter::new(bounds()).received(&bytes, || clock.now());
        }
    }
}
