//! The `pool` machine among workers behind network links.
