//! The network: one stream for both sides, TLS, listeners and channels.

pub(crate) mod channels;
pub(crate) mod descriptors;
pub mod gate;
pub mod listener;
pub mod names;
pub mod resolver;
pub mod stream;
pub mod tls_client;
pub mod tls_server;
pub mod turned;
pub mod turns;
