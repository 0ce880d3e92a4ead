//! What the lab runs inside its networks, and the questions that the task runner asks it.

#![forbid(unsafe_code)]

fn main() {}
