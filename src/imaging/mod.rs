//! From the file a hospital has to the tensor a network was trained on.
//!
//! A recipe says the steps; today it is read and checked, so that bundles can carry one.
//! This room is pure: it must never touch a socket, an async runtime or a model.

pub mod recipe;
