//! The relay alone.
