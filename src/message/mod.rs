//! HTTP messages as facts: what a request is for, which fields belong to a hop, who may say where
//! it came from. Pure; knows nothing of connections.

pub mod body;
pub mod forwarded;
pub mod hop;
pub mod pace;
pub mod request_id;
pub mod target;
