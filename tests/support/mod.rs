//! What the tests that need real servers share.

// Each test binary compiles this and uses a part of it.
#![allow(dead_code)]

pub mod kafka;
