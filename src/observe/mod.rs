//! Log sinks, counters and histograms of each shard.
