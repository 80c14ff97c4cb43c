//! Wire protocols as pure codecs and machines: bytes in, values out. No io, no clock, no configuration.
