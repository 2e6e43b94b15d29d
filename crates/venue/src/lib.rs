//! One folder per venue: its protocol as a pure state machine, bytes in, events out
