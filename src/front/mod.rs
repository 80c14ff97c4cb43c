//! Downstream connections: accept, then the HTTP/1 driver that yields requests. Calls nobody above.
