//! Which host a handshake is for. The handshake, the map of ways in and the check of it ask here.

use crate::message::target::normalize_host;
use crate::reject::{Reason, Reject};

use super::host::{HostId, HostTable};

/// The host that a client gets who asked for `server_name` (`None`: for none) at a listener with
/// this `default_host`. Never a host other than the one whose name it is.
///
/// # Errors
///
/// [`Reason::ServerNameMissing`] without a name where there is no default host, and
/// [`Reason::ServerNameUnknown`] for a name that no host has: a name that is there never leads to the
/// default host.
pub fn entry(hosts: &HostTable, default_host: Option<HostId>, server_name: Option<&str>) -> Result<HostId, Reject> {
    let Some(name) = server_name else {
        return default_host.ok_or_else(|| Reason::ServerNameMissing.into());
    };
    let name = normalize_host(name).map_err(|_| Reject::new(Reason::ServerNameUnknown, "not a host name"))?;
    hosts.find(&name).ok_or_else(|| Reject::new(Reason::ServerNameUnknown, format!("no host named {name}")))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::host;
    use super::super::spec::ClientCertificateMode;
    use super::*;

    #[test]
    fn a_name_in_any_spelling_leads_to_its_host_and_no_other_name_leads_anywhere() {
        let specs = [&["a.example"][..], &["*.example", "192.0.2.1"]];
        let specs = specs.map(|names| host(names, ClientCertificateMode::Require, Vec::new()));
        let hosts = HostTable::new(specs.into()).unwrap();
        let default = hosts.find("a.example");
        for (name, expected) in [
            (Some("a.example"), Some(0)),
            (Some("A.eXample."), Some(0)),
            (Some("B.example"), Some(1)),
            (Some("b.c.example"), None),
            (Some("example"), None),
            (Some("*.example"), None),
            (Some("a.example.."), None),
            (Some(""), None),
            (Some("a.example\0"), None),
            (Some("192.0.2.1"), Some(1)),
            (None, Some(0)),
        ] {
            assert_eq!(entry(&hosts, default, name).ok().map(HostId::index), expected, "{name:?}");
        }
        assert_eq!(entry(&hosts, None, None).unwrap_err().reason, Reason::ServerNameMissing);
        assert_eq!(entry(&hosts, default, Some("x.y")).unwrap_err().reason, Reason::ServerNameUnknown);
    }
}
