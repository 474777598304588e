//! HTTP/1.1 with the client, read strictly.

mod settings;

pub use self::settings::Settings;
