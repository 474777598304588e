//! Deny lists of anybody's making: the operator's file, the gate's own, and what is posted to the admin listener.

use portcullis::config::{
    DenyState, Problem, deny_id, deny_state_toml, parse_deny, parse_deny_request, parse_deny_state,
};

/// Any text is a list or has problems that say where; what is posted is written down so that it is read again as it was.
///
/// # Panics
/// When that is not so.
pub fn check(bytes: &[u8]) {
    if let Ok(request) = parse_deny_request(bytes, 1_700_000_000) {
        let id = deny_id(&request.spec.matcher);
        let state = DenyState::from([(id.clone(), request.spec)]);
        let again = written(&state);
        assert!(again.contains_key(&id), "what was denied is not denied after a restart");
    }
    let Ok(text) = str::from_utf8(bytes) else { return };
    match parse_deny("denied.toml", text) {
        Ok(list) => assert!(list.specs().count() <= text.len()),
        Err(problems) => told(&problems, text),
    }
    match parse_deny_state("state.toml", text) {
        Ok(state) => drop(written(&state)),
        Err(problems) => told(&problems, text),
    }
}

/// The state as the next start finds it.
fn written(state: &DenyState) -> DenyState {
    let text = deny_state_toml(state);
    let again = parse_deny_state("state.toml", &text).unwrap_or_else(|problems| panic!("{problems:?} in {text}"));
    assert_eq!(deny_state_toml(&again), text);
    again
}

fn told(problems: &[Problem], text: &str) {
    assert!(!problems.is_empty());
    for problem in problems {
        assert!(problem.line <= text.lines().count() + 1, "{problem:?}");
        let shown = [Some(&problem.what), Some(&problem.path), problem.hint.as_ref()];
        assert!(!shown.into_iter().flatten().any(|text| text.contains(char::is_control)), "{problem:?}");
    }
}
