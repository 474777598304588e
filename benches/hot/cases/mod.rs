//! What is measured.

mod chains;
mod decide;
mod fingerprint;
mod headers;
mod identity;
mod limits;
mod matchers;
mod snapshot;

/// One function with one input.
pub struct Case {
    pub name: String,
    /// Whether its instructions are counted. They are not where a table takes too long to fill under a simulator.
    pub counted: bool,
    pub prepare: Box<dyn Fn() -> Work>,
}

/// Calls the function once.
pub type Work = Box<dyn FnMut()>;

/// Every case.
pub fn all() -> Vec<Case> {
    [
        chains::cases(),
        decide::cases(),
        fingerprint::cases(),
        headers::cases(),
        identity::cases(),
        limits::cases(),
        matchers::cases(),
        snapshot::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn case(name: impl Into<String>, prepare: impl Fn() -> Work + 'static) -> Case {
    Case { name: name.into(), counted: true, prepare: Box::new(prepare) }
}
