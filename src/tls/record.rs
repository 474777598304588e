//! The record layer after the handshake: rustls negotiates the keys and hands them over, AWS-LC seals and opens.
//!
//! Ours because rustls keeps a read buffer of 4 KiB for every idle connection and copies every byte twice on its way
//! (docs/decisions/0013). Nothing is decided here: a record opens, or the connection is over.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustls::{AlertDescription, ConnectionTrafficSecrets, ProtocolVersion};

/// RFC 8446 §5.1: type, version, length.
pub(super) const HEADER: usize = 5;
/// RFC 8446 §5.1, RFC 5246 §6.2.1.
pub(super) const MOST_PLAIN: usize = 16 * 1024;
/// The largest record: RFC 5246 §6.2.3 permits 2048 bytes more than its text, RFC 8446 §5.2 256.
pub(super) const MOST: usize = HEADER + MOST_PLAIN + 2048;
/// Of every cipher suite that we speak.
const TAG: usize = 16;
/// RFC 5288 §3: the part of the nonce that travels.
const EXPLICIT: usize = 8;

/// Content types (RFC 8446 §5.1).
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const APPLICATION_DATA: u8 = 23;
const CHANGE_CIPHER_SPEC: u8 = 20;

/// Why a connection is over. The alert is what the other side is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("TLS record: {0:?}")]
pub(super) struct Fault(pub(super) AlertDescription);

/// How a version and a suite put a record together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// RFC 8446 §5.2.
    Tls13,
    /// AES-GCM of TLS 1.2 (RFC 5288).
    Tls12Explicit,
    /// ChaCha20-Poly1305 of TLS 1.2 (RFC 7905).
    Tls12Implicit,
}

/// The keys of one direction, and how many records they have seen.
pub(super) struct Protection {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    sequence: u64,
    form: Form,
    /// Records that one key may protect.
    limit: u64,
}

impl std::fmt::Debug for Protection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Protection").field("sequence", &self.sequence).field("form", &self.form).finish_non_exhaustive()
    }
}

impl Protection {
    /// With the keys that were negotiated, from the record number `sequence` on.
    pub(super) fn new(
        version: ProtocolVersion,
        (sequence, secrets): (u64, ConnectionTrafficSecrets),
        limit: u64,
    ) -> Option<Self> {
        let (algorithm, key, iv, gcm) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv, true),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv, true),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv, false),
            _ => return None,
        };
        let form = match (version, gcm) {
            (ProtocolVersion::TLSv1_3, _) => Form::Tls13,
            (ProtocolVersion::TLSv1_2, true) => Form::Tls12Explicit,
            (ProtocolVersion::TLSv1_2, false) => Form::Tls12Implicit,
            _ => return None,
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key.as_ref()).ok()?);
        Some(Self { key, iv: iv.as_ref().try_into().ok()?, sequence, form, limit })
    }

    /// Whether this key has protected as many records as it may (RFC 8446 §5.5), but for a last few.
    pub(super) const fn is_worn(&self) -> bool {
        self.sequence >= self.limit.saturating_sub(LAST_FEW)
    }

    /// Makes room for a record behind `out`; its text is appended next, then [`Self::finish`].
    pub(super) fn begin(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[0; HEADER]);
        if self.form == Form::Tls12Explicit {
            let nonce = nonce(&self.iv, self.sequence);
            out.extend_from_slice(nonce.last_chunk::<EXPLICIT>().map_or(&[][..], |explicit| explicit));
        }
    }

    /// Seals the record of type `kind` that began at `start` of `out` and is its end.
    pub(super) fn finish(&mut self, kind: u8, out: &mut Vec<u8>, start: usize) -> Result<(), Fault> {
        let broken = Fault(AlertDescription::InternalError);
        if self.sequence >= self.limit {
            return Err(broken);
        }
        if self.form == Form::Tls13 {
            out.push(kind);
        }
        let body = start.saturating_add(HEADER);
        let length = out.len().saturating_sub(body).saturating_add(TAG);
        let outer = if self.form == Form::Tls13 { APPLICATION_DATA } else { kind };
        let [high, low] = u16::try_from(length).map_err(|_| broken)?.to_be_bytes();
        let header = [outer, 3, 3, high, low];
        out.get_mut(start..body).ok_or(broken)?.copy_from_slice(&header);
        let text = body.saturating_add(if self.form == Form::Tls12Explicit { EXPLICIT } else { 0 });
        let text = out.get_mut(text..).ok_or(broken)?;
        let nonce = Nonce::assume_unique_for_key(nonce(&self.iv, self.sequence));
        let sealed = if self.form == Form::Tls13 {
            self.key.seal_in_place_separate_tag(nonce, Aad::from(header), text)
        } else {
            self.key.seal_in_place_separate_tag(nonce, Aad::from(tls12_aad(self.sequence, kind, text.len())), text)
        };
        out.extend_from_slice(sealed.map_err(|_| broken)?.as_ref());
        self.sequence = self.sequence.saturating_add(1);
        Ok(())
    }

    /// Seals `text`, at most [`MOST_PLAIN`] bytes, as a record of its own.
    pub(super) fn seal(&mut self, kind: u8, text: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        let start = out.len();
        self.begin(out);
        out.extend_from_slice(text);
        self.finish(kind, out, start)
    }

    /// Opens `record`, a whole one with its header: its type and its text.
    pub(super) fn open<'r>(&mut self, record: &'r mut [u8]) -> Result<(u8, &'r mut [u8]), Fault> {
        let (header, body) = record.split_first_chunk_mut::<HEADER>().ok_or(BAD_RECORD)?;
        let outer = header[0];
        let sequence = self.sequence;
        self.sequence = sequence.checked_add(1).ok_or(BAD_RECORD)?;
        let opened = match self.form {
            Form::Tls13 => {
                // RFC 8446 §5.2: everything is application data on the outside by now.
                if outer != APPLICATION_DATA {
                    return Err(Fault(AlertDescription::UnexpectedMessage));
                }
                let nonce = Nonce::assume_unique_for_key(nonce(&self.iv, sequence));
                let text = self.key.open_in_place(nonce, Aad::from(*header), body).map_err(|_| BAD_RECORD)?;
                inner(text)?
            }
            Form::Tls12Explicit => {
                let (explicit, body) = body.split_first_chunk_mut::<EXPLICIT>().ok_or(BAD_RECORD)?;
                let mut nonce = self.iv;
                nonce.last_chunk_mut::<EXPLICIT>().ok_or(BAD_RECORD)?.copy_from_slice(explicit);
                (outer, self.open_tls12(nonce, sequence, outer, body)?)
            }
            Form::Tls12Implicit => (outer, self.open_tls12(nonce(&self.iv, sequence), sequence, outer, body)?),
        };
        if opened.1.len() > MOST_PLAIN {
            return Err(Fault(AlertDescription::RecordOverflow));
        }
        Ok(opened)
    }

    fn open_tls12<'r>(
        &self,
        nonce: [u8; NONCE_LEN],
        sequence: u64,
        kind: u8,
        body: &'r mut [u8],
    ) -> Result<&'r mut [u8], Fault> {
        let aad = tls12_aad(sequence, kind, body.len().checked_sub(TAG).ok_or(BAD_RECORD)?);
        self.key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), body).map_err(|_| BAD_RECORD)
    }
}

const BAD_RECORD: Fault = Fault(AlertDescription::BadRecordMac);

/// Records that stay for the KeyUpdate itself and an alert.
const LAST_FEW: u64 = 8;

/// How long the first record of `bytes` is, header included; `None` if its header is not whole.
pub(super) fn length(bytes: &[u8]) -> Result<Option<usize>, Fault> {
    let Some([kind, major, _, high, low]) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
    // A change_cipher_spec has no place behind the handshake (RFC 8446 §5).
    if *kind <= CHANGE_CIPHER_SPEC || *kind > APPLICATION_DATA {
        return Err(Fault(AlertDescription::UnexpectedMessage));
    }
    if *major != 3 {
        return Err(Fault(AlertDescription::ProtocolVersion));
    }
    let length = HEADER.saturating_add(usize::from(u16::from_be_bytes([*high, *low])));
    if length > MOST {
        return Err(Fault(AlertDescription::RecordOverflow));
    }
    Ok(Some(length))
}

/// RFC 8446 §5.4: the last byte that is not zero is the type.
fn inner(text: &mut [u8]) -> Result<(u8, &mut [u8]), Fault> {
    let end = text.iter().rposition(|byte| *byte != 0).ok_or(Fault(AlertDescription::UnexpectedMessage))?;
    let (text, rest) = text.split_at_mut(end);
    let kind = rest.first().copied().unwrap_or_default();
    Ok((kind, text))
}

/// RFC 8446 §5.3, RFC 7905 §2.
fn nonce(iv: &[u8; NONCE_LEN], sequence: u64) -> [u8; NONCE_LEN] {
    let mut nonce = *iv;
    if let Some(end) = nonce.last_chunk_mut::<8>() {
        *end = (u64::from_be_bytes(*end) ^ sequence).to_be_bytes();
    }
    nonce
}

/// RFC 5246 §6.2.3.3.
fn tls12_aad(sequence: u64, kind: u8, length: usize) -> [u8; 13] {
    let mut aad = [0; 13];
    let [high, low] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    let parts = sequence.to_be_bytes().into_iter().chain([kind, 3, 3, high, low]);
    for (byte, part) in aad.iter_mut().zip(parts) {
        *byte = part;
    }
    aad
}
