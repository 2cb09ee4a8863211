//! Where bytes come from: files, mapped or copied.

pub mod map;
