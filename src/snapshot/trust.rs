//! Trust stores: anchors, revocation lists and deny lists from their files.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::{Learned, Trust, crl_state, deny};
use crate::clock::Clock;
use crate::config::{self, Config, Problem};
use crate::revocation::DenyList;
use crate::tls::{self, TrustSpec, TrustStore};

/// Builds every trust store; what cannot be built is a problem, and its hosts are not built.
/// Revocation lists whose bytes have not changed, and verdicts on chains where the anchors have
/// not, are carried over.
pub(super) fn stores(
    config: &Config,
    clock: &Clock,
    before: Option<&HashMap<Box<str>, Trust>>,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) -> HashMap<Box<str>, Trust> {
    let unix = i64::try_from(clock.unix().as_secs()).unwrap_or(i64::MAX);
    let mut stores = HashMap::new();
    for spec in &config.trust {
        let before = before.and_then(|before| before.get(&spec.name));
        match store(config, spec, unix, before, warnings) {
            Ok(trust) => {
                stores.insert(spec.name.clone(), trust);
            }
            Err(more) => problems.extend(more),
        }
    }
    stores
}

fn store(
    config: &Config,
    spec: &TrustSpec,
    unix: i64,
    before: Option<&Trust>,
    warnings: &mut Vec<Problem>,
) -> Result<Trust, Vec<Problem>> {
    let placed = |errors: Vec<tls::MaterialError>| {
        errors.iter().map(|error| config.places.problem_with(&error.path, &error.what, error.hint)).collect::<Vec<_>>()
    };
    let mut asleep = Vec::new();
    let anchors = tls::anchors(&spec.anchors, unix, &mut asleep);
    let asleep = placed(asleep);
    let anchors = anchors.map_err(|errors| [placed(errors), asleep.clone()].concat())?;
    if before.is_none() && !anchors.told.iter().any(|anchor| anchor.lives(unix)) {
        // Nobody could get in. Later, with time, that is so and must not keep anything from being taken away.
        return Err(asleep);
    }
    warnings.extend(asleep);
    let algorithms = tls::provider().signature_verification_algorithms;
    // What this run has seen is known already.
    let noted = before.is_some_and(|before| before.store.spec().crl_state == spec.crl_state);
    let marks = if noted { Vec::new() } else { crl_state::read(config, spec, warnings)? };
    let crls = before.map(|trust| &trust.crls);
    let crls = tls::revocation_lists(spec, &anchors, &algorithms, unix, crls, marks).map_err(placed)?;
    let deny = denied(config, spec, before.map(|trust| &*trust.store))?;
    let learned = Learned::build(config, spec, before.and_then(|trust| trust.learned.as_ref()))?;
    let store = Arc::new(TrustStore::new(spec.clone(), anchors, algorithms, crls.newest(), deny));
    let kept = before.filter(|before| before.store.verifies_like(&store)).map(|before| Arc::clone(&before.chains));
    Ok(Trust { chains: kept.unwrap_or_default(), store, crls, learned })
}

/// The operator's entries and those that the gate keeps.
fn denied(config: &Config, spec: &TrustSpec, before: Option<&TrustStore>) -> Result<DenyList, Vec<Problem>> {
    let list = spec.deny.as_deref().map_or_else(|| Ok(DenyList::default()), |path| deny_list(config, path))?;
    let Some(path) = spec.deny_state.as_deref() else { return Ok(list) };
    let kept = deny::state(config, path, before)?.into_values().collect();
    list.and(kept).map_err(|errors| {
        let what = errors.into_iter().map(|(_, what)| what).collect::<Vec<_>>().join("; ");
        vec![config.places.problem_with(path, &what, "")]
    })
}

fn deny_list(config: &Config, path: &Path) -> Result<DenyList, Vec<Problem>> {
    let text = deny::read(path).map_err(|error| {
        vec![config.places.problem_with(
            path,
            &error.to_string(),
            "an empty file is an empty deny list; a missing one is a mistake",
        )]
    })?;
    config::parse_deny(&path.display().to_string(), &text)
}
