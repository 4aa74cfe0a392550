//! The driver on real files and in-memory streams.
