//! The catalog in the binary: kept by the running process, looked at and looked after by commands.

mod asks;
pub mod keeper;
pub mod ls;
pub mod migrate;
pub mod retain;
pub mod verbs;
