//! What several tests share.
#![allow(dead_code)] // no test uses all of it

pub mod dir;
pub mod limits;
pub mod raw;
pub mod run;
pub mod small;
pub mod vocab;
