//! The request body: read whole (memory, then a temporary file) before an upstream is asked, or handed on as it
//! arrives.

use std::io;
use std::os::unix::ffi::OsStrExt;

use super::debug::debug;
use super::exchange::{BodyFile, Exchange, RequestBody};
use super::flow::Flow;
use super::local::Cx;
use super::log;
use crate::front::{BodyLength, BodyRead, ClientFault};
use crate::net::file::{self, File};
use crate::plan::model::{BodyInFile, LogLevel, TempPath};

/// Bytes written to a temporary file at a time.
const WRITE_BYTES: usize = 32 << 10;

/// Whether nothing is left to read, write or answer before the request can be passed on: the common case of a request
/// without a body, told without a wait.
pub fn is_complete(ex: &Exchange, cx: Cx<'_>) -> bool {
    let core = &cx.location(ex.location).settings.core;
    !matches!(ex.body, RequestBody::Unread)
        || (ex.stream.body_length() == BodyLength::None
            && (core.client_body_in_file_only == BodyInFile::Off
                || ex.head.content_length.is_none())
            && !ex.stream.owes_continue())
}

/// Reads the whole body into `ex.body`. `Next` when it is there; bodies of known length were measured before.
pub async fn read_all(ex: &mut Exchange, cx: Cx<'_>) -> Flow {
    if !matches!(ex.body, RequestBody::Unread) {
        return Flow::Next;
    }
    let core = &cx.location(ex.location).settings.core;
    let in_file = core.client_body_in_file_only != BodyInFile::Off;
    let length = match ex.stream.body_length() {
        // Without a body there is no file, but for one that was announced to be empty.
        BodyLength::None if !in_file || ex.head.content_length.is_none() => {
            let within = core.send_timeout;
            return match ex.stream.send_continue(within, &cx.local.buffers).await {
                Ok(()) => Flow::Next,
                Err(fault) => client_fault(ex, cx, fault),
            };
        }
        BodyLength::None => 0,
        BodyLength::Known(length) => length,
        BodyLength::Chunked => 0,
    };
    ex.stream.expect_all();
    let memory_max = core.client_body_buffer_size;
    if in_file || length > memory_max as u64 {
        return to_file(ex, cx, Vec::new()).await;
    }
    // As much as it has, and the byte of room that tells that this was all.
    let mut memory = cx.local.buffers.take(length as usize + 1);
    loop {
        match ex
            .stream
            .read_body(&mut memory, core.client_body_timeout, &cx.local.buffers)
            .await
        {
            Ok(BodyRead::End) => break,
            Ok(BodyRead::Data(_)) if too_large(ex, cx, memory.len() as u64) => {
                return refuse(ex, cx, memory);
            }
            Ok(BodyRead::Data(_)) if memory.len() > memory_max => {
                return to_file(ex, cx, memory).await;
            }
            Ok(BodyRead::Data(_)) => {}
            Err(fault) => {
                cx.local.buffers.give(memory);
                return client_fault(ex, cx, fault);
            }
        }
    }
    ex.request_length += ex.stream.body_received();
    debug!(
        ex,
        cx,
        "http client request body: {} bytes in memory",
        memory.len()
    );
    ex.body = RequestBody::Memory(memory);
    Flow::Next
}

/// Goes on in a temporary file; `pending` is what was read so far.
async fn to_file(ex: &mut Exchange, cx: Cx<'_>, pending: Vec<u8>) -> Flow {
    let core = &cx.location(ex.location).settings.core;
    let temp = &core.client_body_temp_path;
    let mode = core.client_body_in_file_only;
    let named = mode != BodyInFile::Off;
    let mut path = Vec::new();
    let created = if named {
        create(temp, &mut path, cx)
    } else {
        file::temporary(temp.path.as_os_str().as_bytes())
    };
    let file = match created {
        Ok(file) => file,
        Err(error) => {
            let text = format_args!(
                "client request body: temporary file in \"{}\" failed ({})",
                temp.path.display(),
                log::Errno(&error)
            );
            log::error(ex, cx, LogLevel::Crit, text);
            return Flow::Error(500);
        }
    };
    // What was asked for is worth less noise than what a small buffer causes.
    let level = if named {
        LogLevel::Notice
    } else {
        LogLevel::Warn
    };
    let text = format_args!(
        "a client request body is buffered to a temporary file {}",
        log::Text(&path)
    );
    log::error(ex, cx, level, text);
    let mut buf = pending;
    let mut length = 0u64;
    loop {
        let read = ex
            .stream
            .read_body(&mut buf, core.client_body_timeout, &cx.local.buffers)
            .await;
        let end = match read {
            Ok(BodyRead::End) => true,
            Ok(BodyRead::Data(_)) => false,
            Err(fault) => {
                cx.local.buffers.give(buf);
                return client_fault(ex, cx, fault);
            }
        };
        if too_large(ex, cx, length + buf.len() as u64) {
            return refuse(ex, cx, buf);
        }
        if buf.len() >= WRITE_BYTES || (end && !buf.is_empty()) {
            let len = buf.len() as u64;
            let (result, back) = file.write_all_at(buf, length).await;
            buf = back;
            if let Err(error) = result {
                log::error(
                    ex,
                    cx,
                    LogLevel::Crit,
                    format_args!("client request body: write() failed ({error})"),
                );
                cx.local.buffers.give(buf);
                return Flow::Error(500);
            }
            length += len;
            buf.clear();
        }
        if end {
            break;
        }
    }
    cx.local.buffers.give(buf);
    ex.request_length += length;
    ex.body = RequestBody::File(Box::new(BodyFile {
        file,
        length,
        path,
        removed: mode == BodyInFile::Clean,
    }));
    Flow::Next
}

/// Creates a file with a name of ten digits in the hashed directories of `client_body_temp_path`.
fn create(temp: &TempPath, path: &mut Vec<u8>, cx: Cx<'_>) -> io::Result<File> {
    const TRIES: usize = 16;
    let depth = temp.levels.iter().filter(|&&level| level != 0).count();
    let mut result = Err(io::ErrorKind::AlreadyExists.into());
    for _ in 0..TRIES {
        let name = format!("{:010}", cx.local.random() % 10_000_000_000);
        path.clear();
        path.extend_from_slice(temp.path.as_os_str().as_bytes());
        let mut end = name.len();
        for level in temp.levels.iter().map(|&level| usize::from(level)) {
            if level == 0 {
                break;
            }
            path.push(b'/');
            path.extend_from_slice(&name.as_bytes()[end - level..end]);
            end -= level;
        }
        path.push(b'/');
        path.extend_from_slice(name.as_bytes());
        result = file::create(path, depth);
        match &result {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            _ => break,
        }
    }
    result
}

/// Whether a body of unknown length has passed `client_max_body_size`.
pub fn too_large(ex: &Exchange, cx: Cx<'_>, length: u64) -> bool {
    let max = cx.location(ex.location).settings.core.client_max_body_size;
    max != 0 && length > max
}

/// Whether what has come of an unread body breaks its framing, found out before anything is answered. What has come
/// is thrown away: an answer that is ready has no use for it.
pub fn is_malformed(ex: &mut Exchange, cx: Cx<'_>) -> bool {
    if ex.close || !matches!(ex.body, RequestBody::Unread) || ex.stream.body_done() {
        return false;
    }
    let mut sink = cx.local.buffers.take(1);
    let result = ex.stream.take_here(&mut sink);
    cx.local.buffers.give(sink);
    match result {
        Err(fault @ ClientFault::Framing(_)) => {
            client_fault(ex, cx, fault);
            true
        }
        _ => false,
    }
}

/// A body of unknown length turned out too large: 413.
pub fn refuse(ex: &mut Exchange, cx: Cx<'_>, buf: Vec<u8>) -> Flow {
    let length = buf.len();
    cx.local.buffers.give(buf);
    log::error(
        ex,
        cx,
        LogLevel::Error,
        format_args!("client intended to send too large chunked body: {length} bytes"),
    );
    Flow::Error(413)
}

/// What a client's fault means for its request.
pub fn client_fault(ex: &mut Exchange, cx: Cx<'_>, fault: ClientFault) -> Flow {
    ex.close = true;
    match fault {
        ClientFault::Gone => {
            log::error(
                ex,
                cx,
                LogLevel::Info,
                format_args!("client prematurely closed connection"),
            );
            ex.response.status = 400;
            Flow::Close
        }
        ClientFault::TimedOut => {
            log::error(
                ex,
                cx,
                LogLevel::Info,
                format_args!("client timed out (110: Connection timed out)"),
            );
            ex.client_timed_out = true;
            ex.response.status = 408;
            Flow::Close
        }
        ClientFault::Framing(_) => {
            log::error(
                ex,
                cx,
                LogLevel::Error,
                format_args!("client sent invalid chunked body"),
            );
            Flow::Error(400)
        }
    }
}
