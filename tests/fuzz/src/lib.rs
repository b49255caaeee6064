//! Decoders under random input, with an allocation budget.
