//! May this identity use this route? Deny beats allow, and silence denies.

use crate::fingerprint::Stack;
use crate::identity::Identity;
use crate::reject::{Reason, Reject};

use super::route::Route;
use super::rule::Who;
use super::spec::ClientCertificateMode;

/// Proof that a request may use a route. Only [`authorize`] makes one, for one request.
#[derive(Debug)]
#[must_use = "a permit that nobody uses is a request that nobody forwards"]
pub struct Permit<'r> {
    route: &'r Route,
}

impl<'r> Permit<'r> {
    /// The route it is for.
    pub fn route(&self) -> &'r Route {
        self.route
    }
}

/// Decides whether `identity`, which the trust store of a host with this `mode` verified, may use
/// `route` with this `stack`. A host that asks for no certificate has verified none: there, an identity can be denied
/// but never allows anything.
///
/// # Errors
///
/// In this order: [`Reason::IdentityRequired`] if the host requires an identity and there is none,
/// whatever the route allows; [`Reason::IdentityDenied`] if a deny rule matches;
/// [`Reason::IdentityNotAllowed`] if the route is for nobody; [`Reason::IdentityRequired`] if it is
/// not for everybody and there is no identity; [`Reason::IdentityNotAllowed`] if no allow rule matches.
pub fn authorize<'r>(
    route: &'r Route,
    mode: ClientCertificateMode,
    identity: Option<&Identity>,
    stack: Stack<'_>,
) -> Result<Permit<'r>, Reject> {
    let reject = |reason, why: &str| Err(Reject::new(reason, format!("route {:?}: {why}", route.name)));
    if mode == ClientCertificateMode::Require && identity.is_none() {
        return reject(Reason::IdentityRequired, "the host requires a client certificate");
    }
    if let Some(index) = route.rule.denies(identity, stack) {
        return reject(Reason::IdentityDenied, &format!("deny[{index}] matches"));
    }
    let verified = identity.filter(|_| mode != ClientCertificateMode::None);
    match (&route.rule.allow, verified) {
        (Who::Anyone, _) | (Who::AnyVerified, Some(_)) => Ok(Permit { route }),
        (Who::Matching(matchers), Some(_)) if matchers.iter().any(|matcher| matcher.matches(verified, stack)) => {
            Ok(Permit { route })
        }
        (Who::Matching(_), Some(_)) => reject(Reason::IdentityNotAllowed, "no allow rule matches"),
        (Who::Nobody, _) => reject(Reason::IdentityNotAllowed, "it allows nobody"),
        (Who::AnyVerified | Who::Matching(_), None) => {
            reject(Reason::IdentityRequired, "it is for verified identities only")
        }
    }
}
