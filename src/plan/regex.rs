//! One pattern type over two engines: `regex` (linear time) where it can, PCRE where it must.
//!
//! nginx patterns are PCRE. A pattern that `regex` takes means the same there; look-around and
//! back-references go to PCRE with a match limit. Knows no variables: named captures are told as
//! names, the caller binds them to slots.
