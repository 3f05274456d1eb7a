//! Output of the `voxgate` commands: text from callers, made safe for a terminal ([`text`]), and
//! tables ([`table`]).

pub mod table;
pub mod text;
