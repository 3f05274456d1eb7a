//! Reads bodies and messages as servers do, and refuses what they could read in two ways.

mod bodies;
