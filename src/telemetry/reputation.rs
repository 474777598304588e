//! Counters of what becomes of behaviour.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabels {
    action: &'static str,
    by: &'static str,
    dry_run: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ActionLabel {
    action: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

/// The counters.
#[derive(Debug, Default)]
pub struct ReputationMetrics {
    steps: Family<StepLabels, Counter>,
    applied: Family<ActionLabel, Counter>,
    forgeries: Family<KindLabel, Counter>,
}

impl ReputationMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "reputation_steps",
            "Subjects that got to a rung of the ladder, or came down to it",
            self.steps.clone(),
        );
        registry.register(
            "reputation_applied",
            "Requests and connections that a rung's action was applied to",
            self.applied.clone(),
        );
        registry.register(
            "forgeries",
            "Certificates that were presented and look forged or foreign, by kind",
            self.forgeries.clone(),
        );
    }

    /// Somebody judged by `by` has got to a rung with this action; `none` is the ground.
    pub fn step(&self, action: &'static str, by: &'static str, dry_run: bool) {
        let dry_run = if dry_run { "true" } else { "false" };
        self.steps.get_or_create(&StepLabels { action, by, dry_run }).inc();
    }

    /// An action was applied.
    pub fn applied(&self, action: &'static str) {
        self.applied.get_or_create(&ActionLabel { action }).inc();
    }

    /// A certificate of this kind was presented.
    pub fn forgery(&self, kind: &'static str) {
        self.forgeries.get_or_create(&KindLabel { kind }).inc();
    }
}
