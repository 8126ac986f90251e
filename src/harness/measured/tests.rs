//! Folders as the harness writes them, and broken ones.
