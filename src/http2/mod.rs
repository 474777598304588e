//! HTTP/2 with the client.

mod settings;

pub use self::settings::Settings;
