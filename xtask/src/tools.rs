//! Finds or installs what the other commands need.
