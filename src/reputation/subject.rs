//! Who has a reputation: only what is a fact, whoever says so.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::fingerprint::Ja4;
use crate::identity::Digest;

/// Somebody who has a reputation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// An address: IPv4 by itself, IPv6 by its /64, the least that one customer gets (RFC 6177).
    Address(IpAddr),
    /// A certificate that was verified and whose key the client has proven to hold, by its SHA-256 fingerprint.
    Identity(Digest),
    /// A network: an IPv4 /24, an IPv6 /48.
    Network(IpAddr),
    /// A kind of client software, by its stable JA4.
    Print(Ja4),
}

/// The kinds of subjects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// [`Subject::Address`].
    Address,
    /// [`Subject::Identity`].
    Identity,
    /// [`Subject::Network`].
    Network,
    /// [`Subject::Print`].
    Print,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Address, Self::Identity, Self::Network, Self::Print];

    /// The word for it in configuration, logs and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Identity => "identity",
            Self::Network => "network",
            Self::Print => "fingerprint",
        }
    }
}

impl Subject {
    /// The address that failed handshakes and clients without a certificate are scored by.
    #[must_use]
    pub fn address(address: IpAddr) -> Self {
        Self::Address(network(address, 32, 64))
    }

    /// The network that verified clients' failures are scored by.
    #[must_use]
    pub fn network(address: IpAddr) -> Self {
        Self::Network(network(address, 24, 48))
    }

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Address(_) => Kind::Address,
            Self::Identity(_) => Kind::Identity,
            Self::Network(_) => Kind::Network,
            Self::Print(_) => Kind::Print,
        }
    }
}

/// The first address of the network of this length. An IPv4-mapped IPv6 address is IPv4.
fn network(address: IpAddr, prefix_v4: u8, prefix_v6: u8) -> IpAddr {
    let address = address.to_canonical();
    let length = if address.is_ipv4() { prefix_v4 } else { prefix_v6 };
    IpNet::new(address, length).map_or(address, |net| net.network())
}

/// What operators call it: 64 hexadecimal digits, `192.0.2.1`, `2001:db8::/64`, `192.0.2.0/24`, `2001:db8::/48` or
/// a JA4.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address @ IpAddr::V4(_)) => write!(f, "{address}"),
            Self::Address(address) => write!(f, "{address}/64"),
            Self::Identity(digest) => write!(f, "{digest}"),
            Self::Network(address @ IpAddr::V4(_)) => write!(f, "{address}/24"),
            Self::Network(address) => write!(f, "{address}/48"),
            Self::Print(print) => write!(f, "{print}"),
        }
    }
}

impl FromStr for Subject {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str =
            "not an ID: a certificate's SHA-256 fingerprint, an address, a network (/24, /48, /64) or a JA4";
        if let Ok(address) = text.parse() {
            return Ok(Self::address(address));
        }
        if let Ok(net) = text.parse::<IpNet>() {
            return match (net, net.prefix_len()) {
                (IpNet::V4(_), 24) | (IpNet::V6(_), 48) => Ok(Self::network(net.addr())),
                (IpNet::V4(_), 32) | (IpNet::V6(_), 64 | 128) => Ok(Self::address(net.addr())),
                _ => Err(WRONG),
            };
        }
        if let Ok(print) = text.parse() {
            return Ok(Self::Print(print));
        }
        text.parse().map(Self::Identity).map_err(|_| WRONG)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_stands_for_its_customer_and_a_network_for_its_neighbourhood() {
        for (address, customer, neighbourhood) in [
            ("192.0.2.77", "192.0.2.77", "192.0.2.0/24"),
            ("::ffff:192.0.2.77", "192.0.2.77", "192.0.2.0/24"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(Subject::address(address).to_string(), customer);
            assert_eq!(Subject::network(address).to_string(), neighbourhood);
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in ["", "192.0.2.0/23", "2001:db8::/47", "xyz", "12345", "+123456789abcdef", "192.0.2.0/33"] {
            assert!(text.parse::<Subject>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_id_reads_as_it_prints(address: IpAddr, digest: [u8; 32]) {
            let print: Ja4 = "t13d1516h2_8daaf6152771_e5627efa2ab1".parse().unwrap();
            for subject in [
                Subject::address(address), Subject::network(address), Subject::Identity(Digest(digest)), Subject::Print(print),
            ] {
                prop_assert_eq!(subject.to_string().parse(), Ok(subject));
            }
        }

        #[test]
        fn any_text_is_an_id_or_refused(text in "\\PC{0,70}") {
            let _ = text.parse::<Subject>();
        }
    }
}
