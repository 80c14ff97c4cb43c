//! `map`, `geo` and `split_clients` blocks.

use super::{Compiler, bytes_of};
use crate::base::cidr::Cidrs;
use crate::base::ids::IdVec;
use crate::config::model::{self, Http, MapKey};
use crate::plan::lookup::{GeoBuilder, GeoPlan, MapPlan, SplitPlan};
use crate::plan::{GeoId, MapId, SplitId};

/// The compiled tables.
#[derive(Default)]
pub(super) struct Tables {
    pub(super) maps: IdVec<MapId, MapPlan>,
    pub(super) geos: IdVec<GeoId, GeoPlan>,
    pub(super) splits: IdVec<SplitId, SplitPlan>,
}

impl Compiler<'_> {
    pub(super) fn tables(&mut self, http: &Http) {
        for map in &http.maps {
            let plan = self.map(map);
            self.tables.maps.push(plan);
        }
        for geo in &http.geos {
            let plan = self.geo(geo);
            self.tables.geos.push(plan);
        }
        for split in &http.split_clients {
            let plan = self.split(split);
            self.tables.splits.push(plan);
        }
    }

    fn map(&mut self, map: &model::Map) -> MapPlan {
        let source = self.expr(&map.source);
        let default = self.expr(&map.default);
        let name = bytes_of(&map.variable.bytes);
        let mut plan = MapPlan::new(name, source, default, map.hostnames, map.volatile);
        for entry in &map.entries {
            let value = self.expr(&entry.value);
            match entry.kind {
                MapKey::Exact => {
                    if !plan.add(&entry.key.bytes, value) {
                        let message = format!("conflicting parameter \"{}\"", entry.key.lossy());
                        self.error(message, entry.key.span);
                    }
                }
                MapKey::Regex { caseless } => {
                    if let Some(regex) = self.regex(&entry.key, caseless) {
                        plan.add_regex(regex, value);
                    }
                }
            }
        }
        plan
    }

    fn geo(&mut self, geo: &model::Geo) -> GeoPlan {
        let source = geo.source.as_ref().map(|name| self.variable(name));
        let name = bytes_of(&geo.variable.bytes);
        let mut builder = GeoBuilder::new(name, source, bytes_of(&geo.default.bytes), geo.ranges);
        for entry in &geo.entries {
            builder.add(
                entry.first,
                entry.last,
                entry.prefix,
                bytes_of(&entry.value.bytes),
            );
        }
        let proxies = Cidrs(geo.proxies.clone());
        let mut plan = builder.build(proxies, geo.proxy_recursive);
        plan.volatile = geo.volatile;
        plan
    }

    fn split(&mut self, split: &model::SplitClients) -> SplitPlan {
        let source = self.expr(&split.key);
        let parts = split
            .parts
            .iter()
            .map(|(share, value)| (*share, bytes_of(&value.bytes)));
        SplitPlan::new(bytes_of(&split.variable.bytes), source, parts)
    }
}
