//! Output of the `voxgate` commands: text from callers, made safe for a terminal ([`text`]), and
//! tables ([`table`]). Colours ([`color`]). Who runs a command ([`actor`]).

pub mod actor;
pub mod color;
pub mod table;
pub mod text;
