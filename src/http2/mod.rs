//! HTTP/2 with the client: hyper's framing, under our bounds.

mod body;
mod meter;
mod metered;
mod patience;
mod serve;
mod settings;

pub use self::patience::Cut;
pub use self::serve::{Handler, serve};
pub use self::settings::Settings;
