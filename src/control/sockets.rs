//! Listening sockets as the parent binds, keeps and inherits them.
//!
//! One TCP socket for each shard and address, tied by `SO_REUSEPORT`; one unix socket for all shards. Nothing here
//! accepts. Start at [`open`].

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::journal::{Journal, Level, cause};
use crate::net::listener::{self, Options};

/// Tries to bind an address that somebody still holds, half a second apart.
const TRIES: usize = 5;
const TRY_PAUSE: Duration = Duration::from_millis(500);

/// Where a socket is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An IPv4 or IPv6 address with its port.
    Tcp(SocketAddr),
    /// A path.
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// One address that the configuration wants.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Where.
    pub address: Address,
    /// How.
    pub options: Options,
}

/// The open sockets of one address: one for each shard, or a single one for all when it is a unix socket.
#[derive(Clone, Debug)]
pub struct Bound {
    /// Where they are bound.
    pub address: Address,
    /// The sockets; shared with older generations that still hold them.
    pub sockets: Vec<Arc<OwnedFd>>,
}

impl Bound {
    /// The sockets from which a shard accepts. When there are fewer shards than before, some have several: closing one
    /// would throw away the connections that the kernel has put into its queue.
    pub fn for_shard(&self, shard: usize, shards: usize) -> impl Iterator<Item = &Arc<OwnedFd>> {
        let all = matches!(self.address, Address::Unix(_));
        self.sockets
            .iter()
            .enumerate()
            .filter(move |(at, _)| all || at % shards == shard)
            .map(|(_, socket)| socket)
    }
}

/// What binding is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To serve, with this many shards.
    Serve(usize),
    /// To see whether it could be done; an address in use is no error then.
    Test,
}

/// Opens what is wanted, taking over sockets that are held already. On failure everything is told, and `None` returned.
#[must_use]
pub fn open(
    wanted: &[Wanted],
    held: &[Bound],
    purpose: Purpose,
    journal: &Journal,
) -> Option<Vec<Bound>> {
    let count = |address: &Address| match (address, purpose) {
        (Address::Tcp(_), Purpose::Serve(shards)) => shards,
        _ => 1,
    };
    let mut bound: Vec<Bound> = wanted.iter().map(|want| take_over(want, held)).collect();
    for _ in 0..TRIES {
        let mut busy = false;
        for (want, bound) in wanted.iter().zip(&mut bound) {
            match complete(want, bound, count(&want.address), purpose) {
                Ok(()) => {}
                Err(fault) if fault.error.kind() == io::ErrorKind::AddrInUse => {
                    if purpose != Purpose::Test {
                        journal.emerg(&fault.text());
                        busy = true;
                    }
                }
                Err(fault) => {
                    journal.emerg(&fault.text());
                    return None;
                }
            }
        }
        if !busy {
            for (want, bound) in wanted.iter().zip(&bound) {
                configure(want, bound, purpose, journal);
            }
            return Some(bound);
        }
        journal.notice("try again to bind() after 500ms");
        super::pause(TRY_PAUSE);
    }
    journal.emerg("still could not bind()");
    None
}

/// Removes the file of a unix socket that nobody listens on any more.
pub fn remove_file(address: &Address, journal: &Journal) {
    if let Address::Unix(path) = address
        && let Err(error) = std::fs::remove_file(path)
    {
        journal.emerg(&format!(
            "unlink() \"{}\" failed {}",
            path.display(),
            cause(&error)
        ));
    }
}

/// A step of opening that failed.
struct Fault {
    what: String,
    error: io::Error,
}

impl Fault {
    fn text(&self) -> String {
        format!("{} failed {}", self.what, cause(&self.error))
    }
}

fn take_over(want: &Wanted, held: &[Bound]) -> Bound {
    let same = held.iter().find(|held| held.address == want.address);
    let sockets = same.map(|held| held.sockets.clone());
    Bound {
        address: want.address.clone(),
        sockets: sockets.unwrap_or_default(),
    }
}

fn complete(want: &Wanted, bound: &mut Bound, count: usize, purpose: Purpose) -> Result<(), Fault> {
    if let (Address::Tcp(_), Some(first)) = (&want.address, bound.sockets.first())
        && bound.sockets.len() < count
    {
        // A socket inherited from nginx does not have the option that lets others join it.
        SockRef::from(&**first)
            .set_reuse_port(true)
            .map_err(|error| Fault {
                what: format!("setsockopt(SO_REUSEPORT) {}", want.address),
                error,
            })?;
    }
    while bound.sockets.len() < count {
        let socket = bind(want, bound.sockets.is_empty(), purpose)?;
        bound.sockets.push(Arc::new(socket.into()));
    }
    Ok(())
}

fn bind(want: &Wanted, first: bool, purpose: Purpose) -> Result<Socket, Fault> {
    let address = &want.address;
    let fault = |what: String| move |error| Fault { what, error };
    let (domain, name) = match address {
        Address::Tcp(address) => (Domain::for_address(*address), SockAddr::from(*address)),
        Address::Unix(path) => (
            Domain::UNIX,
            SockAddr::unix(path).map_err(fault(format!("bind() to {address}")))?,
        ),
    };
    let socket =
        Socket::new(domain, Type::STREAM, None).map_err(fault(format!("socket() {address}")))?;
    socket
        .set_reuse_address(true)
        .map_err(fault(format!("setsockopt(SO_REUSEADDR) {address}")))?;
    let tcp = matches!(address, Address::Tcp(_));
    let share = |socket: &Socket| {
        socket
            .set_reuse_port(true)
            .map_err(fault(format!("setsockopt(SO_REUSEPORT) {address}")))
    };
    // The first socket is bound without sharing, else a second server of the same user would start
    // silently on the same port and take half of the connections.
    if tcp && !first {
        share(&socket)?;
    }
    if domain == Domain::IPV6 {
        socket
            .set_only_v6(want.options.ipv6only)
            .map_err(fault(format!("setsockopt(IPV6_V6ONLY) {address}")))?;
    }
    let what = format!("bind() to {address}");
    match (socket.bind(&name), address) {
        (Ok(()), _) => {}
        (Err(error), Address::Unix(path)) if is_stale(path, &error) => {
            // Differs from nginx: the file that a killed server left behind does not keep the next one from starting.
            std::fs::remove_file(path).map_err(fault(what.clone()))?;
            socket.bind(&name).map_err(fault(what))?;
        }
        (Err(error), _) => return Err(Fault { what, error }),
    }
    if tcp && first && purpose != Purpose::Test {
        share(&socket)?;
    }
    if let Address::Unix(path) = address {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))
            .map_err(fault(format!("chmod() \"{}\"", path.display())))?;
        if purpose == Purpose::Test {
            std::fs::remove_file(path).map_err(fault(format!("unlink() {}", path.display())))?;
        }
    }
    let backlog = want.options.backlog;
    socket
        .listen(backlog)
        .map_err(fault(format!("listen() to {address}, backlog {backlog}")))?;
    Ok(socket)
}

/// Whether a path in use is that of a socket behind which nobody listens.
fn is_stale(path: &Path, error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
        && std::fs::symlink_metadata(path).is_ok_and(|data| data.file_type().is_socket())
        && UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Applies the options that may change while a socket is open; what fails is told and done without.
fn configure(want: &Wanted, bound: &Bound, purpose: Purpose, journal: &Journal) {
    let options = &want.options;
    let told = |what: &str, result: io::Result<()>| {
        if let Err(error) = result {
            journal.log(
                Level::Alert,
                &format!("{what} {} failed, ignored {}", want.address, cause(&error)),
            );
        }
    };
    if let (Address::Tcp(_), Purpose::Serve(shards), Some(first)) =
        (&want.address, purpose, bound.sockets.first())
        // A socket alone has no group to be steered in.
        && bound.sockets.len() > 1
    {
        let steered = listener::steer(&**first, shards, options.steer);
        told("setsockopt(SO_ATTACH_REUSEPORT_CBPF)", steered);
    }
    for socket in &bound.sockets {
        let socket = SockRef::from(&**socket);
        // A changed backlog takes effect by listening again.
        told("listen() to", socket.listen(options.backlog));
        if let Some(bytes) = options.rcvbuf {
            told("setsockopt(SO_RCVBUF)", socket.set_recv_buffer_size(bytes));
        }
        if let Some(bytes) = options.sndbuf {
            told("setsockopt(SO_SNDBUF)", socket.set_send_buffer_size(bytes));
        }
        let tcp = matches!(want.address, Address::Tcp(_));
        told("setsockopt()", listener::tune(socket.as_fd(), tcp, options));
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_types, reason = "a test may block")]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::control::identity::Identity;

    fn quiet() -> Journal {
        Journal {
            console: false,
            ..Journal::console(Identity::Nginx)
        }
    }

    fn tcp(address: &str) -> Wanted {
        Wanted {
            address: Address::Tcp(address.parse().expect("address")),
            options: Options::default(),
        }
    }

    fn unix(path: &Path) -> Wanted {
        Wanted {
            address: Address::Unix(path.to_owned()),
            options: Options::default(),
        }
    }

    /// An address that was free a moment ago.
    fn free() -> Wanted {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        tcp(&listener.local_addr().expect("address").to_string())
    }

    #[test]
    fn each_shard_has_a_socket_on_the_same_address() {
        let want = free();
        let bound = open(
            std::slice::from_ref(&want),
            &[],
            Purpose::Serve(3),
            &quiet(),
        )
        .expect("bound");
        assert_eq!(bound[0].sockets.len(), 3);
        let Address::Tcp(address) = want.address else {
            unreachable!("made so above")
        };
        TcpStream::connect(address).expect("somebody listens");
    }

    #[test]
    fn a_reload_keeps_sockets_whatever_the_number_of_shards() {
        let want = [free()];
        let first = open(&want, &[], Purpose::Serve(2), &quiet()).expect("bound");
        let more = open(&want, &first, Purpose::Serve(3), &quiet()).expect("bound");
        assert!(Arc::ptr_eq(&first[0].sockets[1], &more[0].sockets[1]));
        assert_eq!(more[0].sockets.len(), 3);
        let fewer = open(&want, &more, Purpose::Serve(1), &quiet()).expect("bound");
        assert_eq!(fewer[0].sockets.len(), 3);
        assert_eq!(fewer[0].for_shard(0, 1).count(), 3);
        assert_eq!(fewer[0].for_shard(1, 2).count(), 1);
    }

    #[test]
    fn an_address_in_use_is_tolerated_by_a_test_only() {
        let holder = open(&[tcp("127.0.0.1:0")], &[], Purpose::Serve(2), &quiet()).expect("bound");
        let name = SockRef::from(&*holder[0].sockets[0])
            .local_addr()
            .expect("name");
        let want = [tcp(&name.as_socket().expect("address").to_string())];
        assert!(open(&want, &[], Purpose::Test, &quiet()).is_some());
        // Even another server that shares its port does not get a second one in.
        assert!(
            complete(
                &want[0],
                &mut take_over(&want[0], &[]),
                2,
                Purpose::Serve(2)
            )
            .is_err()
        );
    }

    #[test]
    fn a_stale_unix_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bind"));
        let bound = open(&[unix(&path)], &[], Purpose::Serve(2), &quiet()).expect("bound");
        assert_eq!(bound[0].sockets.len(), 1);
        assert_eq!(bound[0].for_shard(1, 2).count(), 1);
        assert_eq!(
            std::fs::metadata(&path).expect("file").permissions().mode() & 0o777,
            0o666
        );
        assert!(
            complete(
                &unix(&path),
                &mut take_over(&unix(&path), &[]),
                1,
                Purpose::Serve(1)
            )
            .is_err()
        );
    }

    #[test]
    fn a_test_leaves_no_unix_socket_behind() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("s");
        assert!(open(&[unix(&path)], &[], Purpose::Test, &quiet()).is_some());
        assert!(!path.exists());
    }

    #[test]
    fn addresses_read_as_nginx_prints_them() {
        for (address, want) in [
            (tcp("0.0.0.0:80").address, "0.0.0.0:80"),
            (tcp("[::]:80").address, "[::]:80"),
            (Address::Unix("/run/s".into()), "unix:/run/s"),
        ] {
            assert_eq!(address.to_string(), want);
        }
    }
}
