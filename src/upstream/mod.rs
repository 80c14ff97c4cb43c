//! Groups, peers, balancing, health, idle pools, retry, name resolution and origin connections.
//!
//! Picking is pure: `now` and random words are arguments, and [`group`], [`balance`], [`retry`] and the machine of
//! [`resolve`] never see a socket. Knows no client and no configuration text. Start at [`group::Groups::begin`] and [`selection`],
//! then [`connect::acquire`]; [`retry`] says what a failure means.

pub mod balance;
pub mod connect;
pub mod crc32;
pub mod group;
pub mod h2;
pub mod health;
pub mod origin;
pub mod peers;
pub mod pool;
pub mod resolve;
pub mod retry;
pub mod selection;
pub mod sessions;
pub mod timing;
pub mod tls;
pub mod trouble;

pub use group::Groups;
pub use pool::Pool;
pub use resolve::Resolvers;
pub use sessions::Sessions;
