//! Whom a host trusts: anchors, revocation lists, the deny list, and the bounds on a chain.
//!
//! Two questions are asked, apart. *Does this chain hold?* costs signatures and depends on anchors,
//! bounds and time only: asked once per presented chain. *Is it still welcome?* costs look-ups and
//! depends on lists that change: asked at the handshake, and again of every live connection and
//! its next request whenever a list has changed. See [`TrustStore::judge`].

use std::collections::HashMap;
use std::sync::Arc;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use super::material::{Anchor, Anchors, anchor_id};
use super::spec::{CrlDepth, CrlMissing, TrustSpec};
use crate::fingerprint::TlsPrint;
use crate::identity::{self, Bounds, Digest, Identity, PublicKey};
use crate::reject::{Reason, Reject};
use crate::revocation::{Crl, DenyList};

/// What a chain proved when it was verified. Small: it lives as long as its connection.
#[derive(Debug, PartialEq, Eq)]
pub struct Proof {
    /// The certificates below the anchor, leaf first: who issued it, and its number.
    links: Box<[Link]>,
    /// SHA-256 over the anchor's subject and key.
    anchor: Digest,
    /// The first notAfter among the links, Unix seconds.
    pub not_after: i64,
    shape: Shape,
}

/// Until when (inclusive, Unix seconds) a chain is welcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The first end among its certificates and its anchor: known in advance, nothing moves it.
    pub certificate: i64,
    /// The first end among the lists that it is looked up in: a newer list moves it.
    pub lists: i64,
}

#[derive(Debug, PartialEq, Eq)]
struct Link {
    /// DER Name.
    issuer: Arc<[u8]>,
    /// Without leading zero octets.
    serial: Box<[u8]>,
}

/// What the bounds on a chain are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    length: usize,
    bytes: usize,
    names: usize,
    /// The smallest RSA key, if there is one.
    rsa_bits: Option<u32>,
}

/// One trust store, as one configuration has it.
#[derive(Debug)]
pub struct TrustStore {
    spec: TrustSpec,
    anchors: Anchors,
    algorithms: WebPkiSupportedAlgorithms,
    /// By issuer, DER Name.
    crls: HashMap<Box<[u8]>, Arc<Crl>>,
    deny: DenyList,
}

impl TrustStore {
    /// A store of what has been loaded and verified.
    #[must_use]
    pub fn new(
        spec: TrustSpec,
        anchors: Anchors,
        algorithms: WebPkiSupportedAlgorithms,
        crls: Vec<Arc<Crl>>,
        deny: DenyList,
    ) -> Self {
        let crls = crls.into_iter().map(|crl| (crl.issuer.clone(), crl)).collect();
        Self { spec, anchors, algorithms, crls, deny }
    }

    /// This store with another deny list.
    #[must_use]
    pub fn denying(&self, deny: DenyList) -> Self {
        let (anchors, crls) = (self.anchors.clone(), self.crls.clone());
        Self { spec: self.spec.clone(), anchors, algorithms: self.algorithms, crls, deny }
    }

    /// As the configuration has it.
    #[must_use]
    pub fn spec(&self) -> &TrustSpec {
        &self.spec
    }

    /// Its anchors.
    #[must_use]
    pub fn anchors(&self) -> &Anchors {
        &self.anchors
    }

    /// Its revocation lists.
    pub fn crls(&self) -> impl Iterator<Item = &Arc<Crl>> {
        self.crls.values()
    }

    /// Its deny list.
    #[must_use]
    pub fn deny(&self) -> &DenyList {
        &self.deny
    }

    /// The anchor that `proof` leads to, if it is still here. One that was renewed with the same
    /// name and key is there twice, and the later end counts.
    #[must_use]
    pub fn anchor(&self, proof: &Proof) -> Option<&Anchor> {
        self.anchors.told.iter().filter(|anchor| anchor.id == proof.anchor).max_by_key(|anchor| anchor.ends)
    }

    /// Until when a chain is welcome if nothing changes but the time.
    #[must_use]
    pub fn ends(&self, proof: &Proof) -> Ends {
        let certificate = self.anchor(proof).map_or(0, |anchor| anchor.ends.min(proof.not_after));
        let lists = self.looked_up(proof).filter_map(|link| self.crls.get(&*link.issuer));
        let lists = lists.filter_map(|crl| self.spec.crl_expired.ends(crl.next_update)).min();
        Ends { certificate, lists: lists.unwrap_or(i64::MAX) }
    }

    /// The certificates of a chain that are looked up in revocation lists.
    fn looked_up<'p>(&self, proof: &'p Proof) -> impl Iterator<Item = &'p Link> {
        let depth = match self.spec.crl_depth {
            CrlDepth::Chain => proof.links.len(),
            CrlDepth::Leaf => 1,
        };
        proof.links.iter().take(depth)
    }

    /// A digest of all that this trust consists of: tickets are sealed to it.
    #[must_use]
    pub fn seal(&self) -> Digest {
        let mut parts = Vec::new();
        // By their debug form, so that a key that is added to either is part of it by itself.
        parts.push(Digest::of(format!("{:?}", self.spec).as_bytes()));
        parts.extend(self.deny.specs().map(|entry| Digest::of(format!("{entry:?}").as_bytes())));
        parts.extend(self.anchors.certificates.iter().map(|der| Digest::of(der)));
        let mut lists: Vec<_> = self.crls.values().map(|crl| crl.digest).collect();
        lists.sort_unstable();
        parts.extend(lists);
        let bytes: Vec<u8> = parts.into_iter().flat_map(|digest| digest.0).collect();
        Digest::of(&bytes)
    }

    /// Whether a verdict of `other` on a chain's signatures is as good as this store's own: it
    /// depends on the anchors and on the smallest key that the parse lets pass.
    #[must_use]
    pub fn verifies_like(&self, other: &Self) -> bool {
        self.anchors.certificates == other.anchors.certificates
    }

    /// The bounds that cost nothing: a stranger's chain is no larger than this afterwards.
    pub(super) fn check_presented(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
    ) -> Result<(), Reject> {
        self.check_size(others.len().saturating_add(1), total(leaf, others))
    }

    /// Reads the leaf.
    pub(super) fn identify(&self, leaf: &CertificateDer<'_>) -> Result<Identity, Reject> {
        // The size of keys is judged when the record knows whose they are.
        let bounds = Bounds { max_names: self.spec.max_names, min_rsa_bits: 0 };
        identity::parse(leaf, &bounds)
    }

    /// Verifies the chain: signatures up to an anchor, validity, purpose, constraints.
    pub(super) fn verify(
        &self,
        identity: &Identity,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Proof, Refused> {
        let end = EndEntityCert::try_from(leaf).map_err(Refused::Chain)?;
        let mut shape = Shape {
            length: others.len().saturating_add(1),
            bytes: total(leaf, others),
            names: names(identity),
            rsa_bits: rsa(identity.key),
        };
        let mut not_after = identity.not_after;
        self.check_rsa(shape.rsa_bits, "certificate").map_err(Refused::Ours)?;
        for der in others {
            let facts = identity::authority(der).map_err(Refused::Ours)?;
            self.check_rsa(rsa(facts.key), &facts.subject).map_err(Refused::Ours)?;
            shape.rsa_bits = least(shape.rsa_bits, rsa(facts.key));
        }
        let path = end
            .verify_for_usage(
                self.algorithms.all,
                &self.anchors.roots.roots,
                others,
                now,
                KeyUsage::client_auth(),
                None,
                Some(&may_sign),
            )
            .map_err(Refused::Chain)?;
        let mut links = vec![link(path.end_entity())];
        for intermediate in path.intermediate_certificates() {
            let facts = identity::authority(&intermediate.der()).map_err(Refused::Ours)?;
            not_after = not_after.min(facts.not_after);
            links.push(link(intermediate));
        }
        let anchor = path.anchor();
        let anchor = anchor_id(&anchor.subject, &anchor.subject_public_key_info);
        Ok(Proof { links: links.into(), anchor, not_after, shape })
    }

    /// Whether a chain that was proven, here or under an earlier configuration, is welcome at
    /// `unix` seconds, from software whose ClientHello was like `print`. Look-ups only: this is what
    /// live connections answer to.
    ///
    /// # Errors
    /// [`Reason::TrustWithdrawn`] when its anchor or the bounds have changed against it,
    /// [`Reason::CertExpired`], [`Reason::CertDenied`], [`Reason::CertRevoked`],
    /// [`Reason::CrlExpired`], [`Reason::CrlMissing`] or [`Reason::StackNotAllowed`].
    pub fn judge(&self, identity: &Identity, proof: &Proof, print: Option<TlsPrint>, unix: i64) -> Result<(), Reject> {
        let Some(anchor) = self.anchor(proof) else {
            return Err(Reject::new(
                Reason::TrustWithdrawn,
                format!("its anchor has left trust store {}", self.spec.name),
            ));
        };
        let mut same = self.anchors.told.iter().filter(|anchor| anchor.id == proof.anchor);
        if !same.any(|anchor| anchor.lives(unix)) && unix < anchor.not_before {
            let detail = format!("its anchor {} before {}", anchor.subject, identity::date(anchor.not_before));
            return Err(Reject::new(Reason::CertNotYetValid, detail));
        }
        if unix > anchor.ends {
            let how = if anchor.ends < anchor.not_after { "was trusted until" } else { "expired on" };
            let detail = format!("its anchor {} {how} {}", anchor.subject, identity::date(anchor.ends));
            return Err(Reject::new(Reason::CertExpired, detail));
        }
        self.check_shape(proof.shape)?;
        if unix < identity.not_before {
            return Err(Reject::new(
                Reason::CertNotYetValid,
                format!("before {}", identity::date(identity.not_before)),
            ));
        }
        if unix > proof.not_after {
            return Err(Reject::new(Reason::CertExpired, format!("on {}", identity::date(proof.not_after))));
        }
        if let Some(entry) = self.deny.find(identity, print, unix) {
            return Err(Reject::new(Reason::CertDenied, format!("{} (by {})", entry.reason, entry.author)));
        }
        self.looked_up(proof).try_for_each(|link| self.check_status(link, unix))?;
        self.spec.stack.judge(print)
    }

    fn check_status(&self, link: &Link, unix: i64) -> Result<(), Reject> {
        let Some(crl) = self.crls.get(&*link.issuer) else {
            return match self.spec.crl_missing {
                CrlMissing::Allow => Ok(()),
                CrlMissing::Reject => Err(Reject::new(Reason::CrlMissing, "no CRL of its issuer")),
            };
        };
        // Whatever the list's age: what it revokes is revoked.
        if crl.revokes(&link.serial) {
            return Err(Reject::new(Reason::CertRevoked, format!("by {}", crl.issuer_text)));
        }
        match self.spec.crl_expired.ends(crl.next_update) {
            Some(ends) if unix > ends => {
                let detail = format!("the CRL of {} was due on {}", crl.issuer_text, identity::date(crl.next_update));
                Err(Reject::new(Reason::CrlExpired, detail))
            }
            _ => Ok(()),
        }
    }

    fn check_shape(&self, shape: Shape) -> Result<(), Reject> {
        self.check_size(shape.length, shape.bytes)?;
        self.check_rsa(shape.rsa_bits, "chain")?;
        if shape.names > self.spec.max_names {
            return Err(Reject::new(
                Reason::CertTooManyNames,
                format!("{} names, at most {}", shape.names, self.spec.max_names),
            ));
        }
        Ok(())
    }

    fn check_size(&self, length: usize, bytes: usize) -> Result<(), Reject> {
        if length > self.spec.max_chain_length {
            let detail = format!("{length} certificates, at most {}", self.spec.max_chain_length);
            return Err(Reject::new(Reason::CertChainTooLong, detail));
        }
        if bytes > self.spec.max_chain_bytes {
            let detail = format!("{bytes} bytes, at most {}", self.spec.max_chain_bytes);
            return Err(Reject::new(Reason::CertChainTooLarge, detail));
        }
        Ok(())
    }

    /// webpki accepts RSA from 2048 bits; the operator may want more, of intermediates too.
    fn check_rsa(&self, smallest: Option<u32>, whose: &str) -> Result<(), Reject> {
        match smallest {
            Some(bits) if bits < self.spec.min_rsa_bits => Err(Reject::new(
                Reason::CertKeySize,
                format!("{whose}: RSA {bits}, at least {}", self.spec.min_rsa_bits),
            )),
            _ => Ok(()),
        }
    }
}

/// Why a chain does not hold.
#[derive(Debug)]
pub(super) enum Refused {
    /// webpki's verdict.
    Chain(webpki::Error),
    /// One of our bounds.
    Ours(Reject),
}

/// RFC 5280 §6.1.4 (n): a certificate that signs certificates says so in its keyUsage, if it has
/// one. webpki does not look.
fn may_sign(path: &VerifiedPath<'_>) -> Result<(), webpki::Error> {
    for intermediate in path.intermediate_certificates() {
        let facts = identity::authority(&intermediate.der()).map_err(|_| webpki::Error::BadDer)?;
        if !facts.signs_certificates {
            return Err(webpki::Error::EndEntityUsedAsCa);
        }
    }
    Ok(())
}

fn link(certificate: &webpki::Cert<'_>) -> Link {
    let serial = certificate.serial();
    let significant = serial.iter().position(|octet| *octet != 0).unwrap_or(serial.len().saturating_sub(1));
    // webpki keeps the contents of the Name; lists are found by the whole Name.
    Link { issuer: name(certificate.issuer()).into(), serial: serial.get(significant..).unwrap_or_default().into() }
}

fn name(contents: &[u8]) -> Vec<u8> {
    rustls::DistinguishedName::in_sequence(contents).as_ref().to_vec()
}

fn total(leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> usize {
    others.iter().fold(leaf.len(), |sum, der| sum.saturating_add(der.len()))
}

fn names(identity: &Identity) -> usize {
    let names = &identity.names;
    [names.dns.len(), names.uri.len(), names.email.len(), names.ip.len(), names.other].iter().sum()
}

fn rsa(key: PublicKey) -> Option<u32> {
    match key {
        PublicKey::Rsa(bits) => Some(bits),
        PublicKey::Ec(_) | PublicKey::Ed25519 | PublicKey::Other => None,
    }
}

fn least(a: Option<u32>, b: Option<u32>) -> Option<u32> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}
