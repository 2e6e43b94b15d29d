//! The durable log and the bus in one: lanes, segments, cursors
