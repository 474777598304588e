//! What is not counted as it happens but looked at when somebody asks: it is never stale, and what
//! a configuration does not have any more is gone.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};

/// Everything that is looked at.
#[derive(Clone, Debug, Default)]
pub struct Scraped {
    /// Upstream servers.
    pub servers: Vec<ServerSample>,
    /// Revocation lists.
    pub crls: Vec<CrlSample>,
    /// Anchors.
    pub anchors: Vec<AnchorSample>,
    /// What is remembered of behaviour.
    pub reputation: ReputationSample,
}

/// What is remembered of behaviour.
#[derive(Clone, Debug, Default)]
pub struct ReputationSample {
    /// How many of each kind are remembered.
    pub entries: Vec<(&'static str, usize)>,
    /// How many found no room.
    pub without_room: u64,
    /// Requests that wait.
    pub sleeping: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

/// The state of an upstream server.
#[derive(Clone, Debug)]
pub struct ServerSample {
    /// Its group.
    pub upstream: String,
    /// Its address.
    pub server: String,
    /// Whether it gets no requests because it failed.
    pub ejected: bool,
    /// Requests it is working on.
    pub in_flight: u64,
}

/// A revocation list that is in force.
#[derive(Clone, Debug)]
pub struct CrlSample {
    /// Its trust store.
    pub trust: String,
    /// Who issued it, RFC 4514.
    pub issuer: String,
    /// Seconds since it was issued.
    pub age: i64,
    /// When the next one is due, Unix seconds.
    pub next_update: i64,
    /// Certificates it revokes.
    pub entries: usize,
}

/// An anchor of a trust store.
#[derive(Clone, Debug)]
pub struct AnchorSample {
    /// Its trust store.
    pub trust: String,
    /// RFC 4514.
    pub anchor: String,
    /// When chains to it end, Unix seconds.
    pub ends: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServerLabels {
    upstream: String,
    server: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CrlLabels {
    trust: String,
    issuer: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnchorLabels {
    trust: String,
    anchor: String,
}

impl Collector for Scraped {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.servers(&mut encoder)?;
        self.crls(&mut encoder)?;
        self.anchors(&mut encoder)?;
        self.reputation(&mut encoder)
    }
}

impl Scraped {
    fn servers(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let family = Family::<ServerLabels, Gauge>::default();
        let load = Family::<ServerLabels, Gauge>::default();
        for sample in &self.servers {
            let labels = ServerLabels { upstream: sample.upstream.clone(), server: sample.server.clone() };
            family.get_or_create(&labels).set(i64::from(sample.ejected));
            load.get_or_create(&labels).set(i64::try_from(sample.in_flight).unwrap_or(i64::MAX));
        }
        let help = "1 while the server gets no requests because it failed";
        family.encode(encoder.encode_descriptor("upstream_ejected", help, None, family.metric_type())?)?;
        let help = "Requests a server is working on now";
        load.encode(encoder.encode_descriptor("upstream_in_flight", help, None, load.metric_type())?)
    }

    fn crls(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let age = Family::<CrlLabels, Gauge>::default();
        let due = Family::<CrlLabels, Gauge>::default();
        let entries = Family::<CrlLabels, Gauge>::default();
        for sample in &self.crls {
            let labels = CrlLabels { trust: sample.trust.clone(), issuer: sample.issuer.clone() };
            age.get_or_create(&labels).set(sample.age);
            due.get_or_create(&labels).set(sample.next_update);
            entries.get_or_create(&labels).set(i64::try_from(sample.entries).unwrap_or(i64::MAX));
        }
        let help = "How long ago an issuer's revocation list was issued, by its thisUpdate";
        age.encode(encoder.encode_descriptor("crl_age_seconds", help, None, age.metric_type())?)?;
        let help = "When the next revocation list of an issuer is due";
        due.encode(encoder.encode_descriptor("crl_next_update_timestamp_seconds", help, None, due.metric_type())?)?;
        let help = "Certificates that an issuer's revocation list revokes";
        entries.encode(encoder.encode_descriptor("crl_entries", help, None, entries.metric_type())?)
    }

    fn reputation(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let entries = Family::<KindLabel, Gauge>::default();
        for (kind, count) in &self.reputation.entries {
            entries.get_or_create(&KindLabel { kind }).set(i64::try_from(*count).unwrap_or(i64::MAX));
        }
        let help = "Subjects whose behaviour is remembered";
        entries.encode(encoder.encode_descriptor("reputation_entries", help, None, entries.metric_type())?)?;
        let without_room = ConstCounter::new(self.reputation.without_room);
        let help =
            "Subjects that found no room to be remembered: reputation.identities is too small, or somebody fills it";
        without_room.encode(encoder.encode_descriptor(
            "reputation_without_room",
            help,
            None,
            without_room.metric_type(),
        )?)?;
        let sleeping = ConstGauge::new(i64::from(self.reputation.sleeping));
        let help = "Requests that a rung lets wait now";
        sleeping.encode(encoder.encode_descriptor("reputation_sleeping", help, None, sleeping.metric_type())?)
    }

    fn anchors(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let ends = Family::<AnchorLabels, Gauge>::default();
        // Two anchors may have one name: the first to end is the one to look after.
        let mut samples: Vec<_> = self.anchors.iter().collect();
        samples.sort_by_key(|sample| std::cmp::Reverse(sample.ends));
        for sample in samples {
            let labels = AnchorLabels { trust: sample.trust.clone(), anchor: sample.anchor.clone() };
            ends.get_or_create(&labels).set(sample.ends);
        }
        let help = "When chains to an anchor end";
        ends.encode(encoder.encode_descriptor("anchor_expiry_timestamp_seconds", help, None, ends.metric_type())?)
    }
}
