//! `auth_basic`: a user and a password, looked up in a file that is read anew for each request, as in nginx, so that
//! a change counts at once. Slow hashes are computed beside the shard.
//!
//! Differs from nginx: a user name never matches across a line's end, and a password with a NUL matches nothing.

use std::io;
use std::time::Duration;

use super::super::exchange::Exchange;
use super::super::local::Cx;
use super::super::log::{self, Errno, Text};
use super::super::{pace, vars};
use super::Verdict;
use crate::base::{base64, password};
use crate::net::{file, offload};
use crate::plan::access::BasicPlan;
use crate::plan::model::LogLevel;
use crate::proto::tokens::Token;

/// Bytes of a user file that are read at a time.
const READ_BYTES: usize = 4096;

/// The longest hash of a user file; what is longer matches nothing.
const STORED_BYTES_MAX: usize = 1024;

/// How often a check that found no place looks for one.
const LOOK: Duration = Duration::from_millis(20);

/// Looks until a check gives up: ten seconds.
const LOOKS_MAX: u32 = 500;

/// Asks for a user and a password.
pub async fn check(ex: &mut Exchange, cx: Cx<'_>, plan: &BasicPlan) -> Verdict {
    let mut realm = cx.local.buffers.take(64);
    vars::eval(&plan.realm, ex, cx, &mut realm);
    let verdict = if realm == b"off" {
        Verdict::Silent
    } else {
        let mut given = cx.local.buffers.take(128);
        let verdict = authenticate(ex, cx, plan, &mut given).await;
        // What others find in a pooled buffer is never a password.
        given.fill(0);
        cx.local.buffers.give(given);
        verdict
    };
    if verdict == Verdict::Denied(401) {
        challenge(ex, cx, &realm);
    }
    cx.local.buffers.give(realm);
    verdict
}

/// `WWW-Authenticate`, so that a browser asks its user.
fn challenge(ex: &mut Exchange, cx: Cx<'_>, realm: &[u8]) {
    let mut value = cx.local.buffers.take(64);
    value.extend_from_slice(b"Basic realm=\"");
    value.extend_from_slice(realm);
    value.push(b'"');
    ex.response.fields.set(Token::WWW_AUTHENTICATE, &value);
    cx.local.buffers.give(value);
}

/// Decodes what the client gave, finds the user, and compares.
async fn authenticate(
    ex: &mut Exchange,
    cx: Cx<'_>,
    plan: &BasicPlan,
    given: &mut Vec<u8>,
) -> Verdict {
    let Some(end) = credentials(ex, given) else {
        let text = format_args!("no user/password was provided for basic authentication");
        log::error(ex, cx, LogLevel::Info, text);
        return Verdict::Denied(401);
    };
    let (user, secret) = (&given[..end], &given[end + 1..]);
    let mut path = cx.local.buffers.take(128);
    vars::eval(&plan.file, ex, cx, &mut path);
    if path.first() != Some(&b'/') {
        path.splice(..0, plan.folder.iter().copied());
    }
    let found = look_up(&path, user, cx).await;
    let verdict = match found {
        Ok(Some(stored)) => compare(ex, cx, user, secret, stored).await,
        Ok(None) => {
            let (user, path) = (Text(user), Text(&path));
            let text = format_args!("user \"{user}\" was not found in \"{path}\"");
            log::error(ex, cx, LogLevel::Error, text);
            Verdict::Denied(401)
        }
        Err(fault) => unreadable(ex, cx, &path, &fault),
    };
    cx.local.buffers.give(path);
    verdict
}

/// Appends `user:password` of a Basic `Authorization`; where the colon is. None when there is no user.
fn credentials(ex: &Exchange, out: &mut Vec<u8>) -> Option<usize> {
    let value = ex.head.fields.get(Token::AUTHORIZATION)?;
    let (scheme, rest) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    base64::decode(rest.trim_ascii_start(), out)?;
    memchr::memchr(b':', out).filter(|&end| end > 0)
}

/// The user file could not be opened or read.
struct Fault {
    call: &'static str,
    error: io::Error,
}

fn unreadable(ex: &Exchange, cx: Cx<'_>, path: &[u8], fault: &Fault) -> Verdict {
    let Fault { call, error } = fault;
    let text = format_args!("{call}() \"{}\" failed ({})", Text(path), Errno(error));
    if error.kind() == io::ErrorKind::NotFound {
        log::error(ex, cx, LogLevel::Error, text);
        return Verdict::Denied(403);
    }
    log::error(ex, cx, LogLevel::Crit, text);
    Verdict::Denied(500)
}

/// What a file stores for a user.
async fn look_up(path: &[u8], user: &[u8], cx: Cx<'_>) -> Result<Option<Vec<u8>>, Fault> {
    let fault = |call| move |error| Fault { call, error };
    if memchr::memchr(0, path).is_some() {
        return Err(fault("open")(io::ErrorKind::InvalidInput.into()));
    }
    let file = file::open(path).await.map_err(fault("open"))?;
    let mut search = Search::new(user);
    let mut offset = 0;
    loop {
        let buf = cx.local.buffers.take(READ_BYTES);
        let (result, buf) = file.read_at(buf, offset, READ_BYTES).await;
        let found = search.feed(&buf);
        cx.local.buffers.give(buf);
        let n = result.map_err(fault("pread"))?;
        offset += n as u64;
        if found || n == 0 {
            return Ok(search.end());
        }
    }
}

/// Looks for a user in a file that comes in pieces.
struct Search<'a> {
    user: &'a [u8],
    state: State,
    stored: Vec<u8>,
}

enum State {
    /// So many bytes of a line's beginning are the user's.
    Name(usize),
    /// The line is not the user's.
    Skip,
    /// Behind the user's colon.
    Stored,
    Found,
}

impl<'a> Search<'a> {
    fn new(user: &'a [u8]) -> Self {
        Self {
            user,
            state: State::Name(0),
            stored: Vec::new(),
        }
    }

    /// Takes the next piece; true when nothing more is needed.
    fn feed(&mut self, piece: &[u8]) -> bool {
        for &byte in piece {
            self.state = match (&self.state, byte) {
                (State::Stored, b'\n' | b'\r' | b':') | (State::Found, _) => {
                    self.state = State::Found;
                    return true;
                }
                (State::Name(_) | State::Skip, b'\n') => State::Name(0),
                (State::Name(0), b'#' | b'\r') | (State::Skip, _) => State::Skip,
                (State::Name(n), _) => match self.user.get(*n) {
                    Some(&wanted) if wanted == byte => State::Name(n + 1),
                    None if byte == b':' => State::Stored,
                    _ => State::Skip,
                },
                (State::Stored, _) => {
                    // One byte too many is kept, so that it cannot match.
                    if self.stored.len() <= STORED_BYTES_MAX {
                        self.stored.push(byte);
                    }
                    State::Stored
                }
            };
        }
        false
    }

    /// The hash, if the user was there.
    fn end(self) -> Option<Vec<u8>> {
        matches!(self.state, State::Stored | State::Found).then_some(self.stored)
    }
}

/// Compares a password with what the file stores; the slow way unless the same was right before.
async fn compare(
    ex: &Exchange,
    cx: Cx<'_>,
    user: &[u8],
    secret: &[u8],
    stored: Vec<u8>,
) -> Verdict {
    let right = if stored.len() > STORED_BYTES_MAX {
        Ok(false)
    } else if password::is_slow(&stored) {
        slowly(ex, cx, user, secret, stored).await
    } else {
        Ok(password::matches(secret, &stored))
    };
    match right {
        Ok(true) => Verdict::Granted,
        Ok(false) => {
            let text = format_args!("user \"{}\": password mismatch", Text(user));
            log::error(ex, cx, LogLevel::Error, text);
            Verdict::Denied(401)
        }
        Err(verdict) => verdict,
    }
}

/// Compares beside the shard. One that finds no place waits for it, and for as long as its client does.
async fn slowly(
    ex: &Exchange,
    cx: Cx<'_>,
    user: &[u8],
    secret: &[u8],
    stored: Vec<u8>,
) -> Result<bool, Verdict> {
    let verified = &cx.local.verified;
    let proof = verified.proof(user, secret, &stored);
    for _ in 0..LOOKS_MAX {
        if verified.knows(&proof, cx.local.clock.mono()) {
            return Ok(true);
        }
        if let Some(_running) = verified.begin(proof) {
            let (secret, stored) = (secret.to_vec(), stored.clone());
            match offload::compute(move || password::matches(&secret, &stored)).await {
                Ok(right) => {
                    if right {
                        verified.remember(proof, cx.local.clock.mono());
                    }
                    return Ok(right);
                }
                // Other shards have filled the queue.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    let text = format_args!("a password could not be checked ({error})");
                    log::error(ex, cx, LogLevel::Crit, text);
                    return Err(Verdict::Denied(500));
                }
            }
        }
        if pace::wait_for(LOOK, &ex.stream).await.is_err() {
            return Err(Verdict::Denied(499));
        }
    }
    let text = format_args!("too many passwords wait for being checked");
    log::error(ex, cx, LogLevel::Error, text);
    Err(Verdict::Denied(503))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &[u8] = b"# comment:x\n\n\r\nann:one\nbob:two:a comment\r\ncarl:three\r\nann:second\nempty:\n an:no\ndora\ndora:four";

    fn find(file: &[u8], user: &[u8], piece: usize) -> Option<Vec<u8>> {
        let mut search = Search::new(user);
        for piece in file.chunks(piece) {
            if search.feed(piece) {
                break;
            }
        }
        search.end()
    }

    #[test]
    fn users_are_found_however_the_file_comes() {
        let cases: &[(&[u8], Option<&[u8]>)] = &[
            (b"ann", Some(b"one")),
            (b"bob", Some(b"two")),
            (b"carl", Some(b"three")),
            (b"empty", Some(b"")),
            (b"dora", Some(b"four")),
            (b"an", None),
            (b"annn", None),
            (b"# comment", None),
            (b"#", None),
            (b"a comment", None),
            (b"dora\ndora", None),
            (b"\ndora", None),
            (b"x", None),
        ];
        for (user, expected) in cases {
            for piece in [1, 2, 3, 7, 1000] {
                let found = find(FILE, user, piece);
                assert_eq!(found.as_deref(), *expected, "{}", user.escape_ascii());
            }
        }
        assert_eq!(find(b"", b"ann", 1), None);
    }

    #[test]
    fn a_line_without_end_is_bounded() {
        let file = [&b"ann:"[..], &[b'x'; 100_000]].concat();
        let stored = find(&file, b"ann", 4096).expect("the user is there");
        assert_eq!(stored.len(), STORED_BYTES_MAX + 1);
    }
}
