//! Live lines: sockets, clock, rate limits, healing; the pure line inside.

pub mod line;
