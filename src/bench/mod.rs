//! Measurements that users make on their own machines: `oncegate bench`.

pub mod table;
