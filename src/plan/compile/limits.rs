//! Zones of limits, and the limits of a location.

use super::{Compiler, bytes_of};
use crate::config::model::{self, Http, LogLevel, Settings};
use crate::plan::limits::{
    Common, ConnLimit, ConnLimits, ReqLimit, ReqLimits, Table, ZoneId, ZonePlan, is_address,
};

/// The excess that nothing reaches: `nodelay`.
const NEVER: u64 = u64::MAX;

impl Compiler<'_> {
    /// Compiles the zones.
    pub(super) fn limit_zones(&mut self, http: &Http) {
        for zone in &http.limit_zones {
            let kind = match zone.rate {
                Some(_) => "limit_req_zone",
                None => "limit_conn_zone",
            };
            let key = self.expr(&zone.key);
            let plan = ZonePlan {
                by_address: is_address(&key),
                name: bytes_of(&zone.name),
                key,
                text: bytes_of(&zone.key.bytes),
                rate: zone.rate.unwrap_or(0),
                table: Table::of(kind, &zone.name, zone.size as u64, &zone.key.bytes),
            };
            self.limit_zones.push(plan);
        }
    }

    fn zone(&self, name: &[u8]) -> Option<ZoneId> {
        let mut zones = self.limit_zones.enumerate();
        // A zone that nobody declares was reported when the file was read.
        zones
            .find(|(_, zone)| *zone.name == *name)
            .map(|(id, _)| id)
    }

    /// `limit_req` of a location; none where there is none.
    pub(super) fn req_limits(&self, settings: &Settings) -> Option<Box<ReqLimits>> {
        let limit = |limit: &model::LimitReq| {
            let thousandths = |n: u64| n.saturating_mul(1000);
            Some(ReqLimit {
                zone: self.zone(&limit.zone)?,
                burst: thousandths(limit.burst),
                delay: limit.delay.map_or(NEVER, thousandths),
            })
        };
        let said = &settings.limits;
        let limits: Box<[_]> = said.limit_req.iter().filter_map(limit).collect();
        let common = common(
            limits.iter().map(|limit| limit.zone),
            said.limit_req_status,
            said.limit_req_log_level,
            said.limit_req_dry_run,
        );
        (!limits.is_empty()).then(|| Box::new(ReqLimits { limits, common }))
    }

    /// `limit_conn` of a location; none where there is none.
    pub(super) fn conn_limits(&self, settings: &Settings) -> Option<Box<ConnLimits>> {
        let limit = |limit: &model::LimitConn| {
            Some(ConnLimit {
                zone: self.zone(&limit.zone)?,
                max: limit.max,
            })
        };
        let said = &settings.limits;
        let limits: Box<[_]> = said.limit_conn.iter().filter_map(limit).collect();
        let common = common(
            limits.iter().map(|limit| limit.zone),
            said.limit_conn_status,
            said.limit_conn_log_level,
            said.limit_conn_dry_run,
        );
        (!limits.is_empty()).then(|| Box::new(ConnLimits { limits, common }))
    }
}

fn common(
    zones: impl Iterator<Item = ZoneId>,
    status: u16,
    log_level: LogLevel,
    dry_run: bool,
) -> Common {
    let mut order: Vec<(u32, usize)> = zones.zip(0..).map(|(zone, at)| (zone.0, at)).collect();
    order.sort_unstable();
    Common {
        order: order.into_iter().map(|(_, at)| at).collect(),
        status,
        log_level,
        dry_run,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::from_text;

    #[test]
    fn limits_compile_to_thousandths_and_addresses_are_known() {
        let (plan, _) = from_text(
            "http { limit_req_zone $binary_remote_addr zone=a:32k rate=5r/m;
                    limit_req_zone x$remote_addr zone=b:32k rate=2r/s; limit_conn_zone $remote_addr zone=c:32k;
                    server { limit_req zone=b burst=3 delay=2; limit_req zone=a nodelay; limit_conn c 7;
                             location /x { limit_conn_dry_run on; } } server { } }",
        )
        .unwrap_or_else(|diags| panic!("{diags:?}"));
        let zones: Vec<_> = plan
            .limit_zones
            .iter()
            .map(|z| (z.rate, z.by_address))
            .collect();
        assert_eq!(zones, [(83, true), (2000, false), (0, true)]);
        let access = |server: usize| {
            let server = plan.servers.iter().nth(server).unwrap();
            plan.locations[server.root].access.as_ref()
        };
        let limits = access(0).unwrap().limit_req.as_ref().unwrap();
        let said: Vec<_> = limits
            .limits
            .iter()
            .map(|l| (l.zone.0, l.burst, l.delay))
            .collect();
        assert_eq!(said, [(1, 3000, 2000), (0, 0, u64::MAX)]);
        assert_eq!(*limits.common.order, [1, 0]);
        assert_eq!(
            access(0).unwrap().limit_conn.as_ref().unwrap().limits[0].max,
            7
        );
        assert!(access(1).is_none());
    }
}
