//! What is decided from samples of the true series, and who is told.

pub mod notification;
