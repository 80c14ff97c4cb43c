//! What a failed attempt is to the retry policy, and to the log. Start at [`cause`] and [`trouble`].

use crate::proto::h1::parse::ResponseError;
use crate::proto::h2::ErrorCode;
use crate::upstream::origin::Fault;
use crate::upstream::retry::Cause;
use crate::upstream::trouble::{Action, Trouble};

/// As the retry policy sees a fault.
pub(super) fn cause(fault: &Fault) -> Cause {
    match fault {
        Fault::TimedOut => Cause::Timeout,
        Fault::Head(_)
        | Fault::Unsolicited
        | Fault::Body(_)
        | Fault::FastCgi(_)
        | Fault::Reset(_)
        | Fault::GoAway(_)
        | Fault::Http2(_)
        | Fault::Refused => Cause::InvalidHeader,
        Fault::Closed
        | Fault::Io(_)
        | Fault::Cut
        | Fault::Local(_)
        | Fault::Unprocessed
        | Fault::Stopped => Cause::Error,
    }
}

/// As the log tells a fault.
pub(super) fn trouble(fault: Fault, action: Action) -> Trouble {
    match fault {
        Fault::Closed | Fault::Cut | Fault::Stopped => Trouble::Closed,
        Fault::Reset(_) | Fault::Unprocessed | Fault::GoAway(_) | Fault::Http2(_) => http2(&fault),
        Fault::Io(error) if action == Action::Sending => Trouble::Send(error),
        Fault::Io(error) | Fault::Local(error) => Trouble::Recv(error),
        Fault::TimedOut => Trouble::TimedOut,
        Fault::Head(ResponseError::TooBig) => Trouble::BigHeader,
        Fault::Head(_) | Fault::Refused => Trouble::InvalidHeader,
        Fault::FastCgi(error) => protocol(&error),
        Fault::Unsolicited => Trouble::UnexpectedUpgrade,
        Fault::Body(_) => Trouble::InvalidBody,
    }
}

/// How a stream of HTTP/2 went wrong.
pub(super) fn http2(fault: &Fault) -> Trouble {
    let numbered = |what: &str, code: ErrorCode| format!("{what} with error {}", code as u32);
    let text = match fault {
        Fault::Reset(code) => numbered("upstream rejected request", *code),
        Fault::GoAway(code) => numbered("upstream sent goaway", *code),
        Fault::Unprocessed => "upstream did not take the request".to_owned(),
        Fault::Http2(text) => (*text).to_owned(),
        _ => "upstream sent invalid response".to_owned(),
    };
    Trouble::Protocol(text.into_bytes())
}

/// How a FastCGI answer went wrong.
pub(super) fn protocol(error: &crate::proto::fastcgi::Error) -> Trouble {
    let mut text = Vec::new();
    error.write(&mut text);
    Trouble::Protocol(text)
}
