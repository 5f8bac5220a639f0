//! The `verify` machine among workers of many kinds.
