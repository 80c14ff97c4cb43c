//! Variable families: fields of requests and responses, cookies, arguments.

use std::io::Write as _;

use crate::base::time;
use crate::http::exchange::{Body, Exchange};
use crate::http::local::Cx;
use crate::plan::FamilyName;
use crate::plan::expr::Family;
use crate::proto::head::{Fields, Version};
use crate::proto::tokens::Token;
use crate::proto::uri;

/// Appends the value of a member; false when there is none.
pub(super) fn value(
    family: Family,
    name: &FamilyName,
    ex: &mut Exchange,
    cx: Cx<'_>,
    out: &mut Vec<u8>,
) -> bool {
    match family {
        Family::Http => fields(&ex.head.fields, name, out),
        Family::SentHttp => sent(name, ex, cx, out),
        Family::SentTrailer => ex
            .response
            .trailers
            .as_deref()
            .is_some_and(|trailers| fields(trailers, name, out)),
        Family::UpstreamHttp => fields(&ex.upstream_fields, name, out),
        Family::UpstreamTrailer => ex
            .upstream_trailers
            .as_deref()
            .is_some_and(|trailers| fields(trailers, name, out)),
        Family::UpstreamCookie => put(set_cookie(&ex.upstream_fields, &name.name), out),
        Family::Cookie => put(cookie(&ex.head.fields, &name.name), out),
        Family::Arg => put(uri::arg(&ex.args, &name.name), out),
        Family::ProxyProtocolTlv => tlv(ex, &name.name, out),
    }
}

/// Appends a value if there is one.
fn put(value: Option<&[u8]>, out: &mut Vec<u8>) -> bool {
    let Some(value) = value else {
        return false;
    };
    out.extend_from_slice(value);
    true
}

/// Appends all values of a field, joined; cookies by `; `, others by `, `.
fn fields(fields: &Fields, name: &FamilyName, out: &mut Vec<u8>) -> bool {
    let separator: &[u8] = if name.token == Token::COOKIE {
        b"; "
    } else {
        b", "
    };
    if name.token.is_known() {
        return join(fields.get_all(name.token), separator, out);
    }
    let matching = fields
        .iter()
        .filter(|field| !field.token.is_known() && is_named(field.name, &name.name))
        .map(|field| field.value);
    join(matching, separator, out)
}

/// Appends values with a separator between them; false when there are none.
pub(super) fn join<'a>(
    values: impl Iterator<Item = &'a [u8]>,
    separator: &[u8],
    out: &mut Vec<u8>,
) -> bool {
    let mut found = false;
    for value in values {
        if found {
            out.extend_from_slice(separator);
        }
        out.extend_from_slice(value);
        found = true;
    }
    found
}

/// Whether a field's name is the variable's: in any case, dashes as underscores.
fn is_named(field: &[u8], variable: &[u8]) -> bool {
    field.len() == variable.len()
        && field.iter().zip(variable).all(|(&a, &b)| match a {
            b'-' => b == b'_',
            _ => a.to_ascii_lowercase() == b,
        })
}

/// Fields of the response, those that the encoder writes by itself included.
fn sent(name: &FamilyName, ex: &Exchange, cx: Cx<'_>, out: &mut Vec<u8>) -> bool {
    let response = &ex.response;
    match name.token {
        Token::CONTENT_TYPE if !response.content_type.is_empty() => {
            put(Some(&response.content_type), out)
        }
        Token::CONTENT_LENGTH => match response.content_length {
            Some(length) => put(Some(itoa::Buffer::new().format(length).as_bytes()), out),
            None => false,
        },
        Token::LOCATION if !response.location.is_empty() => put(Some(&response.location), out),
        Token::LAST_MODIFIED if response.last_modified.is_some() => {
            let date = response.last_modified.map(time::http_date);
            put(date.as_ref().map(|date| &date[..]), out)
        }
        Token::ETAG if !response.etag.is_empty() => put(Some(&response.etag), out),
        Token::CONNECTION => {
            let text: &[u8] = if response.status == 101 {
                b"upgrade"
            } else if keeps_alive(ex) {
                b"keep-alive"
            } else {
                b"close"
            };
            put(Some(text), out)
        }
        Token::KEEP_ALIVE => {
            let header = cx
                .location(ex.location)
                .settings
                .core
                .keepalive_timeout
                .header;
            match header {
                Some(timeout) if keeps_alive(ex) => {
                    // Writing to a Vec cannot fail.
                    let _ = write!(out, "timeout={}", timeout.as_secs());
                    true
                }
                _ => false,
            }
        }
        Token::TRANSFER_ENCODING => {
            let chunked = response.content_length.is_none()
                && !matches!(response.body, Body::Empty | Body::Tunnel(_))
                && ex.head.version == Version::Http11
                && cx
                    .location(ex.location)
                    .settings
                    .core
                    .chunked_transfer_encoding;
            chunked && put(Some(b"chunked"), out)
        }
        _ => fields(&response.fields, name, out),
    }
}

/// Whether the connection will live on.
fn keeps_alive(ex: &Exchange) -> bool {
    !ex.close && ex.stream.keeps_alive()
}

/// The value of a request cookie; its name in any case, as nginx looks for it.
#[must_use]
pub fn cookie<'a>(fields: &'a Fields, name: &[u8]) -> Option<&'a [u8]> {
    fields
        .get_all(Token::COOKIE)
        .flat_map(|line| line.split(|&b| b == b';'))
        .find_map(|pair| named(pair, name))
}

/// The value of the first cookie of this name that the upstream sets, without its attributes.
fn set_cookie<'a>(fields: &'a Fields, name: &[u8]) -> Option<&'a [u8]> {
    fields
        .get_all(Token::SET_COOKIE)
        .find_map(|line| named(line.split(|&b| b == b';').next()?, name))
}

/// The value of a `name=value` pair of this name. Only spaces may stand around the parts, as in nginx.
fn named<'a>(pair: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = trim(pair).split_at_checked(name.len())?;
    if !head.eq_ignore_ascii_case(name) {
        return None;
    }
    Some(trim(trim(rest).strip_prefix(b"=")?))
}

/// Without the spaces that it begins with.
fn trim(text: &[u8]) -> &[u8] {
    let spaces = text.iter().take_while(|&&b| b == b' ').count();
    &text[spaces..]
}

/// Appends a value of the PROXY protocol header.
fn tlv(ex: &Exchange, name: &[u8], out: &mut Vec<u8>) -> bool {
    let facts = ex.conn.proxy.as_ref();
    put(
        facts
            .and_then(|facts| facts.header.tlv_named(name))
            .as_deref(),
        out,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_found() {
        let mut fields = Fields::new();
        fields.push(b"Cookie", b"a=1; b = 2;c=; A2=x");
        fields.push(b"Cookie", b"d=4; t\t=5");
        for (name, want) in [
            (&b"a"[..], Some(&b"1"[..])),
            (b"A", Some(b"1")),
            (b"b", Some(b"2")),
            (b"c", Some(b"")),
            (b"d", Some(b"4")),
            (b"a2", Some(b"x")),
            (b"e", None),
            (b"t", None),
        ] {
            assert_eq!(cookie(&fields, name), want, "{}", name.escape_ascii());
        }
    }

    #[test]
    fn field_names_match_with_dashes() {
        assert!(is_named(b"X-Own-Field", b"x_own_field"));
        assert!(is_named(b"X_Own", b"x_own"));
        assert!(!is_named(b"X-Own", b"x_ow"));
        assert!(!is_named(b"X.Own", b"x_own"));
    }
}
