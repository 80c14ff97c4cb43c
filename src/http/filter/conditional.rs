//! Conditions of the request, judged for answers of our own: 304 and 412.
//!
//! Answers of origins were judged by the origin. Ranges are not known here.

use super::super::exchange::Exchange;
use super::super::flow::Flow;
use super::super::local::Cx;
use super::headers;
use crate::base::time;
use crate::plan::model::IfModifiedSince;
use crate::proto::tokens::Token;

/// Judges a 200; an error flow when a precondition failed.
#[inline]
pub fn apply(ex: &mut Exchange, cx: Cx<'_>) -> Option<Flow> {
    let response = &ex.response;
    if response.status != 200 || (response.upstream && !response.conditional) {
        return None;
    }
    judge(ex, cx)
}

#[inline(never)]
fn judge(ex: &mut Exchange, cx: Cx<'_>) -> Option<Flow> {
    let response = &ex.response;
    let fields = &ex.head.fields;
    let modified = headers::modified_at(ex);
    let etag = match response.etag.is_empty() {
        true => response.fields.get(Token::ETAG).unwrap_or_default(),
        false => &response.etag,
    };
    if let Some(date) = fields.get(Token::IF_UNMODIFIED_SINCE)
        && !matches!((time::parse_http_date(date), modified), (Some(since), Some(at)) if since >= at)
    {
        return Some(failed(ex));
    }
    if let Some(list) = fields.get(Token::IF_MATCH)
        && !names_etag(list, etag, false)
    {
        return Some(failed(ex));
    }
    let since = fields.get(Token::IF_MODIFIED_SINCE);
    let none_match = fields.get(Token::IF_NONE_MATCH);
    if since.is_none() && none_match.is_none() {
        return None;
    }
    let rule = cx.location(ex.location).settings.core.if_modified_since;
    if since.is_some_and(|date| is_modified(date, modified, rule)) {
        return None;
    }
    if none_match.is_some_and(|list| !names_etag(list, etag, true)) {
        return None;
    }
    let response = &mut ex.response;
    response.status = 304;
    response.reason.clear();
    response.content_type.clear();
    response.content_length = None;
    super::drop_own_body(response);
    response.fields.remove(Token::ACCEPT_RANGES);
    response.fields.remove(Token::CONTENT_ENCODING);
    None
}

/// 412, and nothing of the answer that it replaces.
fn failed(ex: &mut Exchange) -> Flow {
    let response = &mut ex.response;
    response.fields.clear();
    response.trailers = None;
    response.last_modified = None;
    response.etag.clear();
    response.content_type.clear();
    response.location.clear();
    response.content_length = None;
    Flow::Error(412)
}

/// Whether a client that has the copy of `date` needs a new one.
fn is_modified(date: &[u8], modified: Option<i64>, rule: IfModifiedSince) -> bool {
    let (Some(at), Some(since)) = (modified, time::parse_http_date(date)) else {
        return true;
    };
    match rule {
        IfModifiedSince::Off => true,
        IfModifiedSince::Exact => since != at,
        IfModifiedSince::Before => since < at,
    }
}

/// Whether a list of tags has ours. The weak comparison passes over `W/` on both sides.
fn names_etag(list: &[u8], etag: &[u8], weak: bool) -> bool {
    if list == b"*" {
        return true;
    }
    if etag.is_empty() {
        return false;
    }
    let strip = |tag: &[u8]| -> usize { if weak && tag.starts_with(b"W/") { 2 } else { 0 } };
    let ours = &etag[strip(etag)..];
    tags(list).any(|tag| &tag[strip(tag)..] == ours)
}

/// The tags of a list; a comma inside quotes belongs to its tag.
fn tags(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    list.split(move |&byte| {
        quoted ^= byte == b'"';
        byte == b',' && !quoted
    })
    .map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_strongly_or_weakly() {
        for (list, etag, weak, want) in [
            (&b"*"[..], &b""[..], false, true),
            (b"\"a\"", b"", false, false),
            (b"\"a\"", b"\"a\"", false, true),
            (b"\"b\", \"a\"", b"\"a\"", false, true),
            (b"\"b\" ,\"c\"", b"\"a\"", false, false),
            (b"W/\"a\"", b"\"a\"", false, false),
            (b"W/\"a\"", b"\"a\"", true, true),
            (b"\"a\"", b"W/\"a\"", true, true),
            (b"\"a,b\"", b"\"a,b\"", false, true),
            (b"\"ab\"", b"\"a\"", true, false),
            (b"", b"\"a\"", true, false),
        ] {
            assert_eq!(
                names_etag(list, etag, weak),
                want,
                "{}",
                list.escape_ascii()
            );
        }
    }

    #[test]
    fn dates_are_compared_by_the_rule() {
        let date = b"Thu, 01 Jan 1970 00:01:00 GMT";
        for (rule, at, want) in [
            (IfModifiedSince::Off, 60, true),
            (IfModifiedSince::Exact, 60, false),
            (IfModifiedSince::Exact, 59, true),
            (IfModifiedSince::Before, 60, false),
            (IfModifiedSince::Before, 59, false),
            (IfModifiedSince::Before, 61, true),
        ] {
            assert_eq!(is_modified(date, Some(at), rule), want, "{rule:?} {at}");
        }
        assert!(is_modified(date, None, IfModifiedSince::Before));
        assert!(is_modified(b"yesterday", Some(60), IfModifiedSince::Before));
    }
}
