//! The second language for editors: a JSON Schema (draft 2020-12) of the TOML form, made of the directive table. It knows which
//! keys stand where and what shape they have; what a value means is for the loader. Start at [`schema`].

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::rows;
use super::table::{Block, Contexts, Repeat, Row, Status};

/// The whole schema as a text.
#[must_use]
pub fn schema() -> String {
    let mut defs: BTreeMap<String, String> = BTreeMap::new();
    defs.insert("words".into(), WORDS.into());
    defs.insert("entry".into(), ENTRY.into());
    for (index, row) in rows::all().enumerate() {
        if !matches!(row.status, Status::Refused(_)) {
            defs.insert(name_of(index, row), directive(row));
        }
    }
    for (context, name) in Contexts::NAMES {
        defs.insert(block_name(name), block(context, Contexts(0)));
    }
    // `http` may be left out: what may stand in it alone may stand at the top.
    let top = block(Contexts::MAIN, Contexts::HTTP);
    let mut out = format!(
        "{{\n  \"$schema\": \"https://json-schema.org/draft/2020-12/schema\",\n  \"$id\": \"urn:ringx:configuration\",\n  \
         \"title\": \"ringx.toml\",\n  \"description\": \"A configuration of ringx: a key is a directive, a string is what stands between \
         its name and its semicolon in nginx.conf, an array repeats it, true and false are on and off, a table is a block.\",\n  {},\n  \
         \"$defs\": {{\n",
        &top[1..top.len() - 1]
    );
    let list: Vec<String> = defs
        .iter()
        .map(|(name, def)| format!("    {}: {def}", string(name)))
        .collect();
    out.push_str(&list.join(",\n"));
    out.push_str("\n  }\n}\n");
    out
}

/// The words of one directive.
const WORDS: &str = r#"{"type": ["string", "number", "boolean"]}"#;

/// One entry of a table of data; an array repeats it.
const ENTRY: &str = r##"{"anyOf": [{"$ref": "#/$defs/words"}, {"type": "array", "items": {"$ref": "#/$defs/words"}}]}"##;

/// Rows of one name that stand in different blocks are told apart.
fn name_of(index: usize, row: &Row) -> String {
    let first = rows::all().position(|r| r.name == row.name);
    match first == Some(index) {
        true => row.name.to_owned(),
        false => format!("{}.{index}", row.contexts.words().replace(", ", "-")) + "." + row.name,
    }
}

fn block_name(context: &str) -> String {
    format!("block {context}")
}

/// What is written behind a directive's name.
fn directive(row: &Row) -> String {
    let mut shapes = Vec::new();
    match row.block {
        Block::None => plain(row, &mut shapes),
        Block::Data => tables(
            row,
            r##"{"type": "object", "additionalProperties": {"$ref": "#/$defs/entry"}}"##,
            &mut shapes,
        ),
        Block::Scope => tables(row, &inside(row), &mut shapes),
    }
    let mut text = row.doc.to_owned();
    if !row.default.is_empty() {
        let _ = write!(text, " Default: {}", row.default);
    }
    if let Status::Accepted(because) = row.status {
        let _ = write!(text, " It has no effect: {because}.");
    }
    let shape = match &shapes[..] {
        [one] => one[1..one.len() - 1].to_owned(),
        many => format!("\"anyOf\": [{}]", many.join(", ")),
    };
    format!("{{\"description\": {}, {shape}}}", string(&text))
}

/// A directive without braces: its words, several times where it may repeat, or by its first word.
fn plain(row: &Row, shapes: &mut Vec<String>) {
    if let Status::OffOnly(_) = row.status {
        shapes.push(r#"{"enum": [false, "off"]}"#.into());
        return;
    }
    let bare = row.arity.min == 0;
    let words = match (bare, row.arity.max) {
        (true, 0) => r#"{"type": "boolean"}"#,
        (false, 2..) if row.arity.min > 1 => r#"{"type": "string"}"#,
        _ => r##"{"$ref": "#/$defs/words"}"##,
    };
    shapes.push(words.into());
    if row.repeat == Repeat::Many {
        shapes.push(format!(
            "{{\"type\": \"array\", \"items\": {}}}",
            nested(row, words)
        ));
    }
    if row.arity.max > 1 {
        shapes.push(pairs());
    }
}

/// An array may hold tables of pairs as well.
fn nested(row: &Row, words: &str) -> String {
    match row.arity.max > 1 {
        true => format!("{{\"anyOf\": [{words}, {}]}}", pairs()),
        false => words.to_owned(),
    }
}

/// `{ Host = "$host" }`: the key is the first word.
fn pairs() -> String {
    r##"{"type": "object", "additionalProperties": {"$ref": "#/$defs/entry"}}"##.into()
}

/// A directive with braces: a table, or one for each key that holds its words.
fn tables(row: &Row, body: &str, shapes: &mut Vec<String>) {
    let many = format!("{{\"type\": \"array\", \"items\": {body}}}");
    if row.arity.max == 0 {
        shapes.push(body.to_owned());
        if row.repeat == Repeat::Many {
            shapes.push(many);
        }
    } else {
        let either = format!("{{\"anyOf\": [{body}, {many}]}}");
        shapes.push(format!(
            "{{\"type\": \"object\", \"additionalProperties\": {either}}}"
        ));
    }
}

/// The block that a directive opens; one that is not known may hold anything.
fn inside(row: &Row) -> String {
    let wanted: Vec<String> = match row.name {
        "if" => vec!["if in server".into(), "if in location".into()],
        name => {
            let stream = row
                .contexts
                .meets(Contexts::STREAM)
                .then(|| format!("{name} in stream"));
            let http = row.contexts != Contexts::STREAM;
            stream
                .into_iter()
                .chain(http.then(|| name.to_owned()))
                .collect()
        }
    };
    let known = |name: &String| Contexts::NAMES.iter().any(|(_, n)| n == name);
    let list: Vec<String> = wanted
        .iter()
        .filter(|name| known(name))
        .map(|name| reference(&block_name(name)))
        .collect();
    match &list[..] {
        [] => r#"{"type": "object"}"#.into(),
        [one] => one.clone(),
        many => format!("{{\"anyOf\": [{}]}}", many.join(", ")),
    }
}

fn reference(name: &str) -> String {
    format!(
        "{{\"$ref\": {}}}",
        string(&format!("#/$defs/{}", name.replace(' ', "%20")))
    )
}

/// A table of directives. Those of `also` count where this block has none of the name.
fn block(context: Contexts, also: Contexts) -> String {
    let mut keys: BTreeMap<&str, String> = BTreeMap::new();
    for wanted in [also, context] {
        for (index, row) in rows::all().enumerate() {
            let refused = matches!(row.status, Status::Refused(_));
            if row.contexts.meets(wanted) && !refused {
                keys.insert(row.name, reference(&name_of(index, row)));
            }
        }
    }
    let rules = r#"{"description": "Directives whose order among each other counts, each in a string.", "type": "array", "items": {"type": "string"}}"#;
    keys.entry("rules").or_insert_with(|| rules.into());
    let list: Vec<String> = keys
        .iter()
        .map(|(name, value)| format!("{}: {value}", string(name)))
        .collect();
    format!(
        "{{\"type\": \"object\", \"properties\": {{\n      {}\n    }}, \"additionalProperties\": false}}",
        list.join(",\n      ")
    )
}

/// A string of JSON; the table holds plain text.
fn string(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_directive_that_loads_is_in_it() {
        let text = schema();
        for row in rows::all() {
            let key = format!("{}: {{\"$ref\"", string(row.name));
            let refused = rows::find(row.name.as_bytes())
                .iter()
                .all(|r| matches!(r.status, Status::Refused(_)));
            assert_eq!(text.contains(&key), !refused, "{}", row.name);
        }
        // Braces and brackets are in pairs, outside strings.
        let (mut depth, mut quoted, mut escaped) = (0i32, false, false);
        for byte in text.bytes() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b'{' | b'[' if !quoted => depth += 1,
                b'}' | b']' if !quoted => depth -= 1,
                _ => {}
            }
            assert!(depth >= 0);
        }
        assert_eq!((depth, quoted), (0, false));
    }
}
