//! ottla-env
