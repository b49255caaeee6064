//! ottla-wire
