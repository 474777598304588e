//! Where the load goes.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};

use http::Uri;
use http::uri::Scheme;
use rustls_pki_types::ServerName;

/// A server, and what is asked of it.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where to connect to.
    pub address: SocketAddr,
    /// The name in the handshake, which the server's certificate must have; `None`: no TLS.
    pub server_name: Option<ServerName<'static>>,
    /// What `Host` and `:authority` say.
    pub authority: String,
    /// Path and query.
    pub path: String,
}

/// Why a URL is no target.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Not a server name that TLS could ask for.
    #[error("{0:?} is no server name")]
    Name(String),
    /// The name has no address.
    #[error("cannot find {0:?}: {1}")]
    Resolve(String, io::Error),
    /// Neither https nor http, or no URL at all.
    #[error("{0:?} is no URL: write https://HOST[:PORT]/PATH (or http:// for no TLS)")]
    Url(String),
}

impl Target {
    /// What `url` names. `server_name` replaces its host in the handshake and in `Host`, `connect` its address.
    ///
    /// # Errors
    ///
    /// As [`TargetError`] says.
    pub fn parse(url: &str, server_name: Option<&str>, connect: Option<SocketAddr>) -> Result<Self, TargetError> {
        let wrong = || TargetError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let https = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(wrong()),
        };
        let given = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(wrong)?;
        let host = given.host().trim_matches(['[', ']']);
        let port = given.port_u16().unwrap_or(if https { 443 } else { 80 });
        let address = match connect {
            Some(address) => address,
            None => resolve(host, port)?,
        };
        let name = server_name.unwrap_or(host);
        let tls = https.then(|| ServerName::try_from(name.to_owned()).map_err(|_| TargetError::Name(name.to_owned())));
        let authority = match (server_name, given.port_u16()) {
            (None, _) => given.as_str().to_owned(),
            (Some(name), None) => name.to_owned(),
            (Some(name), Some(port)) => format!("{name}:{port}"),
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { address, server_name: tls.transpose()?, authority, path })
    }
}

fn resolve(host: &str, port: u16) -> Result<SocketAddr, TargetError> {
    let failed = |error| TargetError::Resolve(host.to_owned(), error);
    let mut addresses = (host, port).to_socket_addrs().map_err(failed)?;
    addresses.next().ok_or_else(|| failed(io::Error::other("no address")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_to_what_name_and_what_is_asked() {
        let at = "127.0.0.1:8443".parse().unwrap();
        for (url, name, authority, path, tls) in [
            ("https://127.0.0.1:8443/a?b=c", None, "127.0.0.1:8443", "/a?b=c", true),
            ("https://127.0.0.1:8443", Some("api.test"), "api.test:8443", "/", true),
            ("http://127.0.0.1:8443/x", None, "127.0.0.1:8443", "/x", false),
        ] {
            let target = Target::parse(url, name, None).unwrap();
            assert_eq!(
                (target.address, target.authority.as_str(), target.path.as_str()),
                (at, authority, path),
                "{url}"
            );
            assert_eq!(target.server_name.is_some(), tls, "{url}");
        }
        let target = Target::parse("https://api.test/", None, Some(at)).unwrap();
        assert_eq!((target.address, target.authority.as_str()), (at, "api.test"));
        assert_eq!(target.server_name, Some(ServerName::try_from("api.test").unwrap()));
        assert_eq!(Target::parse("https://[::1]:1/", None, None).unwrap().address, "[::1]:1".parse().unwrap());
    }

    #[test]
    fn what_is_no_url_is_told() {
        for url in ["", "localhost", "ftp://a/", "https://user@127.0.0.1/", "//a/b", "https:///x"] {
            assert!(matches!(Target::parse(url, None, None), Err(TargetError::Url(_))), "{url}");
        }
        assert!(matches!(Target::parse("https://127.0.0.1/", Some("a b"), None), Err(TargetError::Name(_))));
    }
}
