//! Connections to what a sink delivers to: dialling with a deadline, TLS with the certificates of
//! Secrets, and bytes on their way. It knows no protocol, never dials twice and never decides
//! when to come back.

mod outbox;
mod tls;
mod transport;

pub use outbox::Outbox;
pub use tls::{TlsClient, client};
pub use transport::{Stream, broken, open};
