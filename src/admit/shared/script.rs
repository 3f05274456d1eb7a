//! What Redis runs for us.

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, RedisResult, ServerErrorKind, cmd};

use super::call::Call;

/// The scripts, and who runs them for how long.
pub(super) struct Scripts {
    admit: Lua,
    renew: Lua,
    instance: String,
    /// In microseconds.
    lease: u64,
}

/// One of the slots that a lease holds.
pub(super) struct Slot {
    pub(super) lease: u64,
    pub(super) key: String,
}

impl Scripts {
    pub(super) fn new(instance: String, lease: u64) -> Self {
        Self {
            admit: Lua::new(include_str!("admit.lua")),
            renew: Lua::new(include_str!("renew.lua")),
            instance,
            lease,
        }
    }

    /// What a lease is called: nobody else, and nobody after a restart, has one of this name.
    fn name(&self, lease: u64) -> String {
        format!("{}:{lease}", self.instance)
    }

    /// Asks a question, to take what it asks for under the name of `lease`, or only to look.
    pub(super) async fn admit(
        &self,
        connection: &mut MultiplexedConnection,
        call: &Call,
        lease: Option<u64>,
    ) -> RedisResult<Vec<i64>> {
        let name = lease.map_or(String::new(), |lease| self.name(lease));
        let arguments = |command: &mut Cmd| {
            command.arg(call.keys().len()).arg(call.keys());
            let take = u8::from(lease.is_some());
            command.arg(take).arg(&name).arg(self.lease);
            command.arg(call.numbers());
        };
        self.admit.run(connection, arguments).await
    }

    /// Renews these slots and says that this gateway is alive. Says how many gateways are, and which
    /// of the slots were missing, unless it was to put them back.
    pub(super) async fn renew(
        &self,
        connection: &mut MultiplexedConnection,
        gateways: &str,
        slots: &[Slot],
        put_back: bool,
    ) -> RedisResult<Vec<i64>> {
        let arguments = |command: &mut Cmd| {
            command.arg(1 + slots.len()).arg(gateways);
            for slot in slots {
                command.arg(&slot.key);
            }
            command.arg(&self.instance).arg(self.lease);
            command.arg(u8::from(put_back));
            for slot in slots {
                command.arg(self.name(slot.lease));
            }
        };
        self.renew.run(connection, arguments).await
    }

    /// Gives a slot back.
    pub(super) fn release(&self, slot: &str, lease: u64) -> Cmd {
        let mut command = cmd("ZREM");
        command.arg(slot).arg(self.name(lease));
        command
    }

    /// Says that this gateway is gone.
    pub(super) fn leave(&self, gateways: &str) -> Cmd {
        let mut command = cmd("ZREM");
        command.arg(gateways).arg(&self.instance);
        command
    }
}

struct Lua {
    code: &'static str,
    hash: String,
}

impl Lua {
    fn new(code: &'static str) -> Self {
        let hash = redis::Script::new(code).get_hash().to_owned();
        Self { code, hash }
    }

    /// Runs it by its hash, or as a whole if Redis does not know it (any more).
    async fn run(
        &self,
        connection: &mut MultiplexedConnection,
        arguments: impl Fn(&mut Cmd),
    ) -> RedisResult<Vec<i64>> {
        let mut command = cmd("EVALSHA");
        arguments(command.arg(&self.hash));
        match command.query_async(connection).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                let mut command = cmd("EVAL");
                arguments(command.arg(self.code));
                command.query_async(connection).await
            }
            answer => answer,
        }
    }
}
