//! What can go wrong in an exchange with an origin. Knows nothing of what is done about it.

use std::io;

use crate::proto::fastcgi;
use crate::proto::h1::body::BodyError;
use crate::proto::h1::parse::ResponseError;
use crate::proto::h2::ErrorCode;

/// Why an exchange with an origin failed.
#[derive(Debug)]
pub enum Fault {
    /// It closed in the middle; before its head this is "prematurely closed".
    Closed,
    /// The connection broke.
    Io(io::Error),
    /// Nothing came, or nothing was taken, in time.
    TimedOut,
    /// The head breaks a rule.
    Head(ResponseError),
    /// 101 without being asked, or interim responses without end.
    Unsolicited,
    /// The body's framing breaks a rule.
    Body(BodyError),
    /// A FastCGI answer breaks a rule.
    FastCgi(fastcgi::Error),
    /// The answer was whole, and is refused by what the application said on stderr.
    Refused,
    /// The origin took its HTTP/2 stream back.
    Reset(ErrorCode),
    /// It said that it has not looked at the request, and never will.
    Unprocessed,
    /// It went away from the HTTP/2 connection in the middle.
    GoAway(ErrorCode),
    /// A rule of HTTP/2 was broken, told in these words.
    Http2(&'static str),
    /// Our side of the request's body ended early.
    Stopped,
    /// The client is gone: the sweep cut this connection.
    Cut,
    /// A file of our own failed while the body was spooled.
    Local(io::Error),
}

impl Fault {
    /// A socket's error; `cut` says that the sweep shut the socket down because the client left.
    #[must_use]
    pub fn of(error: io::Error, cut: bool) -> Self {
        if cut {
            Self::Cut
        } else if error.kind() == io::ErrorKind::TimedOut {
            Self::TimedOut
        } else {
            Self::Io(error)
        }
    }
}
