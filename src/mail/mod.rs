//! The only way shards talk: a closed message enum over bounded rings.
