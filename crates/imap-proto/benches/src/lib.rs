//! Nothing: see `benches/figures`.
