//! The checkers and the fault lab
