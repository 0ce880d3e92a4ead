//! Filled by the codec.
