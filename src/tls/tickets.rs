//! Session tickets, sealed: one opens only for the host and the trust that it was issued under.
//!
//! A resumed session skips the verifier, which is how nginx (CVE-2025-23419), Apache
//! (CVE-2025-23048), Go (CVE-2025-68121) and HAProxy were walked around. Here the host, its mode
//! and all that its trust consists of are authenticated with every ticket: when one of them
//! changes, old tickets are noise, and the client makes a full handshake on its merits. What a
//! ticket holds is verified and judged again all the same, see `accept`.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use rustls::server::ProducesTickets;
use zeroize::Zeroizing;

use super::presented;
use crate::clock::Clock;
use crate::identity::Digest;
use crate::memory::Recent;

/// What an operator wants of resumption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumptionSpec {
    /// Whether sessions are resumed at all.
    pub enabled: bool,
    /// How long after its full handshake a session may be resumed, however often its ticket was renewed.
    pub max_age: Duration,
    /// How long a key makes tickets.
    pub rotate: Duration,
    /// Keys shared with other gates, instead of our own.
    pub key_file: Option<std::path::PathBuf>,
}

/// Length of a key in bytes: AES-256.
pub const KEY_BYTES: usize = 32;
/// Names a key in a ticket, so that a ticket of an unknown key costs no decryption.
const KEY_ID_BYTES: usize = 4;
/// A leaf up to this long travels in its ticket; a larger one stays here. With an ECDSA P-256 leaf
/// (about 500 bytes) a ticket is well below 1 KiB, and any gate that has the key can open it.
const INLINE_BYTES: usize = 640;
/// Certificates that are remembered for tickets that only name them. One that is forgotten costs a full
/// handshake. Each may be as long as `max_chain_bytes` (32 KiB by default) and be junk behind a good leaf, so
/// this number is what bounds the memory that an admitted client can take: 32 MiB by default.
const REMEMBERED: usize = 1024;
/// RFC 8446 §4.6.1: no ticket lives longer than seven days.
const LONGEST_SECONDS: u64 = 7 * 24 * 60 * 60;

/// The keys of the process, or of its configuration's file.
#[derive(Debug)]
pub struct TicketKeys {
    clock: Clock,
    rotate: Option<Duration>,
    keep: Duration,
    keys: Mutex<Vec<Key>>,
    /// Certificates that tickets name: intermediates, and large leaves.
    certificates: Recent<Digest, CertificateDer<'static>>,
}

struct Key {
    id: [u8; KEY_ID_BYTES],
    aead: Arc<RandomizedNonceKey>,
    made: Duration,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Key").field(&"[redacted]").finish()
    }
}

impl TicketKeys {
    /// Keys of our own, made anew every `rotate`.
    #[must_use]
    pub fn rotating(spec: &ResumptionSpec, clock: Clock) -> Self {
        let (rotate, keep) = (Some(spec.rotate), spec.rotate.saturating_add(spec.max_age));
        Self { clock, rotate, keep, keys: Mutex::default(), certificates: Recent::new(REMEMBERED) }
    }

    /// These keys: the first makes tickets, all open them.
    ///
    /// # Errors
    /// When there is none.
    pub fn shared(keys: &[Zeroizing<[u8; KEY_BYTES]>], clock: Clock) -> Result<Self, &'static str> {
        let made = clock.unix();
        let keys: Option<Vec<_>> = keys.iter().map(|key| Key::new(key, made)).collect();
        let keys = keys.filter(|keys| !keys.is_empty()).ok_or("no key in it")?;
        let certificates = Recent::new(REMEMBERED);
        Ok(Self { clock, rotate: None, keep: Duration::MAX, keys: Mutex::new(keys), certificates })
    }

    fn current(&self) -> Option<([u8; KEY_ID_BYTES], Arc<RandomizedNonceKey>)> {
        let now = self.clock.unix();
        let mut keys = self.keys.lock();
        if let Some(rotate) = self.rotate {
            let fresh = keys.first().is_some_and(|key| now.saturating_sub(key.made) < rotate);
            if !fresh {
                let mut bytes = Zeroizing::new([0; KEY_BYTES]);
                rand::fill(&mut *bytes).ok()?;
                keys.insert(0, Key::new(&bytes, now)?);
                keys.retain(|key| now.saturating_sub(key.made) < self.keep);
            }
        }
        keys.first().map(|key| (key.id, Arc::clone(&key.aead)))
    }

    fn named(&self, id: [u8; KEY_ID_BYTES]) -> Option<Arc<RandomizedNonceKey>> {
        // Nobody may have come for a new key since this one has ended.
        let now = self.clock.unix();
        let lives = |key: &&Key| key.id == id && now.saturating_sub(key.made) < self.keep;
        self.keys.lock().iter().find(lives).map(|key| Arc::clone(&key.aead))
    }
}

impl Key {
    fn new(bytes: &[u8; KEY_BYTES], made: Duration) -> Option<Self> {
        let id = *Digest::of(bytes).0.first_chunk()?;
        let aead = Arc::new(RandomizedNonceKey::new(&AES_256_GCM, bytes).ok()?);
        Some(Self { id, aead, made })
    }
}

/// The certificates of a chain that its tickets name: all but a small leaf.
pub(super) fn to_name(leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Vec<CertificateDer<'static>> {
    let large = (leaf.len() > INLINE_BYTES).then_some(leaf);
    large.into_iter().chain(others).map(|der| der.clone().into_owned()).collect()
}

/// Makes and opens the tickets of one host under one trust.
#[derive(Debug)]
pub(super) struct Tickets {
    keys: Arc<TicketKeys>,
    /// Digest of the host and of all that its trust consists of.
    seal: Digest,
    max_age: Duration,
}

impl Tickets {
    pub(super) fn new(keys: &Arc<TicketKeys>, seal: Digest, max_age: Duration) -> Self {
        Self { keys: Arc::clone(keys), seal, max_age }
    }

    fn seal_ticket(&self, session: &[u8]) -> Option<Vec<u8>> {
        let now = self.keys.clock.unix().as_secs();
        let (began, named) = presented::lineage(now);
        let mut text = Zeroizing::new(began.to_be_bytes().to_vec());
        self.pack(session, &named, &mut text)?;
        let (id, key) = self.keys.current()?;
        let nonce = key.seal_in_place_append_tag(Aad::from(&self.seal.0), &mut *text).ok()?;
        Some([&id[..], nonce.as_ref(), &text[..]].concat())
    }

    fn open_ticket(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (id, rest) = ticket.split_first_chunk()?;
        let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>()?;
        let key = self.keys.named(*id)?;
        let mut text = Zeroizing::new(text.to_vec());
        let open = key.open_in_place(Nonce::from(nonce), Aad::from(&self.seal.0), &mut text).ok()?;
        let (began, packed) = open.split_first_chunk()?;
        let began = u64::from_be_bytes(*began);
        let age = self.keys.clock.unix().as_secs().saturating_sub(began);
        if age >= self.max_age.as_secs() {
            return None;
        }
        let (session, named) = self.unpack(packed)?;
        presented::resumed(began, named);
        Some(session)
    }

    /// The session without the certificates that both ends of it know by name: how many were cut
    /// out, where each stood and what it is called, and the rest.
    fn pack(&self, session: &[u8], named: &[CertificateDer<'static>], out: &mut Vec<u8>) -> Option<()> {
        let cuts: Option<Vec<_>> = named.iter().map(|der| Some((memchr::memmem::find(session, der)?, der))).collect();
        let mut cuts = cuts?;
        cuts.sort_by_key(|(at, _)| *at);
        out.push(u8::try_from(cuts.len()).ok()?);
        let (mut rest, mut from) = (Vec::with_capacity(session.len()), 0);
        for (at, der) in cuts {
            let name = Digest::of(der);
            out.extend(u16::try_from(at).ok()?.to_be_bytes());
            out.extend(name.0);
            // Two certificates at one place: the session is not what it seems, and gets no ticket.
            rest.extend_from_slice(session.get(from..at)?);
            from = at.checked_add(der.len())?;
            self.keys.certificates.keep(name, der.clone());
        }
        rest.extend_from_slice(session.get(from..)?);
        out.extend(rest);
        Some(())
    }

    fn unpack(&self, packed: &[u8]) -> Option<(Vec<u8>, Vec<CertificateDer<'static>>)> {
        let (count, mut packed) = packed.split_first()?;
        let mut cuts = Vec::with_capacity(usize::from(*count));
        for _ in 0..*count {
            let (at, more) = packed.split_first_chunk()?;
            let (name, more) = more.split_first_chunk()?;
            cuts.push((usize::from(u16::from_be_bytes(*at)), Digest(*name)));
            packed = more;
        }
        let (mut session, mut named) = (Vec::with_capacity(packed.len()), Vec::new());
        for (at, name) in cuts {
            let before = at.checked_sub(session.len())?;
            session.extend_from_slice(packed.get(..before)?);
            packed = packed.get(before..)?;
            let der = self.keys.certificates.find(&name)?;
            session.extend_from_slice(&der);
            named.push(der);
        }
        session.extend_from_slice(packed);
        Some((session, named))
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(self.max_age.as_secs().min(LONGEST_SECONDS)).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal_ticket(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open_ticket(cipher)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tls::presented::capture;

    fn tickets(keys: &Arc<TicketKeys>, seal: u8) -> Tickets {
        Tickets::new(keys, Digest([seal; 32]), Duration::from_hours(1))
    }

    fn keys() -> Arc<TicketKeys> {
        let spec = ResumptionSpec {
            enabled: true,
            max_age: Duration::from_hours(1),
            rotate: Duration::from_hours(1),
            key_file: None,
        };
        Arc::new(TicketKeys::rotating(&spec, Clock::system()))
    }

    /// A session with these certificates in it, and a ticket of it.
    fn ticket(keys: &Arc<TicketKeys>, chain: &[Vec<u8>]) -> (Vec<u8>, Vec<u8>) {
        let chain: Vec<_> = chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
        let mut session = b"state before".to_vec();
        for der in &chain {
            session.extend_from_slice(der);
            session.extend_from_slice(b"between");
        }
        let named = to_name(&chain[0], &chain[1..]);
        let mut seen = None;
        capture(None, &mut seen, || presented::resumed(keys.clock.unix().as_secs(), named));
        let ticket = capture(None, &mut seen, || tickets(keys, 1).encrypt(&session)).unwrap();
        (session, ticket)
    }

    #[test]
    fn a_ticket_opens_under_its_seal_only_and_not_when_a_bit_is_flipped() {
        let keys = keys();
        let (session, ticket) = ticket(&keys, &[vec![7; 500], vec![8; 900]]);
        assert_eq!(tickets(&keys, 1).decrypt(&ticket), Some(session));
        assert_eq!(tickets(&keys, 2).decrypt(&ticket), None);
        assert_eq!(tickets(&self::keys(), 1).decrypt(&ticket), None);
        for at in 0..ticket.len() {
            let mut altered = ticket.clone();
            altered[at] ^= 1;
            assert_eq!(tickets(&keys, 1).decrypt(&altered), None, "{at}");
            assert_eq!(tickets(&keys, 1).decrypt(&ticket[..at]), None, "{at}");
        }
    }

    #[test]
    fn a_key_that_was_stolen_out_of_memory_makes_tickets_for_as_long_as_its_own_last_and_no_longer() {
        let clock = Clock::adjustable();
        let (max_age, rotate) = (Duration::from_hours(1), Duration::from_mins(10));
        let spec = ResumptionSpec { enabled: true, max_age, rotate, key_file: None };
        let stolen = Zeroizing::new([7; KEY_BYTES]);
        for used in [false, true] {
            let gate = Arc::new(TicketKeys::rotating(&spec, clock.clone()));
            gate.keys.lock().push(Key::new(&stolen, clock.unix()).unwrap());
            let thief = Arc::new(TicketKeys::shared(std::slice::from_ref(&stolen), clock.clone()).unwrap());
            // Always as if its full handshake had just been.
            let opens = || {
                let made = capture(None, &mut None, || tickets(&thief, 1).encrypt(b"session")).unwrap();
                capture(None, &mut None, || tickets(&gate, 1).decrypt(&made)).is_some()
            };
            assert!(opens());
            clock.advance(rotate);
            // Whether or not anybody else has come, and with them a new key.
            if used {
                capture(None, &mut None, || tickets(&gate, 1).encrypt(b"of another")).unwrap();
            }
            assert!(opens(), "its last ticket may be used still");
            clock.advance(max_age);
            assert!(!opens());
        }
    }

    #[test]
    fn a_ticket_is_below_a_kibibyte_whatever_the_chain() {
        for chain in
            [vec![vec![1; 640]], vec![vec![1; 4000]], vec![vec![1; 640], vec![2; 9000], vec![3; 9000], vec![4; 9000]]]
        {
            let (session, ticket) = ticket(&keys(), &chain);
            assert!(ticket.len() < 1024, "{} of {}", ticket.len(), session.len());
        }
    }

    proptest! {
        #[test]
        fn what_was_packed_is_unpacked(leaf in prop::collection::vec(any::<u8>(), 1..1200), others in prop::collection::vec(prop::collection::vec(any::<u8>(), 40..300), 0..4)) {
            let keys = keys();
            let chain = [vec![leaf], others].concat();
            let (session, ticket) = ticket(&keys, &chain);
            prop_assert_eq!(tickets(&keys, 1).decrypt(&ticket), Some(session));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let keys = keys();
            prop_assert_eq!(tickets(&keys, 1).decrypt(&bytes), None);
            let _ = tickets(&keys, 1).unpack(&bytes);
        }
    }
}
