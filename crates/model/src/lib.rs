//! The words: instruments, exact decimals, events, marks, topics, time, and the tape's record encoding
