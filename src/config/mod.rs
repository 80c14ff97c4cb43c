//! Text (nginx.conf or TOML) to `Tree` to `Model`, through the one directive table; all diagnostics.
