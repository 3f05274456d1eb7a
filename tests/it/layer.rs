//! The layer's contract with tower, and with whoever reads its records.

mod around;
mod ends;
mod permits;
mod proof;
mod readiness;
mod receipts;
