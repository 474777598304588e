//! What the gate itself says in a request.

use bytes::BytesMut;
use http::HeaderMap;

/// Fields that are put into a request when it is sent. Whoever asks for that has taken out of the request what others said
/// under the same names.
///
/// Twice the same, so that a server that speaks HTTP/1.1 gets them as bytes that were rendered once, and the others as fields.
pub trait Stamp: Send + Sync {
    /// Writes them behind the other fields of a request in HTTP/1.1: whole lines.
    fn write(&self, out: &mut BytesMut);

    /// Puts them into a request that is sent otherwise.
    fn insert(&self, headers: &mut HeaderMap);
}

/// Nothing.
impl Stamp for () {
    fn write(&self, _: &mut BytesMut) {}

    fn insert(&self, _: &mut HeaderMap) {}
}
