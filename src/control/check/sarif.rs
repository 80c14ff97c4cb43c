//! Findings as SARIF 2.1.0, the format in which code hosts take the findings of tools. Start at [`sarif`].

use std::fmt::Write as _;
use std::path::Path;

use super::report::{level, string};
use super::{Examined, Position, Setup, position};
use crate::base::escape::{self, Place};
use crate::config::lint::{Edit, Finding, rules};

/// Where the format is described to machines.
const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// The log of one run.
pub(super) fn sarif(setup: &Setup, examined: &Examined) -> String {
    let list: Vec<String> = rules::ALL.iter().map(|rule| {
        format!(
            "{{\"id\": {}, \"shortDescription\": {{\"text\": {}}}, \"fullDescription\": {{\"text\": {}}}, \"help\": {{\"text\": {}}}, \
             \"defaultConfiguration\": {{\"level\": {}}}}}",
            string(rule.id),
            string(rule.what),
            string(rule.why),
            string(rule.edit),
            string(level(rule.level))
        )
    }).collect();
    let results: Vec<String> = examined.found.iter().map(|f| result(f, examined)).collect();
    format!(
        "{{\"$schema\": {}, \"version\": \"2.1.0\", \"runs\": [{{\n\
         \"tool\": {{\"driver\": {{\"name\": \"ringx\", \"version\": {}, \"rules\": [\n{}]}}}},\n\
         \"invocations\": [{{\"executionSuccessful\": {}, \"arguments\": [\"check\", {}]}}],\n\
         \"columnKind\": \"unicodeCodePoints\",\n\"results\": [{}]}}]}}\n",
        string(SCHEMA),
        string(env!("CARGO_PKG_VERSION")),
        list.join(",\n"),
        examined.sizes.is_some(),
        string(&setup.file.to_string_lossy()),
        results.join(",")
    )
}

fn result(finding: &Finding, examined: &Examined) -> String {
    let index = rules::ALL.iter().position(|r| *r == finding.rule);
    let mut text = finding.message.clone();
    if let Some(request) = &finding.request {
        let _ = write!(text, " (request: {request})");
    }
    let _ = write!(text, ". Edit: {}", finding.advice);
    let mut out = format!(
        "\n{{\"ruleId\": {}, \"ruleIndex\": {}, \"level\": {}, \"message\": {{\"text\": {}}}",
        string(finding.rule.id),
        index.unwrap_or_default(),
        string(level(finding.level)),
        string(&text)
    );
    if let Some(at) = position(finding, &examined.loaded) {
        let _ = write!(
            out,
            ", \"locations\": [{{\"physicalLocation\": {}}}]",
            place(&at)
        );
    }
    if !finding.fix.is_empty() {
        let changes: Vec<String> = finding
            .fix
            .iter()
            .filter_map(|e| change(e, examined))
            .collect();
        let _ = write!(
            out,
            ", \"fixes\": [{{\"description\": {{\"text\": {}}}, \"artifactChanges\": [{}]}}]",
            string(&finding.advice),
            changes.join(", ")
        );
    }
    out.push('}');
    out
}

fn place(at: &Position<'_>) -> String {
    format!(
        "{{\"artifactLocation\": {{\"uri\": {}}}, \"region\": {{\"startLine\": {}, \"startColumn\": {}, \"endLine\": {}, \"endColumn\": {}}}}}",
        string(&uri(at.path)),
        at.line,
        at.column,
        at.end_line,
        at.end_column
    )
}

fn change(edit: &Edit, examined: &Examined) -> Option<String> {
    let file = examined.loaded.tree.files.get(edit.file as usize)?;
    Some(format!(
        "{{\"artifactLocation\": {{\"uri\": {}}}, \"replacements\": [{{\"deletedRegion\": {{\"byteOffset\": {}, \"byteLength\": {}}}, \
         \"insertedContent\": {{\"text\": {}}}}}]}}",
        string(&uri(&file.path)),
        edit.start,
        edit.end - edit.start,
        string(&String::from_utf8_lossy(&edit.text))
    ))
}

/// Relative below the current folder, as code hosts want it; else whole.
fn uri(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let (scheme, path) = match path.strip_prefix(&here) {
        Ok(relative) => ("", relative),
        Err(_) => ("file://", path),
    };
    let mut out = Vec::new();
    escape::uri(&mut out, path.as_os_str().as_encoded_bytes(), Place::Uri);
    format!("{scheme}{}", String::from_utf8_lossy(&out))
}
