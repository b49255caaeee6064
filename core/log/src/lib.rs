//! ottla-log
