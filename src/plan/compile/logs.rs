//! Log formats, where log lines go, and `resolver` lines.

use std::sync::Arc;
use std::time::Duration;

use super::{Compiler, bytes_of};
use crate::base::cidr::Cidr;
use crate::base::ids::DenseId;
use crate::config::model::{self, DebugClient, ErrorLog, Http, LogLevel, LogSink, Main};
use crate::plan::location::AccessLogPlan;
use crate::plan::{
    DebugClients, ErrorTo, FormatId, LogFormat, LogId, LogTarget, OpenLogRules, ResolverId,
    ResolverPlan,
};

impl Compiler<'_> {
    /// The main `error_log` lines; the first log of the plan is the first of them.
    pub(super) fn main_logs(&mut self, main: &Main) {
        self.error_logs = match main.error_log[..] {
            [] => {
                let log = self.log(self.env.error_log.clone());
                Arc::from([ErrorTo {
                    log,
                    most: LogLevel::Error,
                    json: false,
                }])
            }
            _ => self.error_log_lines(&main.error_log),
        };
    }

    /// `error_log` lines of a level; none of its own are those of the main context.
    pub(super) fn error_logs(&mut self, lines: &[ErrorLog]) -> Arc<[ErrorTo]> {
        if lines.is_empty() {
            return Arc::clone(&self.error_logs);
        }
        self.error_log_lines(lines)
    }

    fn error_log_lines(&mut self, lines: &[ErrorLog]) -> Arc<[ErrorTo]> {
        let logs = lines.iter().filter_map(|line| {
            let target = target_of(&line.sink)?;
            Some(ErrorTo {
                log: self.log(target),
                most: line.level,
                json: line.json,
            })
        });
        logs.collect()
    }

    /// Whom `debug_connection` names; a host name stands for its addresses of this moment.
    pub(super) fn debug_clients(&mut self, main: &Main) -> DebugClients {
        let mut clients = DebugClients::default();
        for (client, span) in &main.debug_connection {
            match client {
                DebugClient::Range(range) => clients.ranges.0.push(*range),
                DebugClient::Unix => clients.unix = true,
                DebugClient::Host(host) => match self.addresses(host, 0) {
                    Some(found) => {
                        let hosts = found.iter().map(|addr| Cidr::host(addr.ip()));
                        clients.ranges.0.extend(hosts);
                    }
                    None => {
                        let host = String::from_utf8_lossy(host);
                        let message = format!("host not found in debug_connection \"{host}\"");
                        self.error(message, *span);
                    }
                },
            }
        }
        clients
    }

    /// The log for a target; equal targets are one log.
    pub(super) fn log(&mut self, target: LogTarget) -> LogId {
        let known = self.logs.iter().position(|log| *log == target);
        known.map_or_else(|| self.logs.push(target), LogId::from_index)
    }

    pub(super) fn formats(&mut self, http: &Http) {
        self.first_format = self.formats.len();
        for format in &http.log_formats {
            let plan = LogFormat {
                name: bytes_of(&format.name),
                escape: format.escape,
                line: self.expr(&format.format),
            };
            self.formats.push(plan);
        }
    }

    /// `access_log` lines; none when they are off.
    pub(super) fn access_logs(&mut self, logs: &model::Log) -> Box<[AccessLogPlan]> {
        let lines = logs
            .access_log
            .as_deref()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let cache = logs.open_log_file_cache.as_ref();
        let lines = lines.iter().map(|line| self.access_log(line, cache));
        lines.collect()
    }

    fn access_log(
        &mut self,
        line: &model::AccessLog,
        cache: Option<&Arc<model::OpenLogFileCache>>,
    ) -> AccessLogPlan {
        let varies = matches!(line.sink, LogSink::Variable(_));
        AccessLogPlan {
            kept: cache
                .filter(|_| varies)
                .map(|cache| self.open_log_files(cache)),
            log: target_of(&line.sink).map(|target| self.log(target)),
            path: match &line.sink {
                LogSink::Variable(path) => self.expr(path),
                _ => crate::plan::expr::Expr::default(),
            },
            format: FormatId::from_index(self.first_format + line.format),
            condition: line
                .condition
                .as_ref()
                .map(|condition| self.expr(condition)),
            buffer: line.buffer as u64,
            flush_ms: line.flush.map_or(0, |flush| flush.as_millis() as u64),
            gzip: line.gzip.unwrap_or(0),
        }
    }

    /// The place of a cache: one for each place where the directive stands.
    fn open_log_files(&mut self, cache: &Arc<model::OpenLogFileCache>) -> LogId {
        let known = self
            .open_logs
            .iter()
            .position(|known| Arc::ptr_eq(known, cache));
        let id = known.unwrap_or_else(|| {
            self.open_logs.push(Arc::clone(cache));
            self.open_logs.len() - 1
        });
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.log(LogTarget::Paths(OpenLogRules {
            id,
            max: cache.max,
            inactive_ms: millis(cache.inactive),
            valid_ms: millis(cache.valid),
            min_uses: cache.min_uses,
        }))
    }

    /// The id of a `resolver` line; equal lines are one resolver.
    pub(super) fn resolver(&mut self, resolver: &model::Resolver) -> ResolverId {
        let mut servers = Vec::new();
        for (host, port) in &resolver.servers {
            match self.addresses(host.as_bytes(), *port) {
                Some(addresses) => servers.extend(addresses),
                None => self.error(
                    format!("host not found in resolver \"{host}\""),
                    resolver.span,
                ),
            }
        }
        let plan = ResolverPlan {
            servers,
            valid: resolver.valid,
            ipv4: resolver.ipv4,
            ipv6: resolver.ipv6,
        };
        let known = self.resolvers.iter().position(|known| *known == plan);
        known.map_or_else(|| self.resolvers.push(plan), ResolverId::from_index)
    }
}

fn target_of(sink: &LogSink) -> Option<LogTarget> {
    match sink {
        LogSink::File(path) => Some(LogTarget::File(path.clone())),
        LogSink::Stderr => Some(LogTarget::Stderr),
        LogSink::Syslog(syslog) => Some(LogTarget::Syslog(syslog.clone())),
        LogSink::Variable(_) => None,
    }
}
