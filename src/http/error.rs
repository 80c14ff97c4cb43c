//! Errors become answers here, and only here: `error_page`, and nginx's built-in pages.
//!
//! Knows no content and no connection. Start at [`answer`].

use super::exchange::{Body, Exchange};
use super::filter::headers;
use super::flow::{Flow, Reroute};
use super::local::Cx;
use super::{browser, log, route, vars};
use crate::plan::location::ErrorPage;
use crate::plan::model::LogLevel;
use crate::proto::tokens::Token;
use crate::proto::uri;

/// Closes the connection without an answer: `return 444`.
const CLOSE: u16 = 444;
/// A client that was too slow to send its request.
const REQUEST_TIMEOUT: u16 = 408;
/// A client that left.
const CLIENT_CLOSED: u16 = 499;

/// Lines that made old browsers show the page instead of their own; six, as nginx sends.
const PADDING: &[u8] = b"<!-- a padding to disable MSIE and Chrome friendly error page -->\r\n";

/// Makes the answer for `status`: a page of `error_page`, or the built-in one.
pub fn answer(ex: &mut Exchange, cx: Cx<'_>, status: u16) -> Flow {
    if matches!(status, CLOSE | REQUEST_TIMEOUT | CLIENT_CLOSED) {
        ex.response.status = status;
        return Flow::Close;
    }
    ex.status_override = status;
    if matches!(status, 400 | 413 | 414 | 495..=497 | 500 | 501) {
        ex.close = true;
    }
    ex.response.content_type.clear();
    ex.response.body = Body::Empty;
    let location = cx.location(ex.location);
    if !ex.error_page && !location.error_pages.is_empty() && ex.reroutes_left != 0 {
        if !location.settings.core.recursive_error_pages {
            ex.error_page = true;
        }
        if let Some(page) = location
            .error_pages
            .iter()
            .find(|page| page.codes.contains(&status))
        {
            return custom(ex, cx, page);
        }
    }
    special(ex, cx, status)
}

/// Whether the location has a page of its own for `status`.
#[must_use]
pub fn has_page(ex: &Exchange, cx: Cx<'_>, status: u16) -> bool {
    let pages = &cx.location(ex.location).error_pages;
    pages.iter().any(|page| page.codes.contains(&status))
}

/// Goes where an `error_page` points.
fn custom(ex: &mut Exchange, cx: Cx<'_>, page: &ErrorPage) -> Flow {
    if let Some(overwrite) = page.overwrite {
        ex.status_override = overwrite;
    }
    let mut target = cx.local.buffers.take(0);
    vars::eval(&page.target, ex, cx, &mut target);
    let mut args = cx.local.buffers.take(0);
    let has_args = page.args.is_some();
    if let Some(expr) = &page.args {
        vars::eval(expr, ex, cx, &mut args);
    }
    let flow = match target.first() {
        Some(b'/') => {
            ex.become_get();
            let (path, tail) = uri::split_args(&target);
            ex.uri.clear();
            ex.uri.extend_from_slice(path);
            ex.args.clear();
            ex.args.extend_from_slice(if has_args {
                &args
            } else {
                tail.unwrap_or_default()
            });
            Flow::Reroute(Reroute::Redirect)
        }
        Some(b'@') => route::named(ex, cx, &target),
        _ => {
            let told = page.overwrite;
            let status = told
                .filter(|code| matches!(code, 301 | 302 | 303 | 307 | 308))
                .unwrap_or(302);
            ex.status_override = status;
            ex.response.location.clear();
            ex.response.location.extend_from_slice(&target);
            if has_args {
                ex.response.location.push(b'?');
                ex.response.location.extend_from_slice(&args);
            }
            ex.response.location_is_path = true;
            special(ex, cx, status)
        }
    };
    cx.local.buffers.give(target);
    cx.local.buffers.give(args);
    flow
}

/// nginx's built-in answer: a small page for the statuses that have one, nothing for the others.
fn special(ex: &mut Exchange, cx: Cx<'_>, status: u16) -> Flow {
    let response = &mut ex.response;
    response.status = status;
    response.reason.clear();
    response.upstream = false;
    response.no_server = false;
    response.no_date = false;
    response.last_modified = None;
    response.etag.clear();
    response.forbid_ranges();
    response.fields.remove(Token::CONTENT_LENGTH);
    if matches!(status, 494..=497) {
        ex.status_override = 400;
    }
    let Some(page) = Page::of(status) else {
        response.content_length = Some(0);
        return Flow::Answer;
    };
    let name = headers::server_name(cx, &cx.location(ex.location).settings);
    let padded = status >= 400
        && cx.location(ex.location).settings.core.msie_padding
        && browser::wants_padding(ex);
    let mut body = cx.local.buffers.take(page.size(name.len(), padded));
    page.write(&mut body, name);
    if padded {
        for _ in 0..6 {
            body.extend_from_slice(PADDING);
        }
    }
    let response = &mut ex.response;
    response.content_type.extend_from_slice(b"text/html");
    response.content_length = Some(body.len() as u64);
    response.body = Body::Buffer(body);
    Flow::Answer
}

/// Words of a built-in page.
#[derive(Clone, Copy)]
struct Page {
    /// `404 Not Found`, the headline.
    headline: &'static str,
    /// Title, where it is not the headline, and a second line with its text.
    detail: Option<&'static str>,
}

impl Page {
    /// The page of a status; none for those that nginx answers without a body.
    fn of(status: u16) -> Option<Self> {
        let headline = match status {
            301 => "301 Moved Permanently",
            302 => "302 Found",
            303 => "303 See Other",
            307 => "307 Temporary Redirect",
            308 => "308 Permanent Redirect",
            400 | 494..=497 => "400 Bad Request",
            401 => "401 Authorization Required",
            402 => "402 Payment Required",
            403 => "403 Forbidden",
            404 | 498 => "404 Not Found",
            405 => "405 Not Allowed",
            406 => "406 Not Acceptable",
            407 => "407 Proxy Authentication Required",
            408 => "408 Request Time-out",
            409 => "409 Conflict",
            410 => "410 Gone",
            411 => "411 Length Required",
            412 => "412 Precondition Failed",
            413 => "413 Request Entity Too Large",
            414 => "414 Request-URI Too Large",
            415 => "415 Unsupported Media Type",
            416 => "416 Requested Range Not Satisfiable",
            421 => "421 Misdirected Request",
            429 => "429 Too Many Requests",
            500 => "500 Internal Server Error",
            501 => "501 Not Implemented",
            502 => "502 Bad Gateway",
            503 => "503 Service Temporarily Unavailable",
            504 => "504 Gateway Time-out",
            505 => "505 HTTP Version Not Supported",
            507 => "507 Insufficient Storage",
            _ => return None,
        };
        let detail = match status {
            494 => Some("Request Header Or Cookie Too Large"),
            495 => Some("The SSL certificate error"),
            496 => Some("No required SSL certificate was sent"),
            497 => Some("The plain HTTP request was sent to HTTPS port"),
            _ => None,
        };
        Some(Self { headline, detail })
    }

    /// Bytes that the page will take, about.
    fn size(self, name: usize, padded: bool) -> usize {
        let detail = self.detail.map_or(0, |text| 2 * text.len() + 32);
        160 + 2 * self.headline.len() + detail + name + if padded { 6 * PADDING.len() } else { 0 }
    }

    /// Appends the page with the server's `name` at its foot.
    fn write(self, out: &mut Vec<u8>, name: &[u8]) {
        let parts: [&[u8]; 3] = match self.detail {
            None => [self.headline.as_bytes(), b"", b""],
            Some(text) => [b"400 ", text.as_bytes(), b""],
        };
        out.extend_from_slice(b"<html>\r\n<head><title>");
        for part in parts {
            out.extend_from_slice(part);
        }
        out.extend_from_slice(b"</title></head>\r\n<body>\r\n<center><h1>");
        out.extend_from_slice(self.headline.as_bytes());
        out.extend_from_slice(b"</h1></center>\r\n");
        if let Some(text) = self.detail {
            out.extend_from_slice(b"<center>");
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b"</center>\r\n");
        }
        out.extend_from_slice(b"<hr><center>");
        out.extend_from_slice(name);
        out.extend_from_slice(b"</center>\r\n</body>\r\n</html>\r\n");
    }
}

/// The 500 answer of a request that was sent round in circles.
pub fn cycle(ex: &mut Exchange, cx: Cx<'_>, doing: &str, target: &[u8]) -> Flow {
    log::error(
        ex,
        cx,
        LogLevel::Error,
        format_args!(
            "rewrite or internal redirection cycle {doing} \"{}\"",
            log::Text(target)
        ),
    );
    Flow::Error(500)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_statuses() {
        for (status, want) in [
            (301, Some("301 Moved Permanently")),
            (304, None),
            (306, None),
            (400, Some("400 Bad Request")),
            (417, None),
            (494, Some("400 Bad Request")),
            (498, Some("404 Not Found")),
            (499, None),
            (504, Some("504 Gateway Time-out")),
            (506, None),
            (799, None),
        ] {
            assert_eq!(Page::of(status).map(|page| page.headline), want, "{status}");
        }
    }

    #[test]
    fn a_page_with_a_second_line() {
        let mut out = Vec::new();
        let page = Page::of(494).expect("494 has a page");
        page.write(&mut out, b"name");
        let text = String::from_utf8_lossy(&out);
        assert!(text.contains("<title>400 Request Header Or Cookie Too Large</title>"));
        assert!(text.contains("<h1>400 Bad Request</h1></center>\r\n<center>Request Header Or Cookie Too Large</center>"));
        assert!(page.size(4, false) >= out.len());
    }
}
