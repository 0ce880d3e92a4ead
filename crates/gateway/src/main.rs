//! The practice gateway's command line.

#![forbid(unsafe_code)]

fn main() {}
