//! What the gate says in a request it forwards: who sent it, from where, and under which name it is logged.

use bytes::{BufMut as _, BytesMut};
use http::header::VIA;
use http::{HeaderMap, HeaderValue, Version};

use super::peer::Peer;
use crate::identity::Formats;
use crate::message::forwarded::Rfc7239;
use crate::message::request_id;
use crate::upstream;

/// The stamp of one request, which has been stripped of what it says.
pub(super) struct Stamp<'a> {
    pub(super) peer: &'a Peer,
    /// How its identity is told.
    pub(super) formats: Formats,
    pub(super) id: &'a HeaderValue,
    /// Whom it is for, and whether in RFC 7239 too: said here unless a listed proxy has said it.
    pub(super) forwarded: Option<(&'a HeaderValue, Rfc7239)>,
    /// What the client spoke.
    pub(super) version: Version,
}

impl Stamp<'_> {
    /// RFC 9110 §7.6.3: a gateway names itself in every request it forwards, behind those before it.
    fn via(&self) -> &'static str {
        match self.version {
            Version::HTTP_2 => "2 portcullis",
            Version::HTTP_10 => "1.0 portcullis",
            _ => "1.1 portcullis",
        }
    }
}

impl upstream::Stamp for Stamp<'_> {
    fn write(&self, out: &mut BytesMut) {
        out.put_slice(request_id::NAME.as_bytes());
        out.put_slice(b": ");
        out.put_slice(self.id.as_bytes());
        out.put_slice(b"\r\n");
        if let Some((authority, rfc7239)) = self.forwarded {
            self.peer.hop.write(out, authority, rfc7239);
        }
        out.put_slice(b"via: ");
        out.put_slice(self.via().as_bytes());
        out.put_slice(b"\r\n");
        self.peer.write(self.formats, out);
    }

    fn insert(&self, headers: &mut HeaderMap) {
        headers.insert(&request_id::FIELD, self.id.clone());
        if let Some((authority, rfc7239)) = self.forwarded {
            self.peer.hop.insert(headers, authority, rfc7239);
        }
        headers.append(VIA, HeaderValue::from_static(self.via()));
        self.peer.stamp(self.formats, headers);
    }
}
