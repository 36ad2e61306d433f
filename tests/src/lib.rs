//! Nothing but a place for the end-to-end tests in `e2e/`.
