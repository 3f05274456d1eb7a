//! Runs the scripts that gateways send, with Lua 5.1 as Redis does
//! (<https://redis.io/docs/latest/develop/programmability/lua-api/>).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;
use mlua::{Function, Lua, MultiValue, Table, Value};

use crate::keyspace::{Keyspace, Micros};
use crate::resp::Reply;

/// A Lua interpreter with `redis.call`, and the scripts that it knows.
pub struct Scripts {
    lua: Lua,
    known: RefCell<HashMap<Bytes, Function>>,
    now: Rc<Cell<Micros>>,
}

impl Scripts {
    /// An interpreter for this data.
    ///
    /// # Errors
    ///
    /// If Lua has no memory.
    pub fn new(keyspace: Rc<RefCell<Keyspace>>) -> mlua::Result<Self> {
        let lua = Lua::new();
        let now = Rc::new(Cell::new(0));
        let time = Rc::clone(&now);
        let call = lua.create_function(move |lua, arguments: MultiValue| {
            let command = arguments
                .iter()
                .map(argument)
                .collect::<mlua::Result<Vec<_>>>()?;
            let reply = keyspace.borrow_mut().run(time.get(), &command);
            to_lua(lua, reply)
        })?;
        let redis = lua.create_table()?;
        redis.set("call", call)?;
        lua.globals().set("redis", redis)?;
        Ok(Self {
            lua,
            known: RefCell::default(),
            now,
        })
    }

    /// Forgets all scripts, as a restart does.
    pub fn forget(&self) {
        self.known.borrow_mut().clear();
    }

    /// Runs `EVALSHA` or `EVAL`: the hash or the text, the number of keys, the keys, the arguments.
    pub fn run(&self, now: Micros, is_hash: bool, arguments: &[Bytes]) -> Reply {
        let [script, count, rest @ ..] = arguments else {
            return Reply::Error("ERR wrong number of arguments".into());
        };
        let count = std::str::from_utf8(count)
            .ok()
            .and_then(|it| it.parse().ok());
        let Some((keys, values)) = count.and_then(|count| rest.split_at_checked(count)) else {
            return Reply::Error("ERR Number of keys can't be greater than number of args".into());
        };
        let hash = match is_hash {
            true => script.clone(),
            false => hash(script),
        };
        let known = self.known.borrow().get(&hash).cloned();
        let function = match known {
            Some(function) => Ok(function),
            None if is_hash => {
                return Reply::Error("NOSCRIPT No matching script. Please use EVAL.".into());
            }
            None => self.lua.load(&script[..]).into_function(),
        };
        let reply = function.and_then(|function| {
            self.known.borrow_mut().insert(hash, function.clone());
            self.now.set(now);
            let globals = self.lua.globals();
            globals.set("KEYS", self.strings(keys)?)?;
            globals.set("ARGV", self.strings(values)?)?;
            from_lua(function.call(())?)
        });
        reply.unwrap_or_else(|error| {
            let error = error.to_string();
            Reply::Error(format!("ERR {}", error.lines().next().unwrap_or_default()))
        })
    }

    fn strings(&self, texts: &[Bytes]) -> mlua::Result<Table> {
        let table = self.lua.create_table_with_capacity(texts.len(), 0)?;
        for text in texts {
            table.raw_push(self.lua.create_string(text)?)?;
        }
        Ok(table)
    }
}

/// The SHA-1 of a script in hexadecimal digits.
fn hash(script: &[u8]) -> Bytes {
    let script = redis::Script::new(&String::from_utf8_lossy(script));
    Bytes::copy_from_slice(script.get_hash().as_bytes())
}

fn argument(value: &Value) -> mlua::Result<Bytes> {
    match value {
        Value::String(text) => Ok(Bytes::copy_from_slice(&text.as_bytes())),
        Value::Integer(number) => Ok(number.to_string().into()),
        Value::Number(number) => Ok(number.to_string().into()),
        _ => Err(mlua::Error::runtime(
            "Lua redis lib command arguments must be strings or integers",
        )),
    }
}

fn to_lua(lua: &Lua, reply: Reply) -> mlua::Result<Value> {
    Ok(match reply {
        Reply::Integer(number) => Value::Integer(number),
        Reply::Nil => Value::Boolean(false),
        Reply::Bulk(text) => Value::String(lua.create_string(text)?),
        Reply::Status(text) => {
            let status = lua.create_table()?;
            status.set("ok", text)?;
            Value::Table(status)
        }
        Reply::Array(replies) => {
            let table = lua.create_table_with_capacity(replies.len(), 0)?;
            for reply in replies {
                table.raw_push(to_lua(lua, reply)?)?;
            }
            Value::Table(table)
        }
        Reply::Error(error) => return Err(mlua::Error::runtime(error)),
    })
}

fn from_lua(value: Value) -> mlua::Result<Reply> {
    Ok(match value {
        Value::String(text) => Reply::Bulk(Bytes::copy_from_slice(&text.as_bytes())),
        Value::Integer(number) => Reply::Integer(number),
        // Redis drops the fraction.
        #[expect(clippy::cast_possible_truncation, reason = "as Redis does")]
        Value::Number(number) => Reply::Integer(number as i64),
        Value::Boolean(true) => Reply::Integer(1),
        Value::Table(table) => {
            // An array ends at the first `nil`.
            let items = table.sequence_values::<Value>();
            let items = items.map(|item| from_lua(item?));
            Reply::Array(items.collect::<mlua::Result<_>>()?)
        }
        _ => Reply::Nil,
    })
}
