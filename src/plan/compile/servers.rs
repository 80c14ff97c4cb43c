//! `server` blocks.

use bytes::Bytes;

use super::{Compiler, bytes_of};
use crate::base::ids::DenseId;
use crate::config::model::{self, Http, NameKind};
use crate::plan::location::{LocationKind, ServerPlan};
use crate::plan::locations::LocationTree;
use crate::plan::{LocationId, ServerId};

impl Compiler<'_> {
    /// Compiles every server with its locations; ids follow the file.
    pub(super) fn servers(&mut self, http: &Http) {
        for server in &http.servers {
            let id = ServerId::from_index(self.servers.len());
            let plan = self.server(server, id);
            self.servers.push(plan);
        }
    }

    fn server(&mut self, server: &model::Server, id: ServerId) -> ServerPlan {
        self.server_names.clone_from(&server.names);
        let level = self.level(&server.locations, id);
        let script = self.script(&server.script, &server.locations, None);
        let mut root = self.location_plan(&server.settings, &server.content, id);
        root.kind = LocationKind::Anonymous;
        root.limit_except = None;
        let root: LocationId = self.locations.push(root);
        let mut named = level.named;
        named.sort();
        ServerPlan {
            name: self.server_name(server.names.first()),
            root,
            script,
            tree: level.tree,
            named,
            tls: self.tls_server(&server.settings),
        }
    }
}

impl Compiler<'_> {
    /// `$server_name`: the first name as written, without the dot of `.example.com`.
    fn server_name(&self, name: Option<&model::Name>) -> Bytes {
        let Some(name) = name else {
            return Bytes::new();
        };
        match name.kind {
            NameKind::Regex { .. } => Bytes::from([b"~", &name.text.bytes[..]].concat()),
            _ => {
                let text = self.own_name(&name.text.bytes);
                bytes_of(text.strip_prefix(b".").unwrap_or(text))
            }
        }
    }

    /// A name of a server; the word `$hostname` stands for this machine's.
    pub(super) fn own_name<'n>(&'n self, name: &'n [u8]) -> &'n [u8] {
        if name == b"$hostname" {
            &self.env.hostname
        } else {
            name
        }
    }
}

/// The locations of one level, compiled.
pub(super) struct Level {
    /// How a URI finds them.
    pub(super) tree: LocationTree,
    /// Named ones.
    pub(super) named: Vec<(Bytes, LocationId)>,
    /// Ids by their index in the model, for `if` blocks.
    pub(super) ids: Vec<LocationId>,
    /// `limit_except` of this level.
    pub(super) limit_except: Option<crate::plan::location::LimitExcept>,
}
