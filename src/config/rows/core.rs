//! Rows of the http core family: connections, request bodies, redirects, error pages, files, name resolution.

use std::sync::Arc;
use std::time::Duration;

use super::parse_core::*;
use crate::config::model::*;
use crate::config::table::ctx::*;
use crate::config::table::{args, args_min, args_to, family};
use crate::config::value::*;

family! {
    /// Settings of the http core family.
    pub struct Core in core {
        value client_header_timeout: Duration = "60s", msec, HS, args(1), "How long a client may take to send a request head.";
        value client_header_buffer_size: usize = "1k", size, HS, args(1), "First buffer for a request head.";
        value large_client_header_buffers: Buffers = "4 8k", buffers, HS, args(2), "Number and size of the buffers a long request head may use.";
        value max_headers: u32 = "1000", num32, HS, args(1), "Most fields a request may have.";
        value ignore_invalid_headers: bool = "on", flag, HS, args(1), "Drops fields with invalid names instead of refusing the request.";
        value merge_slashes: bool = "on", flag, HS, args(1), "Makes several slashes one before locations are matched.";
        value underscores_in_headers: bool = "off", flag, HS, args(1), "Allows underscores in field names.";
        value client_body_early_read: List<Text> = "", texts, HS, args_min(1), "Reads request bodies early while one of the values is neither empty nor 0.";
        value default_type: Arc<[u8]> = "text/plain", bytes, HSL, args(1), "Content type where no extension says otherwise.";
        value client_max_body_size: u64 = "1m", offset, HSL, args(1), "Longest request body; 0 is no limit, more is answered 413.";
        value client_body_buffer_size: usize = "8k", size, HSL, args(1), "Memory for a request body; a longer one goes to a temporary file.";
        value client_body_timeout: Duration = "60s", msec, HSL, args(1), "Longest gap between two reads of a request body.";
        value client_body_temp_path: TempPath = "client_body_temp", temp_path, HSL, args_to(1, 4), "Directory for request bodies that do not fit in memory.";
        value client_body_in_file_only: BodyInFile = "off", |a| one_of(a, BodyInFile::WORDS), HSL, args(1), "Writes every request body to a file.";
        value client_body_in_single_buffer: bool = "off", flag, HSL, args(1), "Keeps a request body in one buffer.";
        value sendfile: bool = "off", flag, HSLI, args(1), "Sends files without copying them through the process.";
        value sendfile_max_chunk: usize = "2m", size, HSL, args(1), "Most bytes that one turn of sendfile may move.";
        value output_buffers: Buffers = "2 32k", buffers, HSL, args(2), "Buffers for reading a file that is not sent by sendfile.";
        value tcp_nopush: bool = "off", flag, HSL, args(1), "Sends head and start of a file in one packet.";
        value tcp_nodelay: bool = "on", flag, HSL, args(1), "Sends small packets at once on keep-alive connections.";
        value send_timeout: Duration = "60s", msec, HSL, args(1), "Longest gap between two writes to a client.";
        value limit_rate: Option<Amount> = "", some_amount, HSLI, args(1), "Bytes per second towards a client; 0 is no limit.";
        value limit_rate_after: Option<Amount> = "", some_amount, HSLI, args(1), "Bytes sent before the rate limit begins.";
        value keepalive_time: Duration = "1h", msec, HSL, args(1), "Longest life of a client connection.";
        value keepalive_timeout: KeepaliveTimeout = "75s", keepalive_timeout, HSL, args_to(1, 2), "How long an idle client connection is kept.";
        value keepalive_min_timeout: Duration = "0", msec, HSL, args(1), "How long an idle client connection is kept at least while shutting down.";
        value keepalive_requests: u64 = "1000", num, HSL, args(1), "Most requests of one client connection.";
        value keepalive_disable: KeepaliveDisable = "msie6", keepalive_disable, HSL, args_to(1, 2), "Browsers that get no keep-alive.";
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
        value log_subrequest: bool = "off", flag, HSL, args(1), "Writes subrequests to the access log.";
        value recursive_error_pages: bool = "off", flag, HSL, args(1), "Lets an error page have an error page.";
        value server_tokens: ServerTokens = "on", |a| one_of(a, ServerTokens::WORDS), HSL, args(1), "Tells the version in the Server field and on error pages.";
        value if_modified_since: IfModifiedSince = "exact", |a| one_of(a, IfModifiedSince::WORDS), HSL, args(1), "How the date of a conditional request is compared.";
        value max_ranges: u32 = "2147483647", num32, HSL, args(1), "Most ranges of one request; 0 turns ranges off.";
        value chunked_transfer_encoding: bool = "on", flag, HSL, args(1), "Allows chunked answers.";
        value etag: bool = "on", flag, HSL, args(1), "Adds an ETag to files.";
        value early_hints: List<Text> = "", texts, HSL, args_min(1), "Relays 103 answers while one of the values is neither empty nor 0.";
        value post_action: Option<Text> = "", some_text, HSLI, args(1), "A request made after the answer has been sent.";
        list error_log: ErrorLog = "", error_log, HSL, args_min(1), "Where errors are logged, and from which level.";
        value resolver: Option<Arc<Resolver>> = "", resolver, HSL, args_min(1), "Name servers for names that are only known per request.";
        value resolver_timeout: Duration = "30s", msec, HSL, args(1), "How long to wait for a name server.";
    } also {
        root: Arc<Root> = Arc::new(Root::default()), "`root` or `alias`: where files are.";
        types: List<MimeType> = default_types(), "`types`: content types by file name extension, as (type, extension in lower case).";
        error_page: List<ErrorPage> = List::default(), "`error_page`, one entry for each status; the first match counts.";
    }
}
