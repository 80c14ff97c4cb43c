//! The normal form of a request path: decoded once, dot segments resolved, slashes merged. Rules match only this form.
//! Start at [`normalize`].

use crate::base::escape::{Unescape, hex_value, unescape};

/// The path cannot be normalised: a bad or `%00` escape, or `..` above the root. 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidPath;

/// The end of what is written, as the next byte sees it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tail {
    /// Inside a segment that is not only dots.
    Usual,
    /// Behind a slash.
    Slash,
    /// A segment that is `.` so far.
    Dot,
    /// A segment that is `..` so far.
    DotDot,
}

/// Appends the normal form of `path` (no `?` or `#` inside) to `out` exactly as nginx computes `$uri`. An empty path is `/`.
/// On an error `out` is as long as before.
pub fn normalize(path: &[u8], merge_slashes: bool, out: &mut Vec<u8>) -> Result<(), InvalidPath> {
    let start = out.len();
    let result = write(path, merge_slashes, start, out);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

fn write(
    path: &[u8],
    merge_slashes: bool,
    start: usize,
    out: &mut Vec<u8>,
) -> Result<(), InvalidPath> {
    if path.is_empty() {
        out.push(b'/');
        return Ok(());
    }
    let mut tail = Tail::Usual;
    let mut i = 0;
    while let Some(&byte) = path.get(i) {
        i += 1;
        let mut byte = byte;
        if byte == b'%' {
            byte = match path.get(i..i + 2) {
                Some(&[high, low]) => decode(high, low)?,
                _ => return Err(InvalidPath),
            };
            i += 2;
            // These would start something new if they were raw; escaped they are plain text.
            if matches!(byte, b'%' | b'#' | b'?') {
                out.push(byte);
                tail = Tail::Usual;
                continue;
            }
        }
        tail = match (byte, tail) {
            (b'/', Tail::Slash) => {
                if !merge_slashes {
                    out.push(byte);
                }
                Tail::Slash
            }
            (b'/', Tail::Dot) => {
                out.pop();
                Tail::Slash
            }
            (b'/', Tail::DotDot) => {
                parent(start, out)?;
                Tail::Slash
            }
            (b'/', Tail::Usual) => {
                out.push(byte);
                Tail::Slash
            }
            (b'.', Tail::Slash) => {
                out.push(byte);
                Tail::Dot
            }
            (b'.', Tail::Dot) => {
                out.push(byte);
                Tail::DotDot
            }
            _ => {
                out.push(byte);
                Tail::Usual
            }
        };
    }
    match tail {
        Tail::Dot => drop(out.pop()),
        Tail::DotDot => parent(start, out)?,
        _ => {}
    }
    Ok(())
}

fn decode(high: u8, low: u8) -> Result<u8, InvalidPath> {
    match (hex_value(high), hex_value(low)) {
        (Some(0), Some(0)) => Err(InvalidPath),
        (Some(high), Some(low)) => Ok(high << 4 | low),
        _ => Err(InvalidPath),
    }
}

/// Drops `segment/..` behind the last slash that stays.
fn parent(start: usize, out: &mut Vec<u8>) -> Result<(), InvalidPath> {
    // Without the two dots, what is written ends in the slash before them.
    let dots = out.len() - 2;
    let before = out[start..dots].len().checked_sub(1).ok_or(InvalidPath)?;
    let slash = memchr::memrchr(b'/', &out[start..start + before]).ok_or(InvalidPath)?;
    out.truncate(start + slash + 1);
    Ok(())
}

/// The file extension of a normal path without its dot, or empty. A dot right behind a slash begins a hidden file's name.
pub fn extension(path: &[u8]) -> &[u8] {
    let name = memchr::memrchr(b'/', path).map_or(path, |slash| &path[slash + 1..]);
    match memchr::memrchr(b'.', name) {
        Some(dot) if dot > 0 => &name[dot + 1..],
        _ => b"",
    }
}

/// The value of argument `name` (in any case) in a query string, as `$arg_name` finds it. Values are not decoded.
pub fn arg<'a>(args: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    if name.is_empty() {
        return None;
    }
    args.split(|&b| b == b'&').find_map(|pair| {
        let (key, value) = pair.split_at_checked(name.len())?;
        let value = value.strip_prefix(b"=")?;
        key.eq_ignore_ascii_case(name).then_some(value)
    })
}

/// Splits at the first `?`.
pub fn split_args(uri: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'?', uri) {
        Some(at) => (&uri[..at], Some(&uri[at + 1..])),
        None => (uri, None),
    }
}

/// An internal target (`X-Accel-Redirect` and the like) as path and arguments, the path unescaped; `None` when it is unsafe:
/// empty, with NUL, or climbing with `..`, raw or escaped.
pub fn parse_unsafe(uri: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    if matches!(uri.first(), None | Some(b'?')) {
        return None;
    }
    let (path, args) = split_args(uri);
    // nginx looks at raw `/..` in the whole text until the question mark, then again in the decoded path.
    if climbs(path) {
        return None;
    }
    let mut decoded = Vec::with_capacity(path.len());
    unescape(&mut decoded, path, Unescape::All);
    if climbs(&decoded) {
        return None;
    }
    Some((decoded, args.unwrap_or_default().to_vec()))
}

/// True with NUL or a `..` segment.
fn climbs(path: &[u8]) -> bool {
    path.contains(&0) || path.split(|&b| b == b'/').any(|segment| segment == b"..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(path: &str, merge: bool) -> Option<String> {
        let mut out = b"kept".to_vec();
        let result = normalize(path.as_bytes(), merge, &mut out);
        assert_eq!(&out[..4], b"kept");
        match result {
            Ok(()) => Some(String::from_utf8_lossy(&out[4..]).into_owned()),
            Err(InvalidPath) => {
                assert_eq!(out.len(), 4);
                None
            }
        }
    }

    #[test]
    fn normal_forms() {
        for (path, expected) in [
            ("", Some("/")),
            ("/", Some("/")),
            ("/a/b", Some("/a/b")),
            ("/a//b", Some("/a/b")),
            ("///", Some("/")),
            ("/a/./b", Some("/a/b")),
            ("/a/.", Some("/a/")),
            ("/a/..", Some("/")),
            ("/a/../", Some("/")),
            ("/a/b/../c", Some("/a/c")),
            ("/a/b/../../c", Some("/c")),
            ("/..", None),
            ("/../a", None),
            ("/a/../../b", None),
            ("/a/%2e%2e/b", Some("/b")),
            ("/a/.%2e/b", Some("/b")),
            ("/a/%2e./%2e%2e", None),
            ("/a%2fb", Some("/a/b")),
            ("/a%2F%2fb", Some("/a/b")),
            ("/a/..%2fb", Some("/b")),
            ("/%2e", Some("/")),
            ("/%25", Some("/%")),
            ("/%252e%252e/", Some("/%2e%2e/")),
            ("/%23%3f", Some("/#?")),
            ("/.%25", Some("/.%")),
            ("/%00", None),
            ("/a%0", None),
            ("/a%", None),
            ("/a%zz", None),
            ("/%2", None),
            ("/...", Some("/...")),
            ("/a/.../b", Some("/a/.../b")),
            ("/.a/..b/c", Some("/.a/..b/c")),
            ("/a/.b/../c", Some("/a/c")),
            ("/a+b%2b", Some("/a+b+")),
            ("/%0d%0a", Some("/\r\n")),
            ("/a/..;/b", Some("/a/..;/b")),
            ("/a/.;/b", Some("/a/.;/b")),
            ("/strip/a%2Fb//c/../d%20e", Some("/strip/a/b/d e")),
        ] {
            assert_eq!(normal(path, true).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn slashes_stay_without_merging() {
        for (path, expected) in [
            ("/a//b", Some("/a//b")),
            ("//", Some("//")),
            ("/a//../b", Some("/a/b")),
            ("//..", Some("/")),
            ("/a//.", Some("/a//")),
        ] {
            assert_eq!(normal(path, false).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn normal_forms_hold_their_promises() {
        let mut rng = crate::base::rng::Rng::new(11);
        let parts = [
            "/", "/", ".", "..", "%2e", "%2F", "%25", "a", "b", "%41", "+", "%3f", ";",
        ];
        for _ in 0..200_000 {
            let mut path = String::from("/");
            (0..rng.below(12)).for_each(|_| path.push_str(parts[rng.below(13) as usize]));
            for merge in [true, false] {
                let Some(normal) = normal(&path, merge) else {
                    continue;
                };
                assert!(normal.starts_with('/'), "{path} {normal}");
                assert!(
                    normal.split('/').all(|s| s != "." && s != ".."),
                    "{path} {normal}"
                );
                assert!(!merge || !normal.contains("//"), "{path} {normal}");
                assert!(normal.len() <= path.len(), "{path} {normal}");
            }
        }
    }

    #[test]
    fn extensions_and_arguments() {
        for (path, ext) in [
            ("/a.html", "html"),
            ("/a.b/c", ""),
            ("/.htaccess", ""),
            ("/a.tar.gz", "gz"),
            ("/a.", ""),
            ("/.a.b", "b"),
            ("/", ""),
        ] {
            assert_eq!(extension(path.as_bytes()), ext.as_bytes(), "{path}");
        }
        for (args, name, value) in [
            ("a=1&b=2", "b", Some("2")),
            ("a=1&B=2", "b", Some("2")),
            ("ab=1&b=2", "b", Some("2")),
            ("b", "b", None),
            ("b=", "b", Some("")),
            ("b=1&b=2", "b", Some("1")),
            ("", "b", None),
            ("xb=1", "b", None),
            ("b=%20=x", "b", Some("%20=x")),
        ] {
            assert_eq!(
                arg(args.as_bytes(), name.as_bytes()),
                value.map(str::as_bytes),
                "{args}"
            );
        }
    }

    #[test]
    fn unsafe_targets() {
        for (uri, expected) in [
            ("/a%20b?x=%20", Some(("/a b", "x=%20"))),
            ("a", Some(("a", ""))),
            ("/..a", Some(("/..a", ""))),
            ("/a?/../b", Some(("/a", "/../b"))),
            ("", None),
            ("?a", None),
            ("..", None),
            ("../a", None),
            ("/a/../b", None),
            ("/a/..", None),
            ("/a/%2e%2e/b", None),
            ("%2e%2e/b", None),
            ("/a%00", None),
        ] {
            let expected = expected.map(|(p, a)| (p.as_bytes().to_vec(), a.as_bytes().to_vec()));
            assert_eq!(parse_unsafe(uri.as_bytes()), expected, "{uri}");
        }
    }
}
