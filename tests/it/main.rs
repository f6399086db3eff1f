//! The integration tests: one binary, one module for each room or journey.

mod imaging;
