//! The normal form of a request path: decoded once, dot segments resolved, slashes merged. Rules match only this form.
//! Start at [`normalize`].

/// The path cannot be normalised: a bad or `%00` escape, or `..` above the root. 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidPath;

/// Appends the normal form of `path` (no `?` or `#` inside) to `out` exactly as nginx computes `$uri`.
pub fn normalize(path: &[u8], merge_slashes: bool, out: &mut Vec<u8>) -> Result<(), InvalidPath> {
    let _ = merge_slashes;
    out.extend_from_slice(path);
    Ok(())
}

/// The file extension of a normal path without its dot, or empty.
pub fn extension(path: &[u8]) -> &[u8] {
    let _ = path;
    b""
}

/// The value of argument `name` (in any case) in a query string, as `$arg_name` finds it.
pub fn arg<'a>(args: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let _ = (args, name);
    None
}

/// Splits at the first `?`.
pub fn split_args(uri: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'?', uri) {
        Some(at) => (&uri[..at], Some(&uri[at + 1..])),
        None => (uri, None),
    }
}

/// An internal target (`X-Accel-Redirect` and the like), taken apart and unescaped where needed; `None` when unsafe.
pub fn parse_unsafe(uri: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (path, args) = split_args(uri);
    Some((path.to_vec(), args.unwrap_or_default().to_vec()))
}
