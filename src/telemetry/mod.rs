//! Records: one log line and one set of counters per connection and per request.

mod log;
mod metrics;
mod record;
mod reputation;
mod scraped;
mod spec;

pub use self::log::{LogGuard, init};
pub use self::metrics::{Metrics, RouteMetrics};
pub use self::record::{AccessLog, ConnectionRecord, HandshakeFacts, Reload, RequestRecord, Telemetry, Who};
pub use self::reputation::ReputationMetrics;
pub use self::scraped::{AnchorSample, CrlSample, ReputationSample, Scraped, ServerSample};
pub use self::spec::{LogFormat, LogSpec};
