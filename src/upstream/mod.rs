//! Groups, peers, balancing, idle pools, retry, name resolution and origin connections.
