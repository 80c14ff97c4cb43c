//! `stream`: its tables, groups, formats and servers stand behind those of `http`, under names of their own.

use std::mem;

use super::Compiler;
use crate::config::model::{Bind, Http, Session, Settings};
use crate::plan::stream::{SessionContent, SessionPlan};

impl Compiler<'_> {
    /// Compiles the block, behind `http`.
    pub(super) fn stream(&mut self, stream: &Http) {
        self.registry.begin_stream();
        let groups = mem::take(&mut self.group_index);
        self.define_names(stream);
        self.tables(stream);
        self.formats(stream);
        self.upstreams(stream);
        let first = self.servers.len();
        self.servers(stream);
        self.listeners(stream, first);
        self.stream_index = mem::replace(&mut self.group_index, groups);
    }

    /// What a server does with a session; none where that is wrong, which was reported.
    pub(super) fn session(
        &mut self,
        settings: &Settings,
        session: &Session,
    ) -> Option<SessionPlan> {
        let content = match session {
            Session::Nothing => return None,
            Session::Return(text) => SessionContent::Return(self.expr(text)),
            Session::Pass {
                address,
                target: None,
            } => SessionContent::Dynamic(self.expr(address)),
            Session::Pass {
                address,
                target: Some(target),
            } => SessionContent::Group(self.group_for(target, address.span)?),
        };
        let (bind, bind_transparent) = match &settings.stream.proxy_bind {
            Some(Bind::Address {
                address,
                transparent,
            }) => (Some(self.expr(address)), *transparent),
            Some(Bind::Off) | None => (None, false),
        };
        Some(SessionPlan {
            content,
            bind,
            bind_transparent,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::from_text;
    use crate::plan::location::Content;
    use crate::plan::stream::SessionContent;
    use crate::plan::{ListenAddr, Plan};

    fn plan(text: &str) -> Plan {
        match from_text(text) {
            Ok((plan, _)) => plan,
            Err(diags) => unreachable!("{diags:?}"),
        }
    }

    fn refused(text: &str) -> Vec<String> {
        match from_text(text) {
            Ok(_) => unreachable!("{text} was taken"),
            Err(diags) => diags.iter().map(|diag| diag.message.clone()).collect(),
        }
    }

    #[test]
    fn both_blocks_have_names_of_their_own() {
        let plan = plan(
            "http { upstream u { server 10.0.0.1; } map $host $m { default a; } log_format f $host;
                    server { listen 80; location / { proxy_pass http://u; } } }
             stream { upstream u { server 10.0.0.2:7; server 10.0.0.3:7 backup; }
                      map $remote_addr $m { default b; } log_format f '$bytes_received $m';
                      server { listen 81; proxy_pass u; access_log /x f; }
                      server { listen unix:/s; proxy_pass $m; } server { listen 82; return \"$remote_addr\"; } }",
        );
        let addresses: Vec<_> = plan.groups.iter().map(|g| g.peers.len()).collect();
        assert_eq!(addresses, [1, 2]);
        let contents: Vec<_> = plan
            .servers
            .iter()
            .map(|server| match &plan.locations[server.root].content {
                Content::Session(session) => match &session.content {
                    SessionContent::Group(id) => format!("group {}", id.0),
                    SessionContent::Dynamic(_) => "dynamic".to_owned(),
                    SessionContent::Return(_) => "return".to_owned(),
                },
                _ => "http".to_owned(),
            })
            .collect();
        assert_eq!(contents, ["http", "group 1", "dynamic", "return"]);
        let listens: Vec<_> = plan
            .listeners
            .iter()
            .map(|listener| match &listener.addr {
                ListenAddr::Tcp(at) => at.port(),
                ListenAddr::Unix(_) => 0,
            })
            .collect();
        assert_eq!(listens, [80, 81, 0, 82]);
        let root = plan.servers.iter().nth(1).map(|server| server.root);
        let log = &plan.locations[root.unwrap()].access_logs[0];
        assert_eq!(plan.formats[log.format].name, "f");
        assert_eq!(log.format.0, plan.formats.len() as u32 - 1);
        assert_eq!(plan.maps.len(), 2);
    }

    #[test]
    fn variables_do_not_mix() {
        let told = refused("stream { server { listen 1; return $request_uri; } }");
        assert_eq!(told, ["unknown \"request_uri\" variable"]);
        let told = refused("http { server { location / { return 200 $bytes_received; } } }");
        assert_eq!(told, ["unknown \"bytes_received\" variable"]);
        let told = refused(
            "http { map $host $m { default 1; } } stream { server { listen 1; return $m; } }",
        );
        assert_eq!(told, ["unknown \"m\" variable"]);
    }
}
