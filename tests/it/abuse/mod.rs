//! Abuse of the protocols: every attack is refused for its own reason, and honest clients beside it are all served.
//!
//! What docs/threat-model.md lists and is not here is in `attack`, `certificates`, `connections`, `handshake`, `http2`
//! and `smuggling`.

mod arrivals;
mod bombs;
mod honest;
mod overload;
mod pace;
mod records;
mod whole;

use std::time::Duration;

use crate::harness::{Backend, Gate, ROUTE, World};

/// Longer than any bound that is set here, by far.
const PATIENCE: Duration = Duration::from_secs(20);

/// A gate with this at the top of its file, in front of the echo backend.
async fn gate(world: &World, top: &str) -> (Gate, Backend) {
    let backend = Backend::echo().await;
    let config = world.config_with(top, &format!("servers = [\"http://{}\"]", backend.address), ROUTE);
    (Gate::start(world, &config), backend)
}
