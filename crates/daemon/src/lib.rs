//! evenkeeld: the privileged half of Evenkeel.
//!
//! | module | what |
//! |---|---|
//! | [`args`] | the command line |
//! | [`logging`] | logs to standard error and into a ring |
//! | [`access`] | who may do what |
//! | [`daemon`] | start, recovery after a crash, orderly end |

#![forbid(unsafe_code)]

pub mod access;
pub mod args;
pub mod daemon;
pub mod logging;
