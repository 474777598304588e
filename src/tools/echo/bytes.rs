//! `/bytes/N`: a response of a given size that is never in memory as a whole.

use bytes::Bytes;
use futures_util::stream;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use super::{Body, text};

/// `count` zero bytes.
pub(super) fn stream(count: &str) -> Response<Body> {
    let Some(count) = count.parse().ok().filter(|count| *count <= MOST) else {
        return text(StatusCode::BAD_REQUEST, "/bytes/N takes at most 1073741824\n");
    };
    let frames = stream::iter(Chunks { left: count }.map(|chunk| Ok(Frame::data(chunk))));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(count));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response
}

struct Chunks {
    left: u64,
}

impl Iterator for Chunks {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        let size = usize::try_from(self.left).unwrap_or(usize::MAX).min(ZEROS.len());
        self.left = self.left.saturating_sub(u64::try_from(size).unwrap_or(u64::MAX));
        Some(Bytes::from_static(ZEROS).slice(..size))
    }
}

/// 1 GiB: enough to measure throughput, too little to fill a disk by a slip of the finger.
const MOST: u64 = 1 << 30;
/// 64 KiB: what one write to a socket takes at best.
static ZEROS: &[u8] = &[0; 64 * 1024];
