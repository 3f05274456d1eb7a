//! Tests of the layer: its contract with tower, and its records.

mod around;
mod ends;
mod permits;
mod proof;
mod readiness;
mod receipts;
mod slow_down;
mod trial;
