//! Plain TCP, passed on: one session from its first byte to its log line.
//!
//! Beside `http` and after its pattern: the same generation, groups, tables and logs, and the tunnel of an upgraded
//! request, without the exchange. Knows no listeners and no shard. Start at [`serve`]; a session that lasts holds no more
//! than its two sockets, its [`Session`] and the tunnel's future.

mod access;
mod log;
mod proxy;
mod session;
mod target;
mod vars;

use std::rc::Rc;
use std::time::Duration;

pub use session::Arrival;

use self::proxy::Link;
use self::session::Session;
use crate::http::local::{Cx, Generation, Local};
use crate::net::Stream as Socket;
use crate::observe::sessions::Counted;
use crate::plan::location::Content;
use crate::plan::model::LogLevel;
use crate::plan::stream::{SessionContent, SessionPlan};

/// How long a client may take to accept the next part of a returned text, as in nginx.
const RETURN_TIMEOUT: Duration = Duration::from_secs(5);

/// What is next for a session.
enum Next {
    /// Bytes both ways.
    Relay(Link),
    /// It is over, with this status.
    End(u16),
}

/// Serves one session.
pub async fn serve(arrival: Arrival, generation: Rc<Generation>, local: Rc<Local>) {
    let cx = Cx::new(&generation, &local);
    let (mut session, mut socket) = Session::new(arrival, cx);
    let counted = Counted::begin(&generation.sheet, session.listener);
    // Everything but the tunnel is boxed: that is what lasts.
    session.status = match Box::pin(begin(&mut session, &mut socket, cx)).await {
        Next::End(status) => status,
        Next::Relay(link) => proxy::relay(&mut session, &mut socket, link, cx).await,
    };
    counted.end(&session.ended());
    log::line(&mut session, cx);
}

/// From the first byte to a backend, in nginx's order of phases.
async fn begin(session: &mut Session, socket: &mut Socket, cx: Cx<'_>) -> Next {
    log::accepted(session, cx);
    let ahead = match access::proxy_header(session, socket, cx).await {
        Ok(ahead) => ahead,
        Err(status) => return Next::End(status),
    };
    access::take_real_address(session, cx);
    if access::is_forbidden(session, cx) {
        return Next::End(403);
    }
    let location = cx.location(session.location);
    if !location.settings.core.tcp_nodelay && !session.local.is_unix() {
        // Some sockets have no such option; all is well without it.
        let _ = socket.set_nodelay(false);
    }
    let Content::Session(plan) = &location.content else {
        return Next::End(500);
    };
    log::error(
        session,
        cx,
        LogLevel::Debug,
        format_args!("session handler"),
    );
    match &plan.content {
        SessionContent::Return(text) => Next::End(tell(session, socket, text, cx).await),
        SessionContent::Group(_) | SessionContent::Dynamic(_) => {
            connect(session, plan, ahead, cx).await
        }
    }
}

async fn connect(session: &mut Session, plan: &SessionPlan, ahead: Vec<u8>, cx: Cx<'_>) -> Next {
    match proxy::connect(session, plan, ahead, cx).await {
        Ok(link) => Next::Relay(link),
        Err(status) => Next::End(status),
    }
}

/// `return`.
async fn tell(
    session: &mut Session,
    socket: &mut Socket,
    text: &crate::plan::expr::Expr,
    cx: Cx<'_>,
) -> u16 {
    let mut out = cx.local.buffers.take(256);
    vars::eval(text, session, cx, &mut out);
    if out.is_empty() {
        cx.local.buffers.give(out);
        return 200;
    }
    let (result, out) = socket.tx.send_all_within(RETURN_TIMEOUT, out).await;
    cx.local.buffers.give(out);
    session.sent = socket.tx.sent();
    match result {
        Ok(()) => 200,
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
            let text = format_args!(
                "connection timed out (110: Connection timed out) while returning text"
            );
            log::error(session, cx, LogLevel::Info, text);
            200
        }
        Err(_) => 500,
    }
}
