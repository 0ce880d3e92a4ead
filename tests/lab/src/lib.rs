//! Networks of namespaces with NAT, real gateways and real clients, all inside one sandbox per test.

#![forbid(unsafe_code)]
