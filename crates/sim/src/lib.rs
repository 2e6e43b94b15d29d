//! Simulated venues with truth and faults, written from the venues' documents
