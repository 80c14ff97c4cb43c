//! The first bytes on an address that speaks TLS: picks the server by the name that the client asks for and shakes
//! hands, or finds plain HTTP. Start at [`Http::shake_hands`].

use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::Http;
use crate::base::ids::DenseId;
use crate::http::local::Generation;
use crate::http::log::{self, Errno};
use crate::http::ocsp;
use crate::http::responder::Asker;
use crate::net::stream::Idle;
use crate::net::tls::accept::{Alert, Options};
use crate::net::tls::{Facts, Hello, Offer, Trouble, Version};
use crate::net::{Addr, Stream as Socket};
use crate::observe::counters::Count;
use crate::observe::entry::{Entry, Fact};
use crate::plan::location::LocationPlan;
use crate::plan::model::{LogLevel, Settings};
use crate::plan::regex::Captures;
use crate::plan::tls::Pair;
use crate::plan::{AddressPlan, ListenAddr, ListenerId, ServerId};
use crate::proto::host;

/// A new connection, for the log.
pub(super) struct Newcomer<'a> {
    pub(super) number: u64,
    pub(super) peer: &'a Addr,
    pub(super) server: &'a ListenAddr,
    pub(super) local: &'a Addr,
    pub(super) listener: ListenerId,
    /// `debug_connection` names it.
    pub(super) debug: bool,
}

impl Newcomer<'_> {
    /// Writes a line about it into the error logs of a location.
    pub(super) fn tell(
        &self,
        generation: &Generation,
        location: &LocationPlan,
        level: LogLevel,
        message: fmt::Arguments<'_>,
    ) {
        if !self.debug && !location.error_logs.iter().any(|to| level <= to.most) {
            return;
        }
        let client = log::client(self.peer);
        let server = match self.server {
            ListenAddr::Tcp(at) => at.to_string(),
            ListenAddr::Unix(path) => format!("unix:{}", path.display()),
        };
        let fact = |name, value| Fact {
            name,
            value,
            quoted: false,
        };
        let entry = Entry {
            level,
            connection: self.number,
            trace: b"",
            message,
            facts: &[
                fact("client", client.as_bytes()),
                fact("server", server.as_bytes()),
            ],
        };
        generation
            .logs
            .tell(&location.error_logs, self.debug, &entry);
    }
}

/// What the first bytes were.
pub(super) enum Begun {
    /// TLS, and the handshake is done.
    Tls {
        /// The name that chose the server, in its normal form; none where the default server answered.
        named: Option<Box<[u8]>>,
    },
    /// No TLS: what was received.
    Plain(Vec<u8>),
}

/// The server that a hello chose.
struct Chosen {
    server: ServerId,
    named: Option<Box<[u8]>>,
}

impl Http {
    /// Shakes hands, `client_header_timeout` in all, behind bytes that were read already. None when the connection is
    /// over, which the log knows.
    pub(super) async fn shake_hands(
        &self,
        generation: &Rc<Generation>,
        address: &AddressPlan,
        socket: &mut Socket,
        received: Vec<u8>,
        who: &Newcomer<'_>,
    ) -> Option<Begun> {
        let first = address.names.default_server();
        let within = settings(generation, first).core.client_header_timeout;
        let silent = received.is_empty();
        if silent && !begins(generation, first, socket, within, who).await {
            return None;
        }
        socket.rx.arm(within);
        socket.tx.arm(within);
        let (hello, received) = socket.read_hello(received).await;
        let hello = match hello {
            Ok(hello) => hello,
            Err(Trouble::NotTls) => {
                disarm(socket);
                return Some(Begun::Plain(received));
            }
            Err(Trouble::Closed) if received.is_empty() => {
                let text = format_args!("client closed connection");
                tell(generation, first, LogLevel::Info, text, who);
                return None;
            }
            Err(trouble) => {
                self.count_handshake(None, false);
                explain(generation, first, &trouble, who);
                return None;
            }
        };
        let chosen = choose(address, &hello);
        let settings = settings(generation, chosen.server);
        let (offered, tls) = match generation.tls.server(chosen.server.index()) {
            Offer::Tls(tls) => (chosen.server, tls),
            Offer::Refuse => {
                self.count_handshake(None, false);
                socket.refuse_tls(Alert::UnrecognizedName);
                let text = format_args!("handshake rejected");
                tell(generation, chosen.server, LogLevel::Info, text, who);
                return None;
            }
            // As in nginx, a server without a certificate lends its name and the default server its certificate.
            Offer::Nothing => match generation.tls.server(first.index()) {
                Offer::Tls(tls) => (first, tls),
                _ => {
                    self.count_handshake(None, false);
                    socket.refuse_tls(Alert::UnrecognizedName);
                    let text = format_args!("handshake rejected");
                    tell(generation, chosen.server, LogLevel::Info, text, who);
                    return None;
                }
            },
        };
        let options = Options {
            h2: address.listens_http2 || settings.http2.http2,
            keep_hello: generation.tls.keep_hello,
        };
        let done = if names_vary(generation, offered) {
            let named = Box::pin(self.with_named(generation, offered, tls, &hello, who)).await;
            match named {
                Ok(tls) => socket.accept_tls(received, hello, &tls, options).await,
                Err(text) => {
                    tell(
                        generation,
                        offered,
                        LogLevel::Error,
                        format_args!("{text}"),
                        who,
                    );
                    socket.refuse_tls(Alert::InternalError);
                    return None;
                }
            }
        } else {
            socket.accept_tls(received, hello, tls, options).await
        };
        disarm(socket);
        self.count_handshake(socket.tls().map(|facts| &**facts), done.is_ok());
        if let Err(trouble) = done {
            explain(generation, chosen.server, &trouble, who);
            return None;
        }
        if let Some(facts) = socket.tls().filter(|facts| tls.may_inquire(facts)) {
            Box::pin(self.inquire(generation, offered, facts.clone(), who)).await;
        }
        Some(Begun::Tls {
            named: chosen.named,
        })
    }
}

impl Http {
    /// Asks authorities about a new client's certificates, where the configuration says so.
    async fn inquire(
        &self,
        generation: &Generation,
        server: ServerId,
        facts: Rc<Facts>,
        who: &Newcomer<'_>,
    ) {
        let asker = Asker {
            generation,
            local: &self.local,
            server,
            system: false,
        };
        if ocsp::is_due(&asker, &facts) {
            ocsp::inquire(&asker, &facts, &log::client(who.peer)).await;
        }
    }

    fn count_handshake(&self, facts: Option<&Facts>, done: bool) {
        let what = match facts.map(|facts| (facts.version, facts.resumed)) {
            _ if !done => Count::TlsFailed,
            Some((Version::Tls12, false)) => Count::TlsFull12,
            Some((Version::Tls12, true)) => Count::TlsResumed12,
            Some((_, false)) => Count::TlsFull13,
            Some((_, true)) => Count::TlsResumed13,
            None => return,
        };
        self.local.counters.count(what);
    }
}

/// Waits for the first byte, without a buffer; false when none comes.
async fn begins(
    generation: &Generation,
    server: ServerId,
    socket: &mut Socket,
    within: Duration,
    who: &Newcomer<'_>,
) -> bool {
    match socket.rx.wait_idle(Some(within)).await {
        Ok(Idle::Ready) => return true,
        Ok(Idle::Drained | Idle::Long) => {}
        Ok(Idle::Expired) => explain(generation, server, &Trouble::TimedOut, who),
        Err(error) => explain(generation, server, &error.into(), who),
    }
    false
}

/// Whether a certificate of a server is only known now.
fn names_vary(generation: &Generation, server: ServerId) -> bool {
    let tls = generation.plan.servers[server].tls.as_deref();
    let mut pairs = tls.iter().flat_map(|tls| tls.pairs.iter());
    pairs.any(|pair| matches!(pair, Pair::Named { .. }))
}

fn disarm(socket: &Socket) {
    socket.rx.disarm();
    socket.tx.disarm();
}

fn settings(generation: &Generation, server: ServerId) -> &Settings {
    let plan = &generation.plan;
    &plan.locations[plan.servers[server].root].settings
}

/// The server whose name the client asks for, by the same rules as `Host`.
fn choose(address: &AddressPlan, hello: &Hello) -> Chosen {
    let mut name = Vec::new();
    let valid = hello.name.as_ref().map(|n| host::normalize(n, &mut name));
    if let Some(Ok(_)) = valid
        && let Some(server) = address.names.find_named(&name, &mut Captures::default())
    {
        return Chosen {
            server,
            named: Some(name.into()),
        };
    }
    Chosen {
        server: address.names.default_server(),
        named: None,
    }
}

/// Says in nginx's words why there is no connection.
fn explain(generation: &Generation, server: ServerId, trouble: &Trouble, who: &Newcomer<'_>) {
    let tell = |level, text: fmt::Arguments<'_>| tell(generation, server, level, text, who);
    match trouble {
        Trouble::TimedOut => tell(
            LogLevel::Info,
            format_args!("client timed out (110: Connection timed out)"),
        ),
        Trouble::NotTls | Trouble::Closed => tell(
            LogLevel::Info,
            format_args!("peer closed connection in SSL handshake"),
        ),
        Trouble::Failed(kind, code) => {
            let error = code.map_or_else(|| io::Error::from(*kind), io::Error::from_raw_os_error);
            let error = Errno(&error);
            tell(
                LogLevel::Info,
                format_args!("SSL_do_handshake() failed ({error})"),
            );
        }
        Trouble::Protocol(reason) => {
            let level = if reason.usual {
                LogLevel::Info
            } else {
                LogLevel::Crit
            };
            tell(level, format_args!("SSL_do_handshake() failed ({reason})"));
        }
    }
}

fn tell(
    generation: &Generation,
    server: ServerId,
    level: LogLevel,
    text: fmt::Arguments<'_>,
    who: &Newcomer<'_>,
) {
    let plan = &generation.plan;
    let location = &plan.locations[plan.servers[server].root];
    let text = format_args!("{text} while SSL handshaking");
    who.tell(generation, location, level, text);
}
