//! Asks the system's resolver for a name, beside the shard: for duties that no request waits for. Requests are served by
//! `upstream::resolve`.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};

use super::offload;

/// The addresses of a host.
pub async fn lookup(host: &str) -> io::Result<Vec<IpAddr>> {
    let host = host.to_owned();
    #[expect(clippy::disallowed_methods, reason = "on a helper thread")]
    let found = offload::run(move || (host.as_str(), 0).to_socket_addrs()).await??;
    Ok(found.map(|address| address.ip()).collect())
}
