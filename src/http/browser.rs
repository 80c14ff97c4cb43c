//! Browsers that get other treatment, by `User-Agent` as nginx reads it.

use super::exchange::Exchange;
use crate::plan::model::KeepaliveDisable;
use crate::proto::head::{Method, Version};
use crate::proto::tokens::Token;

/// What a client seems to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Browser {
    /// MSIE, and whether it is one of the versions up to 6 that break kept connections.
    Msie {
        /// 4, 5, or 6 before its second service pack.
        old: bool,
    },
    Chrome,
    Safari,
    Other,
}

impl Browser {
    fn of(agent: &[u8]) -> Self {
        let find = |word: &[u8]| memchr::memmem::find(agent, word);
        if find(b"Opera").is_some() {
            return Self::Other;
        }
        if let Some(version) = find(b"MSIE ").and_then(|at| agent.get(at + 5..))
            && version.len() > 2
        {
            let old = match version {
                [b'4' | b'5', b'.', ..] => true,
                [b'6', b'.', rest @ ..] => memchr::memmem::find(rest, b"SV1").is_none(),
                _ => false,
            };
            return Self::Msie { old };
        }
        if find(b"Gecko/").is_some() {
            Self::Other
        } else if find(b"Chrome/").is_some() {
            Self::Chrome
        } else if find(b"Safari/").is_some() && find(b"Mac OS X").is_some() {
            Self::Safari
        } else {
            Self::Other
        }
    }
}

/// Whether short error pages are hidden by the client unless they are padded.
pub fn wants_padding(ex: &Exchange) -> bool {
    let agent = ex.head.fields.get(Token::USER_AGENT);
    ex.head.version >= Version::Http10
        && agent.is_some_and(|agent| {
            matches!(Browser::of(agent), Browser::Msie { .. } | Browser::Chrome)
        })
}

/// Whether the client is an MSIE of the versions up to 6, which lose compressed answers.
pub fn is_msie6(ex: &Exchange) -> bool {
    let agent = ex.head.fields.get(Token::USER_AGENT);
    agent.is_some_and(|agent| matches!(Browser::of(agent), Browser::Msie { old: true }))
}

/// Whether `keepalive_disable` names the client. An old MSIE may wait for an answer to a POST on a kept
/// connection, Safari may send one on a closed one.
pub fn is_disabled(rule: KeepaliveDisable, ex: &Exchange) -> bool {
    let msie = rule.has(KeepaliveDisable::MSIE6) && ex.method == Method::Post;
    let safari = rule.has(KeepaliveDisable::SAFARI);
    if !msie && !safari {
        return false;
    }
    match ex.head.fields.get(Token::USER_AGENT).map(Browser::of) {
        Some(Browser::Msie { old: true }) => msie,
        Some(Browser::Safari) => safari,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::Browser::{Chrome, Msie, Other, Safari};
    use super::*;

    #[test]
    fn agents() {
        for (agent, want) in [
            (
                "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)",
                Msie { old: true },
            ),
            (
                "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1; SV1)",
                Msie { old: false },
            ),
            ("Mozilla/4.0 (compatible; MSIE 5.01)", Msie { old: true }),
            (
                "Mozilla/5.0 (compatible; MSIE 10.0; Windows NT 6.2)",
                Msie { old: false },
            ),
            ("Mozilla/4.0 (compatible; MSIE 6.0; X) Opera 8", Other),
            (
                "Mozilla/5.0 (X11) AppleWebKit/1 (KHTML, like Gecko) Chrome/1 Safari/1",
                Chrome,
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15) AppleWebKit/1 (KHTML, like Gecko) Version/1 Safari/1",
                Safari,
            ),
            ("Mozilla/5.0 (X11; rv:1) Gecko/20100101 Firefox/1", Other),
            ("MSIE ", Other),
            ("curl/8", Other),
            ("", Other),
        ] {
            assert_eq!(Browser::of(agent.as_bytes()), want, "{agent}");
        }
    }
}
