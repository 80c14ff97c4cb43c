//! The `syslog:` target of logs.

use super::super::model::Syslog;
use super::super::table::Fault;

const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "intern", "lpr", "news", "uucp", "clock", "authpriv",
    "ftp", "ntp", "audit", "alert", "cron", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
];
const SEVERITIES: [&str; 8] = [
    "emerg", "alert", "crit", "error", "warn", "notice", "info", "debug",
];

/// Reads what follows `syslog:`.
pub(crate) fn parse(rest: &[u8]) -> Result<Syslog, Fault> {
    let mut out = Syslog {
        server: String::new(),
        facility: 23,
        severity: 6,
        tag: "nginx".into(),
        nohostname: false,
    };
    let text = String::from_utf8_lossy(rest);
    for part in text.split(',') {
        if let Some(server) = part.strip_prefix("server=") {
            if !out.server.is_empty() {
                return Err(Fault::new("duplicate syslog \"server\""));
            }
            out.server = server.to_owned();
        } else if let Some(name) = part.strip_prefix("facility=") {
            out.facility = position(&FACILITIES, name)
                .ok_or_else(|| Fault::new(format!("unknown syslog facility \"{name}\"")))?;
        } else if let Some(name) = part.strip_prefix("severity=") {
            out.severity = position(&SEVERITIES, name)
                .ok_or_else(|| Fault::new(format!("unknown syslog severity \"{name}\"")))?;
        } else if let Some(tag) = part.strip_prefix("tag=") {
            // RFC 3164 4.1.3: a tag has at most 32 letters and digits.
            if tag.len() > 32 {
                return Err(Fault::new("syslog tag length exceeds 32"));
            }
            if !tag.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_') {
                return Err(Fault::new(
                    "syslog \"tag\" only allows alphanumeric characters and underscore",
                ));
            }
            out.tag = tag.to_owned();
        } else if part == "nohostname" {
            out.nohostname = true;
        } else {
            return Err(Fault::new(format!("unknown syslog parameter \"{part}\"")));
        }
    }
    if out.server.is_empty() {
        return Err(Fault::new("no syslog server specified"));
    }
    Ok(out)
}

fn position(list: &[&str], name: &str) -> Option<u8> {
    list.iter()
        .position(|w| *w == name)
        .and_then(|i| u8::try_from(i).ok())
}
