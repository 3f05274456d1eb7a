//! What the commands of `voxgate` print: text that callers chose, made safe for a terminal ([`text`]),
//! and tables of it ([`table`]).

pub mod table;
pub mod text;
