//! What stands before a location's content: client address, address rules, passwords, and what another location says.

use super::{Compiler, bytes_of};
use crate::base::cidr::{Cidr, Cidrs};
use crate::config::model::{
    AccessRule, AuthBasic, RealIpHeader, Realip, Settings, Source, Subrequests, TrustedPeer,
};
use crate::plan::access::{AccessPlan, AuthRequest, BasicPlan, RealipHeader, RealipPlan, Rules};

impl Compiler<'_> {
    /// Everything that is checked before the content; none where nothing is.
    pub(super) fn access(&mut self, settings: &Settings) -> Option<Box<AccessPlan>> {
        let plan = AccessPlan {
            realip: self.realip(&settings.realip),
            limit_req: self.req_limits(settings),
            limit_conn: self.conn_limits(settings),
            rules: rules(&settings.access.rules),
            basic: self.basic(&settings.auth_basic),
            auth_request: self.auth_request(&settings.subrequests),
        };
        (!plan.is_empty()).then(|| Box::new(plan))
    }

    fn realip(&mut self, realip: &Realip) -> Option<RealipPlan> {
        if realip.set_real_ip_from.is_empty() {
            return None;
        }
        let mut trusted = Vec::new();
        let mut trusts_unix = false;
        for peer in realip.set_real_ip_from.iter() {
            match peer {
                TrustedPeer::Unix => trusts_unix = true,
                TrustedPeer::Range(range) => trusted.push(*range),
                TrustedPeer::Name(name) => match self.addresses(&name.bytes, 0) {
                    Some(all) => trusted.extend(all.iter().map(|at| Cidr::host(at.ip()))),
                    None => {
                        let text =
                            format!("host not found in set_real_ip_from \"{}\"", name.lossy());
                        self.error(text, name.span);
                    }
                },
            }
        }
        Some(RealipPlan {
            trusted: Cidrs(trusted),
            trusts_unix,
            header: match &realip.real_ip_header {
                RealIpHeader::ForwardedFor => RealipHeader::ForwardedFor,
                RealIpHeader::ProxyProtocol => RealipHeader::ProxyProtocol,
                RealIpHeader::Field(name) => RealipHeader::Field(bytes_of(name)),
            },
            recursive: realip.real_ip_recursive,
        })
    }

    /// Both directives together ask for a password; one alone does nothing, as in nginx.
    fn basic(&mut self, basic: &AuthBasic) -> Option<BasicPlan> {
        let realm = self.expr(basic.auth_basic.as_ref()?);
        if realm.as_literal() == Some(b"off") {
            return None;
        }
        let file = self.expr(basic.auth_basic_user_file.as_ref()?);
        let mut folder = Vec::new();
        if let Some(path) = self.env.files.first().and_then(|file| file.path.parent()) {
            folder.extend_from_slice(path.as_os_str().as_encoded_bytes());
            folder.push(b'/');
        }
        Some(BasicPlan {
            realm,
            file,
            folder: folder.into(),
        })
    }

    fn auth_request(&mut self, settings: &Subrequests) -> Option<Box<AuthRequest>> {
        let uri = settings
            .auth_request
            .as_ref()
            .filter(|uri| !uri.is_empty())?;
        let sets = settings.auth_request_set.iter().filter_map(|set| {
            // A name that may not be set was reported when the names were collected.
            let target = self.registry.define_slot(&set.variable.bytes).ok()?;
            Some((target, self.expr(&set.value)))
        });
        Some(Box::new(AuthRequest {
            sets: sets.collect(),
            uri: bytes_of(uri),
        }))
    }
}

/// `all` stands for one rule of each kind.
fn rules(rules: &[AccessRule]) -> Rules {
    let mut ranges = Vec::new();
    let mut unix = None;
    for rule in rules {
        match rule.source {
            Source::Range(range) => ranges.push((range, rule.deny)),
            Source::Unix => unix = unix.or(Some(rule.deny)),
            Source::All => {
                ranges.push((Cidr::V4(0, 0), rule.deny));
                ranges.push((Cidr::V6(0, 0), rule.deny));
                unix = unix.or(Some(rule.deny));
            }
        }
    }
    Rules {
        ranges: ranges.into(),
        unix,
    }
}
