//! The fingerprint of an HTTP/2 client as Akamai's researchers write it ("Passive Fingerprinting of HTTP/2 Clients",
//! 2017): `1:65536;2:0;4:6291456;6:262144|15663105|0|m,a,s,p`.
//!
//! Its first SETTINGS in their order, the window it adds to the connection (`00`: none), its PRIORITY frames before the
//! first request (`0`: none), and the order of the first request's pseudo-header fields. Values that are there to be
//! ignored (RFC 8701's idea in settings) are. Fed by whoever sees frames pass; done with the first HEADERS.

use std::fmt::Write as _;

/// Clients send up to 9 settings and 6 priorities; what sends more is none that anybody knows.
const MAX_SETTINGS: usize = 32;
const MAX_PRIORITIES: usize = 16;

const HEADERS: u8 = 0x1;
const PRIORITY: u8 = 0x2;
const SETTINGS: u8 = 0x4;
const WINDOW_UPDATE: u8 = 0x8;
const CONTINUATION: u8 = 0x9;

const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const WITH_PRIORITY: u8 = 0x20;

/// Reads along until the first request's head is complete.
#[derive(Debug, Default)]
pub struct Http2Print {
    settings: Settings,
    window: Option<u32>,
    priorities: Vec<(u32, u32, u8)>,
    /// More priorities than are kept.
    crowded: bool,
    frame: Frame,
    /// What the frame has of a value so far.
    value: u64,
    /// How many bytes of the frame's payload have passed.
    passed: usize,
    /// How many bytes at the end of a HEADERS frame are padding.
    padding: usize,
    fields: Fields,
}

#[derive(Debug, Default)]
struct Settings {
    pairs: Vec<(u16, u32)>,
    seen: bool,
    crowded: bool,
}

/// The frame whose payload is passing.
#[derive(Clone, Copy, Debug, Default)]
struct Frame {
    kind: Kind,
    flags: u8,
    length: usize,
    stream: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    Fields,
    Priority,
    Settings,
    Window,
    /// Nothing that the fingerprint has.
    #[default]
    Other,
}

impl Http2Print {
    /// A frame begins: its type, flags, stream and the bytes of its payload (RFC 9113 §4.1). The fingerprint, if this
    /// frame of no payload completes it.
    pub fn frame(&mut self, kind: u8, flags: u8, stream: u32, length: usize) -> Option<Box<str>> {
        let first_settings = kind == SETTINGS && flags & ACK == 0 && !self.settings.seen;
        let kind = match kind {
            SETTINGS if first_settings => Kind::Settings,
            WINDOW_UPDATE if stream == 0 && self.window.is_none() => Kind::Window,
            PRIORITY => Kind::Priority,
            HEADERS | CONTINUATION => Kind::Fields,
            _ => Kind::Other,
        };
        self.settings.seen |= first_settings;
        // A CONTINUATION has no flag but END_HEADERS (RFC 9113 §6.10).
        self.frame = Frame { kind, flags, length, stream };
        (self.value, self.passed, self.padding) = (0, 0, 0);
        if length == 0 { self.ended() } else { None }
    }

    /// A part of its payload, none of which is of the next frame.
    pub fn payload(&mut self, bytes: &[u8]) -> Option<Box<str>> {
        for byte in bytes {
            self.byte(*byte);
            self.passed = self.passed.saturating_add(1);
        }
        if self.passed >= self.frame.length { self.ended() } else { None }
    }

    fn byte(&mut self, byte: u8) {
        let size = match self.frame.kind {
            Kind::Settings => 6,
            Kind::Window => 4,
            Kind::Priority => 5,
            Kind::Fields => return self.field_byte(byte),
            Kind::Other => return,
        };
        self.value = self.value << 8 | u64::from(byte);
        if self.passed % size == size - 1 {
            let value = std::mem::take(&mut self.value);
            self.complete(value.to_be_bytes());
        }
    }

    fn complete(&mut self, value: [u8; 8]) {
        let [_, _, b5, b4, b3, b2, b1, b0] = value;
        match self.frame.kind {
            Kind::Settings => self.settings.add(u16::from_be_bytes([b5, b4]), u32::from_be_bytes([b3, b2, b1, b0])),
            Kind::Window => self.window = Some(u32::from_be_bytes([b3 & 0x7f, b2, b1, b0])),
            Kind::Priority if self.priorities.len() < MAX_PRIORITIES => {
                self.priorities.push((self.frame.stream, u32::from_be_bytes([b4, b3, b2, b1]), b0));
            }
            Kind::Priority => self.crowded = true,
            Kind::Fields | Kind::Other => {}
        }
    }

    /// A byte of HEADERS: its padding and its priority are around the field block (RFC 9113 §6.2).
    fn field_byte(&mut self, byte: u8) {
        let has = |flag: u8| self.frame.flags & flag != 0;
        let before = usize::from(has(PADDED));
        let head = before + if has(WITH_PRIORITY) { 5 } else { 0 };
        if self.passed == 0 && before == 1 {
            self.padding = usize::from(byte);
        } else if self.passed >= head && self.passed < self.frame.length.saturating_sub(self.padding) {
            self.fields.byte(byte);
        }
    }

    /// The frame is over.
    fn ended(&mut self) -> Option<Box<str>> {
        let complete = self.frame.kind == Kind::Fields && self.frame.flags & END_HEADERS != 0;
        complete.then(|| self.text())
    }

    fn text(&self) -> Box<str> {
        let mut text = String::new();
        // Writing to a string does not fail.
        for (index, (id, value)) in self.settings.pairs.iter().enumerate() {
            let _ = write!(text, "{}{id}:{value}", if index > 0 { ";" } else { "" });
        }
        text.push_str(if self.settings.crowded { ";+" } else { "" });
        let _ = match self.window {
            Some(window) => write!(text, "|{window}|"),
            None => write!(text, "|00|"),
        };
        if self.priorities.is_empty() {
            text.push('0');
        }
        for (index, (stream, on, weight)) in self.priorities.iter().enumerate() {
            let (exclusive, on) = (on >> 31, on & 0x7fff_ffff);
            let comma = if index > 0 { "," } else { "" };
            // On the wire a weight is one less than it is (RFC 7540 §6.3).
            let _ = write!(text, "{comma}{stream}:{exclusive}:{on}:{}", u16::from(*weight) + 1);
        }
        text.push_str(if self.crowded { ",+" } else { "" });
        text.push('|');
        text.push_str(&self.fields.order());
        text.into()
    }
}

impl Settings {
    fn add(&mut self, id: u16, value: u32) {
        if id & 0x0f0f == 0x0a0a {
            return;
        }
        if self.pairs.len() < MAX_SETTINGS {
            self.pairs.push((id, value));
        } else {
            self.crowded = true;
        }
    }
}

/// The order of the pseudo-header fields at the start of a field block (RFC 7541 §6), read as its bytes pass. Names
/// are told by their place in the static table, where every client finds them; the first that has another name ends it.
#[derive(Debug, Default)]
struct Fields {
    order: [u8; 4],
    known: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// All that will be known is known.
    Done,
    /// The first byte of a field.
    #[default]
    Field,
    /// The rest of a dynamic table's size.
    Size,
    /// The length of a value.
    Length,
    /// More of that length, so far and shifted so much.
    LongLength(u64, u32),
    /// So much of a value.
    Value(u64),
}

impl Fields {
    fn byte(&mut self, byte: u8) {
        self.state = match self.state {
            State::Done => State::Done,
            State::Field => self.field(byte),
            State::Size if byte & 0x80 != 0 => State::Size,
            State::Size | State::Value(1) => State::Field,
            State::Length => match byte & 0x7f {
                0x7f => State::LongLength(0x7f, 0),
                0 => State::Field,
                length => State::Value(u64::from(length)),
            },
            State::LongLength(length, shift) => long(length, shift, byte),
            State::Value(left) => State::Value(left.saturating_sub(1)),
        };
    }

    fn field(&mut self, byte: u8) -> State {
        let (index, next) = match byte {
            0x80.. => (byte & 0x7f, State::Field),
            // No field: the table's size, in 5 bits or more.
            0x20..=0x3f => return if byte & 0x1f == 0x1f { State::Size } else { State::Field },
            0x40.. => (byte & 0x3f, State::Length),
            _ => (byte & 0x0f, State::Length),
        };
        // RFC 7541 appendix A.
        let name = match index {
            1 => b'a',
            2 | 3 => b'm',
            4 | 5 => b'p',
            6 | 7 => b's',
            _ => return State::Done,
        };
        let Some(place) = self.order.get_mut(self.known) else { return State::Done };
        *place = name;
        self.known = self.known.saturating_add(1);
        next
    }

    /// `m,a,s,p`; `?` if none is known.
    fn order(&self) -> String {
        let known = self.order.iter().take(self.known);
        let names: Vec<_> = known.map(|name| char::from(*name).to_string()).collect();
        if names.is_empty() { "?".to_owned() } else { names.join(",") }
    }
}

/// RFC 7541 §5.1, in bytes of seven bits.
fn long(length: u64, shift: u32, byte: u8) -> State {
    // More than a header list may have: the codec will say what it thinks of it.
    if shift > 28 {
        return State::Done;
    }
    let length = length.saturating_add(u64::from(byte & 0x7f) << shift);
    if byte & 0x80 == 0 { State::Value(length) } else { State::LongLength(length, shift + 7) }
}
