//! A first client, before anything begins: whether somebody honest would be let in at all.

use std::sync::Arc;

use super::scene::Scene;
use super::stage::Cast;
use crate::runtime;

/// Tries every place with somebody whom it should let in, and leaves out those that do not.
pub(super) fn probe(scene: &mut Scene, cast: &Cast) -> Result<Vec<String>, String> {
    let (give, take) = std::sync::mpsc::channel();
    let (asking, who) = (scene.clone(), cast.probe.clone());
    let asked = runtime::aside("probe", move || async move {
        // Who waits for it is below.
        let _ = give.send(asking.probe(&who).await);
    });
    asked.map_err(|error| format!("cannot start a thread: {error}"))?;
    let mut verdicts = take.recv().map_err(|_| "the first client has broken off".to_owned())?;
    let login = verdicts.pop();
    let told = |verdict: &(String, Result<(), String>)| match verdict {
        (what, Err(why)) => Some(format!("{what}: {why}")),
        (_, Ok(())) => None,
    };
    let mut left_out: Vec<_> = verdicts.iter().filter_map(told).collect();
    let mut places = (*scene.places).clone();
    let mut good = verdicts.iter().map(|(_, verdict)| verdict.is_ok());
    places.app.retain(|_| good.next().unwrap_or(false));
    if let Some(why) = login.as_ref().and_then(told) {
        let Some(first) = places.app.first() else {
            left_out.push(why);
            return Err(refused(&places.host, &left_out));
        };
        left_out.push(format!("{why}; what is refused there is asked elsewhere"));
        places.login = first.clone().uncounted();
    }
    if places.app.is_empty() {
        return Err(refused(&places.host, &left_out));
    }
    scene.places = Arc::new(places);
    Ok(left_out)
}

fn refused(host: &str, why: &[String]) -> String {
    format!(
        "host {host} lets in nobody whose certificate was made for this rehearsal ({}): name a route with --path and --login-path, or a host with --host",
        why.join("; ")
    )
}
