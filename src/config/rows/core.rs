//! Rows of the http core family: connections, request bodies, redirects, error pages, files, name resolution.

use std::sync::Arc;
use std::time::Duration;

use super::main::checked;
use super::parse_core::*;
use crate::config::lower::{Frame, Lowering};
use crate::config::model::*;
use crate::config::table::ctx::*;
use crate::config::table::{
    Args, Fault, Inherit, Row, Status, args, args_min, args_to, family, row,
};
use crate::config::tree::Directive;
use crate::config::value::*;

family! {
    /// Settings of the http core family.
    pub struct Core in core {
        value connection_pool_size: usize = "512", size, HS, args(1), "Memory is pooled by shard; this only bounds large_client_header_buffers, as in nginx.";
        value client_header_timeout: Duration = "60s", msec, HS, args(1), "How long a client may take to send a request head.";
        value client_header_buffer_size: usize = "1k", size, HS, args(1), "First buffer for a request head.";
        value large_client_header_buffers: Buffers = "4 8k", buffers, HS, args(2), "Number and size of the buffers a long request head may use.";
        value max_headers: u32 = "1000", num32, HS, args(1), "Most fields a request may have.";
        value ignore_invalid_headers: bool = "on", flag, HS, args(1), "Drops fields with invalid names instead of refusing the request.";
        value merge_slashes: bool = "on", flag, HS, args(1), "Makes several slashes one before locations are matched.";
        value underscores_in_headers: bool = "off", flag, HS, args(1), "Allows underscores in field names.";
        gather client_body_early_read: List<Text> = "", texts, HS, args_min(1), "Reads request bodies early while one of the values is neither empty nor 0." accepted "a body is read when the location asks for it";
        value default_type: Arc<[u8]> = "text/plain", bytes, HSL, args(1), "Content type where no extension says otherwise.";
        value client_max_body_size: u64 = "1m", offset, HSL, args(1), "Longest request body; 0 is no limit, more is answered 413.";
        value client_body_buffer_size: usize = "8k", size, HSL, args(1), "Memory for a request body; a longer one goes to a temporary file.";
        value client_body_timeout: Duration = "60s", msec, HSL, args(1), "Longest gap between two reads of a request body.";
        value client_body_temp_path: TempPath = "client_body_temp", temp_path, HSL, args_to(1, 4), "Directory for request bodies that do not fit in memory.";
        value client_body_in_file_only: BodyInFile = "off", |a| one_of(a, BodyInFile::WORDS), HSL, args(1), "Writes every request body to a file.";
        value client_body_in_single_buffer: bool = "off", flag, HSL, args(1), "Keeps a request body in one buffer." accepted "a body in memory always is one buffer";
        value sendfile: bool = "off", flag, HSLI, args(1), "Sends files without copying them through the process.";
        value sendfile_max_chunk: usize = "2m", size, HSL, args(1), "Most bytes that one turn of sendfile may move.";
        value splice: Splicing = "auto", |a| one_of(a, Splicing::WORDS), HSL.or(TTS), args(1), "Whether tunnels and bodies go from socket to socket inside the kernel, buffered ones while the client keeps up: auto where it pays.";
        value output_buffers: Buffers = "2 32k", buffers, HSL, args(2), "Buffers for reading a file that is not sent by sendfile." accepted "files are read into buffers of the shard";
        value tcp_nopush: bool = "off", flag, HSL, args(1), "Sends head and start of a file in one packet." accepted "head and body leave together where they fit";
        value tcp_nodelay: bool = "on", flag, HSL.or(TTS), args(1), "Sends small packets at once on keep-alive connections.";
        value send_timeout: Duration = "60s", msec, HSL, args(1), "Longest gap between two writes to a client.";
        value limit_rate: Option<Amount> = "", some_amount, HSLI, args(1), "Bytes per second towards a client; 0 is no limit.";
        value limit_rate_after: Option<Amount> = "", some_amount, HSLI, args(1), "Bytes sent before the rate limit begins.";
        value keepalive_time: Duration = "1h", msec, HSL, args(1), "Longest life of a client connection.";
        value keepalive_timeout: KeepaliveTimeout = "75s", keepalive_timeout, HSL, args_to(1, 2), "How long an idle client connection is kept.";
        value keepalive_min_timeout: Duration = "0", msec, HSL, args(1), "How long an idle client connection is kept at least while shutting down." accepted "a worker that leaves ends idle connections at once";
        value keepalive_requests: u64 = "1000", num, HSL, args(1), "Most requests of one client connection.";
        mask  keepalive_disable: KeepaliveDisable = "msie6", keepalive_disable, HSL, args_to(1, 2), "Browsers that get no keep-alive.";
        value satisfy: Satisfy = "all", |a| one_of(a, Satisfy::WORDS), HSL, args(1), "Whether every access check must allow a request, or any.";
        value auth_delay: Duration = "0", msec, HSL, args(1), "Delays answers 401.";
        value internal: bool = "off", present, L, args(0), "Only internal redirects reach this location.";
        value lingering_close: LingeringClose = "on", |a| one_of(a, LingeringClose::WORDS), HSL, args(1), "Reads what a client still sends before closing.";
        value lingering_time: Duration = "30s", msec, HSL, args(1), "How long to read what a client still sends.";
        value lingering_timeout: Duration = "5s", msec, HSL, args(1), "Longest gap while reading what a client still sends.";
        value reset_timedout_connection: bool = "off", flag, HSL, args(1), "Resets connections that timed out instead of closing them.";
        value absolute_redirect: bool = "on", flag, HSL, args(1), "Makes redirects of our own absolute.";
        value server_name_in_redirect: bool = "off", flag, HSL, args(1), "Uses the first server name in absolute redirects.";
        value port_in_redirect: bool = "on", flag, HSL, args(1), "Names the port in absolute redirects.";
        value log_not_found: bool = "on", flag, HSL, args(1), "Logs files that are not there.";
        value recursive_error_pages: bool = "off", flag, HSL, args(1), "Lets an error page have an error page.";
        value msie_padding: bool = "on", flag, HSL, args(1), "Pads error pages for browsers that hide short ones.";
        value server_tokens: ServerTokens = "on", |a| one_of(a, ServerTokens::WORDS), HSL, args(1), "Tells the version in the Server field and on error pages.";
        value if_modified_since: IfModifiedSince = "exact", |a| one_of(a, IfModifiedSince::WORDS), HSL, args(1), "How the date of a conditional request is compared.";
        value max_ranges: u32 = "2147483647", num32, HSL, args(1), "Most ranges of one request; 0 turns ranges off.";
        value chunked_transfer_encoding: bool = "on", flag, HSL, args(1), "Allows chunked answers.";
        value etag: bool = "on", flag, HSL, args(1), "Adds an ETag to files.";
        gather early_hints: List<Text> = "", texts, HSL, args_min(1), "Relays 103 answers while one of the values is neither empty nor 0.";
        list error_log: ErrorLog = "", error_log, HSL.or(TTS), args_min(1), "Where errors are logged, and from which level.";
        value resolver: Option<Arc<Resolver>> = "", resolver, HSL.or(TTS), args_min(1), "Name servers for names that are only known per request.";
        value resolver_timeout: Duration = "30s", msec, HSL.or(TTS), args(1), "How long to wait for a name server.";
        value strict_dns: bool = "off", flag, H, args(1), "Refuses a configuration with a backend whose name is not known at start, as nginx does.";
    } also {
        root: Arc<Root> = Arc::new(Root::default()), "`root` or `alias`: where files are.";
        types: List<MimeType> = default_types(), "`types`: content types by file name extension, as (type, extension in lower case).";
        error_page: List<ErrorPage> = List::default(), "`error_page`, one entry for each status; the first match counts.";
    }
}

/// The rows with setters of their own, and those without effect.
pub(crate) const ROWS: &[Row] = &[
    row(
        "root",
        HSLI,
        args(1),
        root,
        "Directory that the URI is appended to.",
    )
    .many()
    .default("html"),
    row(
        "alias",
        L,
        args(1),
        root,
        "Directory that replaces the location's prefix.",
    )
    .many(),
    row(
        "types",
        HSL,
        args(0),
        types,
        "Content types by file name extension.",
    )
    .data()
    .clearing(Inherit::Replace, |s| {
        Arc::make_mut(&mut s.core).types = List::default();
    }),
    row(
        "error_page",
        HSLI,
        args_min(2),
        error_page,
        "Page for an error.",
    )
    .many()
    .clearing(Inherit::Replace, |s| {
        Arc::make_mut(&mut s.core).error_page = List::default();
    }),
    checked!(
        "variables_hash_max_size",
        H.or(T),
        args(1),
        num,
        "tables size themselves",
        "Size of the table of variables."
    ),
    checked!(
        "variables_hash_bucket_size",
        H.or(T),
        args(1),
        num,
        "tables size themselves",
        "Bucket size of the table of variables."
    ),
    checked!(
        "server_names_hash_max_size",
        H.or(T),
        args(1),
        num,
        "tables size themselves",
        "Size of the table of names."
    ),
    checked!(
        "server_names_hash_bucket_size",
        H.or(T),
        args(1),
        num,
        "tables size themselves",
        "Bucket size of the table of names."
    ),
    checked!(
        "types_hash_max_size",
        HSL,
        args(1),
        num,
        "tables size themselves",
        "Size of the table of types."
    ),
    checked!(
        "types_hash_bucket_size",
        HSL,
        args(1),
        num,
        "tables size themselves",
        "Bucket size of the table of types."
    ),
    checked!(
        "request_pool_size",
        HS,
        args(1),
        size,
        "memory is pooled by shard",
        "Memory taken for a request at a time."
    ),
    checked!(
        "aio",
        HSL,
        args(1),
        aio,
        "how files are accessed is not configurable",
        "How files are read."
    ),
    checked!(
        "aio_write",
        HSL,
        args(1),
        flag,
        "how files are accessed is not configurable",
        "How files are written."
    ),
    checked!(
        "read_ahead",
        HSL,
        args(1),
        size,
        "the kernel decides",
        "Bytes read ahead of a file."
    ),
    checked!(
        "directio",
        HSL,
        args(1),
        directio,
        "files go through the page cache",
        "Size from which files bypass the page cache."
    ),
    checked!(
        "directio_alignment",
        HSL,
        args(1),
        offset,
        "files go through the page cache",
        "Alignment for bypassing the page cache."
    ),
    checked!(
        "send_lowat",
        HSL,
        args(1),
        size,
        "Linux does not implement it",
        "Smallest send."
    ),
    checked!(
        "postpone_output",
        HSL,
        args(1),
        size,
        "a response is sent once it is worth a packet",
        "Bytes that are collected before sending."
    ),
    checked!(
        "msie_refresh",
        HSL,
        args(1),
        flag,
        "the browsers that needed it are gone",
        "Refreshes instead of redirects for old browsers."
    ),
];

fn aio(args: &mut Args<'_>) -> Parsed<()> {
    match args.bytes(0) {
        b"on" | b"off" | b"threads" => Ok(()),
        word if word.starts_with(b"threads=") && word.len() > 8 => Ok(()),
        _ => Err(args.fault("invalid value")),
    }
}

fn directio(args: &mut Args<'_>) -> Parsed<()> {
    if args.bytes(0) == b"off" {
        return Ok(());
    }
    offset(args).map(|_| ())
}

fn root(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    let name = directive.name.lossy();
    let alias = name == "alias";
    if frame.seen.contains_key("root or alias") {
        let message = match (alias, frame.settings.core.root.alias) {
            (true, false) => {
                "\"alias\" directive is duplicate, \"root\" directive was specified earlier"
            }
            (false, true) => {
                "\"root\" directive is duplicate, \"alias\" directive was specified earlier"
            }
            (true, true) => "\"alias\" directive is duplicate",
            (false, false) => "\"root\" directive is duplicate",
        };
        return load.error(message, directive.span);
    }
    let here = frame.here.as_ref();
    if alias && here.is_some_and(|h| h.named) {
        return load.error(
            "the \"alias\" directive cannot be used inside the named location",
            directive.span,
        );
    }
    let mut path = text_of(&directive.args[0]);
    for variable in ["document_root", "realpath_root"] {
        let braced = format!("${{{variable}}}");
        let text = path.lossy();
        if text.contains(&format!("${variable}")) || text.contains(&braced) {
            let message =
                format!("the ${variable} variable cannot be used in the \"{name}\" directive");
            return load.error(message, directive.span);
        }
    }
    if !alias && let [rest @ .., b'/'] = &path.bytes[..] {
        path.bytes = Arc::from(rest);
    }
    if path.bytes.first() != Some(&b'$') {
        use std::os::unix::ffi::OsStrExt as _;
        // A final slash matters to `alias`, so the path is joined as text.
        path.bytes = Arc::from(full_path(load.prefix, &path.bytes).as_os_str().as_bytes());
    }
    frame.seen.insert("root or alias", directive.span);
    let replaces = here.filter(|_| alias).map(|h| {
        if h.regex {
            usize::MAX
        } else {
            h.path.bytes.len()
        }
    });
    Arc::make_mut(&mut frame.settings.core).root = Arc::new(Root {
        path,
        alias,
        replaces,
    });
}

fn types(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    let core = Arc::make_mut(&mut frame.settings.core);
    let types = Arc::make_mut(&mut core.types);
    let mut places: std::collections::HashMap<Arc<[u8]>, usize> = types
        .iter()
        .enumerate()
        .map(|(i, (_, e))| (Arc::clone(e), i))
        .collect();
    for entry in directive.block.as_deref().unwrap_or_default() {
        if entry.block.is_some() {
            load.error("unexpected \"{\"", entry.span);
            continue;
        }
        if *entry.name.bytes == *b"include" {
            load.error(
                "invalid number of arguments in \"include\" directive",
                entry.span,
            );
            continue;
        }
        let kind = Arc::clone(&entry.name.bytes);
        for word in &entry.args {
            let extension: Arc<[u8]> = Arc::from(word.bytes.to_ascii_lowercase());
            match places.get(&extension) {
                Some(&at) => {
                    let old = std::mem::replace(&mut types[at].0, Arc::clone(&kind));
                    let message = format!(
                        "duplicate extension \"{}\", content type: \"{}\", previous content type: \"{}\"",
                        String::from_utf8_lossy(&extension),
                        String::from_utf8_lossy(&kind),
                        String::from_utf8_lossy(&old)
                    );
                    load.warn(message, entry.span);
                }
                None => {
                    places.insert(Arc::clone(&extension), types.len());
                    types.push((Arc::clone(&kind), extension));
                }
            }
        }
    }
}

fn error_page(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    let Some(pages) = load.parse(directive, parse_error_page) else {
        return;
    };
    let core = Arc::make_mut(&mut frame.settings.core);
    Arc::make_mut(&mut core.error_page).extend(pages);
}

fn parse_error_page(args: &mut Args<'_>) -> Parsed<Vec<ErrorPage>> {
    let (uri, mut codes) = args
        .words
        .split_last()
        .expect("arity of error_page is at least two");
    let invalid = |word: &str| Fault::new(format!("invalid value \"{word}\""));
    let mut overwrite = None;
    if let Some((word, rest)) = codes.split_last()
        && let [b'=', digits @ ..] = &word.bytes[..]
    {
        if rest.is_empty() {
            return Err(invalid(&word.lossy()));
        }
        overwrite = Some(match digits {
            [] => None,
            _ => {
                let status = decimal(digits).and_then(|n| u16::try_from(n).ok());
                Some(status.ok_or_else(|| invalid(&word.lossy()))?)
            }
        });
        codes = rest;
    }
    let mut pages = Vec::new();
    for word in codes {
        let status = match decimal(&word.bytes) {
            None | Some(499) => return Err(invalid(&word.lossy())),
            Some(status @ 300..=599) => status as u16,
            Some(_) => {
                return Err(Fault::new(format!(
                    "value \"{}\" must be between 300 and 599",
                    word.lossy()
                )));
            }
        };
        // What only nginx knows as 494 to 497 is a 400 to the client.
        let overwrite = overwrite.or_else(|| matches!(status, 494..=497).then_some(Some(400)));
        pages.push(ErrorPage {
            status,
            overwrite,
            uri: text_of(uri),
        });
    }
    Ok(pages)
}
