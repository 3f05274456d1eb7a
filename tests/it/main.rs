//! The integration tests: one binary that drives the library and the real program.
