//! One name for one request, in every log it passes through.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::forwarded::Trust;

/// The field that carries it.
pub const NAME: &str = "x-request-id";

/// The same, to insert it by.
pub static FIELD: HeaderName = HeaderName::from_static(NAME);

/// Names the request, and takes out of it the name that it came with. A listed proxy's name is kept if it is the only one
/// and can do no harm in a log; anybody else could make their requests look like someone else's.
pub fn assign(headers: &mut HeaderMap, trust: Trust) -> HeaderValue {
    let inbound = if trust == Trust::Append { inbound(headers) } else { None };
    headers.remove(&FIELD);
    inbound.unwrap_or_else(|| render(random().unwrap_or_else(counted)))
}

fn inbound(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut fields = headers.get_all(&FIELD).iter();
    let only = fields.next().filter(|_| fields.next().is_none())?;
    let bytes = only.as_bytes();
    let harmless = (1..=MAX_LENGTH).contains(&bytes.len())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"._~+/=-".contains(b));
    harmless.then(|| only.clone())
}

fn render(id: [u8; 16]) -> HeaderValue {
    let mut text = [0; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(id) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 0x0f)]);
    }
    // The fallback cannot be reached: digits are fit for a field.
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("unnamed"))
}

fn digit(nibble: u8) -> u8 {
    let base = if nibble < 10 { b'0' } else { b'a' - 10 };
    base.wrapping_add(nibble)
}

/// 128 random bits, of which two among 2^64 names are alike. `None` if the generator fails.
fn random() -> Option<[u8; 16]> {
    BATCH.try_with(|batch| batch.try_borrow_mut().ok()?.take()).ok()?
}

/// Random bytes fetched in one go: the generator costs most by the call.
struct Batch {
    bytes: [u8; BATCH_BYTES],
    left: usize,
}

impl Batch {
    fn take(&mut self) -> Option<[u8; 16]> {
        if self.left == 0 {
            SystemRandom::new().fill(&mut self.bytes).ok()?;
            self.left = BATCH_BYTES;
        }
        let (rest, id) = self.bytes.get(..self.left)?.split_last_chunk::<16>()?;
        self.left = rest.len();
        Some(*id)
    }
}

thread_local! {
    static BATCH: RefCell<Batch> = const { RefCell::new(Batch { bytes: [0; BATCH_BYTES], left: 0 }) };
}

/// A name without a generator. The name is for finding a request, not for guarding anything, so a
/// dead generator is no reason to refuse one: a counter keeps names apart within this process, and
/// its process id and where the loader put it make another process unlikely to use the same.
fn counted() -> [u8; 16] {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let place = u64::try_from(std::ptr::from_ref(&NEXT).addr()).unwrap_or_default();
    let process = place ^ u64::from(std::process::id()).rotate_left(32);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    ((u128::from(process) << 64) | u128::from(number)).to_be_bytes()
}

/// Bytes of an inbound name: twice a W3C trace context, and short enough for a log line.
const MAX_LENGTH: usize = 128;
/// Bytes per call of the generator: 64 names.
const BATCH_BYTES: usize = 1024;

#[cfg(test)]
mod tests;
