//! Stage 6: what makes the answer. `try_files` first, then the one content of the location.
//!
//! Start at [`run`].

pub mod cache;
pub mod files;
pub mod fixed;
pub mod mirror;
pub mod numbers;
pub mod precompressed;
pub mod proxy;
pub mod status;

use std::io;
use std::pin::pin;

use super::debug::debug;
use super::exchange::Exchange;
use super::flow::Flow;
use super::local::Cx;
use crate::plan::location::{Content, TypesPlan};
use crate::proto::uri;

/// Makes the answer of the location that the exchange is in.
pub async fn run(ex: &mut Exchange, cx: Cx<'_>) -> Flow {
    let location = cx.location(ex.location);
    if let Some(rule) = &location.try_files {
        match files::try_files(rule, ex, cx).await {
            Flow::Next => {}
            other => return other,
        }
    }
    if !location.mirrors.is_empty() {
        // Boxed, so that requests that are not copied carry nothing of it.
        match Box::pin(mirror::run(ex, cx, location)).await {
            Flow::Next => {}
            other => return other,
        }
    }
    debug!(ex, cx, "content phase: {}", location.content.name());
    match &location.content {
        Content::Files => files::serve(ex, cx).await,
        // Pinned where it is made: awaited by value its kilobytes would be copied.
        Content::Proxy(plan) => pin!(proxy::run(ex, cx, plan)).await,
        // A connection to such a server carries no requests.
        Content::Session(_) => Flow::Close,
        Content::EmptyGif => fixed::empty_gif(ex),
        Content::StubStatus => status::serve(ex, cx),
        // Boxed, because they are rare and not small.
        Content::Metrics => Box::pin(numbers::metrics(ex, cx)).await,
        Content::Status => Box::pin(numbers::status(ex, cx)).await,
    }
}

/// Sets `Content-Type` by the extension of `$uri`, unless one is set.
pub fn set_content_type(ex: &mut Exchange, cx: Cx<'_>) {
    if !ex.response.content_type.is_empty() {
        return;
    }
    let types = &cx.location(ex.location).types;
    let extension = uri::extension(&ex.uri);
    let value = find_type(types, extension).unwrap_or(&types.default);
    ex.response.content_type.extend_from_slice(value);
}

/// The content type of an extension in any case.
fn find_type<'a>(types: &'a TypesPlan, extension: &[u8]) -> Option<&'a [u8]> {
    if extension.is_empty() {
        return None;
    }
    let lower = |b: &u8| b.to_ascii_lowercase();
    let found = types
        .by_extension
        .binary_search_by(|(known, _)| known.iter().copied().cmp(extension.iter().map(lower)));
    found.ok().map(|index| &types.by_extension[index].1[..])
}

/// Whether a file is simply not there, which is no fault of the machine.
#[must_use]
pub fn is_absent(error: &io::Error) -> bool {
    // A name that is too long cannot exist either; its error has no kind of its own on every platform.
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename
    )
}
