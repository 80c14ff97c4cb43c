//! Values of the core, headers, files and userid families that have a grammar of their own.

use std::sync::Arc;

use crate::config::model::*;
use crate::config::table::{Args, Fault};
use crate::config::tree::Word;
use crate::config::url;
use crate::config::value::*;

/// The three types known without a `types` block.
pub(crate) fn default_types() -> List<MimeType> {
    let pair = |t: &str, e: &str| (Arc::from(t.as_bytes()), Arc::from(e.as_bytes()));
    Arc::new(vec![
        pair("text/html", "html"),
        pair("image/gif", "gif"),
        pair("image/jpeg", "jpg"),
    ])
}

/// A directive whose presence means on.
pub(crate) fn present(args: &mut Args<'_>) -> Parsed<bool> {
    Ok(args.words.is_empty())
}

/// `PATH [LEVEL [LEVEL [LEVEL]]]`.
pub(crate) fn temp_path(args: &mut Args<'_>) -> Parsed<TempPath> {
    let mut name = args.bytes(0);
    if let [rest @ .., b'/'] = name {
        name = rest;
    }
    let mut levels = [0u8; 3];
    for (level, word) in levels.iter_mut().zip(&args.words[1..]) {
        // A hashed name has ten digits; three levels of up to three digits always fit.
        *level = match decimal(&word.bytes) {
            Some(n @ 1..=9) => n as u8,
            _ => return Err(args.fault("invalid value")),
        };
    }
    if levels.iter().map(|&l| u32::from(l)).sum::<u32>() > 10 {
        return Err(args.fault("invalid value"));
    }
    Ok(TempPath {
        path: full_path(args.prefix, name),
        levels,
    })
}

/// `TIMEOUT [HEADER]`.
pub(crate) fn keepalive_timeout(args: &mut Args<'_>) -> Parsed<KeepaliveTimeout> {
    let timeout = msec(args)?;
    let header = match args.words.get(1) {
        Some(word) => Some(parse_sec(&word.bytes).ok_or_else(|| args.fault("invalid value"))?),
        None => None,
    };
    Ok(KeepaliveTimeout {
        timeout,
        header: header.filter(|h| !h.is_zero()),
    })
}

/// Browser names.
pub(crate) fn keepalive_disable(args: &mut Args<'_>) -> Parsed<KeepaliveDisable> {
    any_of(
        args,
        KeepaliveDisable::WORDS,
        KeepaliveDisable::has,
        KeepaliveDisable::with,
    )
}

/// `NAME VALUE [always]`.
pub(crate) fn add_header(args: &mut Args<'_>) -> Parsed<AddHeader> {
    let always = match args.words.get(2) {
        None => false,
        Some(word) if *word.bytes == *b"always" => true,
        Some(word) => {
            return Err(Fault::new(format!(
                "invalid parameter \"{}\"",
                word.lossy()
            )));
        }
    };
    Ok(AddHeader {
        name: Arc::clone(&args.word(0).bytes),
        value: text_of(args.word(1)),
        always,
    })
}

/// `[modified] TIME | epoch | max | off`.
pub(crate) fn expires(args: &mut Args<'_>) -> Parsed<Expires> {
    let modified = args.words.len() == 2;
    if modified && args.bytes(0) != b"modified" {
        return Err(args.fault("invalid value"));
    }
    let word = args.word(usize::from(modified));
    if word.bytes.contains(&b'$') {
        return Ok(Expires::Variable {
            text: text_of(word),
            modified,
        });
    }
    parse_expires(&word.bytes, modified).map_err(|what| args.fault(what))
}

/// The grammar of `expires`, which a variable obeys too.
pub fn parse_expires(bytes: &[u8], modified: bool) -> Result<Expires, &'static str> {
    match bytes {
        b"epoch" if !modified => return Ok(Expires::Epoch),
        b"max" if !modified => return Ok(Expires::Max),
        b"off" if !modified => return Ok(Expires::Off),
        _ => {}
    }
    let seconds = |text: &[u8]| {
        let time = parse_sec(text).ok_or("invalid value")?;
        i64::try_from(time.as_secs()).map_err(|_| "invalid value")
    };
    match bytes {
        [b'@', ..] if modified => Err("daily time cannot be used with \"modified\" parameter"),
        [b'@', rest @ ..] => match seconds(rest)? {
            s @ 0..=86_400 => Ok(Expires::Daily(s as u32)),
            _ => Err("daily time value must be less than 24 hours"),
        },
        [b'-', rest @ ..] => Ok(Expires::Offset {
            seconds: -seconds(rest)?,
            modified,
        }),
        [b'+', rest @ ..] | rest => Ok(Expires::Offset {
            seconds: seconds(rest)?,
            modified,
        }),
    }
}

/// `FILE… LAST`.
pub(crate) fn try_files(args: &mut Args<'_>) -> Parsed<Option<Arc<TryFiles>>> {
    let (last, files) = args
        .words
        .split_last()
        .expect("arity of try_files is at least two");
    let last = if let [b'=', code @ ..] = &last.bytes[..] {
        let code = decimal(code).filter(|&c| c <= 999);
        TryLast::Status(
            code.ok_or_else(|| Fault::new(format!("invalid code \"{}\"", last.lossy())))? as u16,
        )
    } else {
        TryLast::Uri(text_of(last))
    };
    Ok(Some(Arc::new(TryFiles {
        files: files.iter().map(text_of).collect(),
        last,
    })))
}

/// Index files: one directive adds all its names.
pub(crate) fn index_names(args: &mut Args<'_>) -> Parsed<Vec<Text>> {
    let last = args.words.len() - 1;
    for (i, word) in args.words.iter().enumerate() {
        if word.bytes.is_empty() {
            return Err(Fault::new("index \"\" in \"index\" directive is invalid"));
        }
        if word.bytes[0] == b'/' && i != last {
            args.warnings
                .push("only the last index in \"index\" directive should be absolute".into());
        }
    }
    Ok(args.words.iter().map(text_of).collect())
}

/// `TIME | max | off`.
pub(crate) fn userid_expires(args: &mut Args<'_>) -> Parsed<UseridExpires> {
    match args.bytes(0) {
        b"max" => Ok(UseridExpires::Max),
        b"off" => Ok(UseridExpires::Off),
        _ => Ok(UseridExpires::After(sec(args)?)),
    }
}

/// Cookie attributes.
pub(crate) fn userid_flags(args: &mut Args<'_>) -> Parsed<UseridFlags> {
    any_of(
        args,
        UseridFlags::WORDS,
        UseridFlags::has,
        UseridFlags::with,
    )
}

/// `off`, or one letter, digit or `=`.
pub(crate) fn userid_mark(args: &mut Args<'_>) -> Parsed<Option<u8>> {
    match args.bytes(0) {
        b"off" => Ok(None),
        [c] if c.is_ascii_alphanumeric() || *c == b'=' => Ok(Some(*c)),
        _ => Err(args.fault("value must be \"off\" or a single letter, digit or \"=\"")),
    }
}

/// Name servers and their options.
pub(crate) fn resolver(args: &mut Args<'_>) -> Parsed<Option<Arc<Resolver>>> {
    let mut out = Resolver {
        servers: Vec::new(),
        valid: None,
        ipv4: true,
        ipv6: true,
        span: args.word(0).span,
    };
    for word in args.words {
        let bad = || Fault::new(format!("invalid parameter: {}", word.lossy()));
        let switch = |value: &[u8]| match value {
            b"on" => Ok(true),
            b"off" => Ok(false),
            _ => Err(bad()),
        };
        if let Some(value) = word.bytes.strip_prefix(b"valid=") {
            out.valid = Some(parse_sec(value).ok_or_else(bad)?).filter(|v| !v.is_zero());
        } else if let Some(value) = word.bytes.strip_prefix(b"ipv4=") {
            out.ipv4 = switch(value)?;
        } else if let Some(value) = word.bytes.strip_prefix(b"ipv6=") {
            out.ipv6 = switch(value)?;
        } else {
            let url = url::parse(&word.bytes, false)
                .map_err(|e| Fault::new(format!("{e} in resolver \"{}\"", word.lossy())))?;
            out.servers.push((
                String::from_utf8_lossy(&url.host).into_owned(),
                url.port.unwrap_or(53),
            ));
        }
    }
    if !out.ipv4 && !out.ipv6 {
        return Err(Fault::new("\"ipv4\" and \"ipv6\" cannot both be \"off\""));
    }
    if out.servers.is_empty() {
        return Err(Fault::new("no name servers defined"));
    }
    Ok(Some(Arc::new(out)))
}

/// `FILE [LEVEL]`.
pub(crate) fn error_log(args: &mut Args<'_>) -> Parsed<ErrorLog> {
    let target = args.word(0);
    let sink = log_sink(args, target, false)?;
    let mut level = None;
    let mut json = None;
    for word in &args.words[1..] {
        if let Some(format) = word.bytes.strip_prefix(b"format=") {
            let chosen = match format {
                b"json" => true,
                b"classic" => false,
                _ => {
                    let message = format!("invalid parameter \"{}\"", word.lossy());
                    return Err(Fault::new(message).hint("format is classic or json"));
                }
            };
            if json.replace(chosen).is_some() {
                return Err(Fault::new("duplicate log format"));
            }
            continue;
        }
        let found = LogLevel::WORDS
            .iter()
            .find(|(w, _)| w.as_bytes() == &word.bytes[..])
            .map(|(_, l)| *l);
        // The debug_* masks narrow a debug log in nginx; here they all ask for debug.
        let found = found.or_else(|| word.bytes.starts_with(b"debug_").then_some(LogLevel::Debug));
        let Some(found) = found else {
            return Err(Fault::new(format!(
                "invalid log level \"{}\"",
                word.lossy()
            )));
        };
        if level.is_some() && found != LogLevel::Debug {
            return Err(Fault::new(format!(
                "duplicate log level \"{}\"",
                word.lossy()
            )));
        }
        level = Some(found);
    }
    Ok(ErrorLog {
        sink,
        level: level.unwrap_or(LogLevel::Error),
        json: json.unwrap_or(false),
    })
}

/// Where a log goes, by its first parameter.
pub(crate) fn log_sink(args: &Args<'_>, word: &Word, variables: bool) -> Parsed<LogSink> {
    if &word.bytes[..] == b"stderr" {
        return Ok(LogSink::Stderr);
    }
    if let Some(rest) = word.bytes.strip_prefix(b"syslog:") {
        return super::syslog::parse(rest).map(LogSink::Syslog);
    }
    if !variables && word.bytes.starts_with(b"memory:") {
        return Err(Fault::new("nginx was built without debug support")
            .hint("a cyclic memory log is not supported; log to a file or to stderr"));
    }
    if variables && word.bytes.contains(&b'$') {
        let path = full_path(args.prefix, &word.bytes);
        return Ok(LogSink::Variable(Text {
            bytes: Arc::from(path.as_os_str().as_encoded_bytes()),
            span: word.span,
        }));
    }
    Ok(LogSink::File(full_path(args.prefix, &word.bytes)))
}
