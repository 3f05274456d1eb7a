//! The Lua scripts.

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, RedisResult, ServerErrorKind, cmd};

use voxgate::rate_limit::QuotaCommand;

use crate::command::EncodedCommand;
use crate::keys::Keys;
use crate::quotas;

/// The scripts, with the name of this gateway and the length of its leases.
pub(crate) struct Scripts {
    admit: Lua,
    renew: Lua,
    quota: Lua,
    instance: String,
    /// The length of a lease in microseconds.
    lease: u64,
}

/// One slot of a lease.
pub(crate) struct Slot {
    pub(crate) lease: u64,
    pub(crate) key: String,
}

impl Scripts {
    pub(crate) fn new(instance: String, lease: u64) -> Self {
        Self {
            admit: Lua::new(include_str!("admit.lua")),
            renew: Lua::new(include_str!("renew.lua")),
            quota: Lua::new(include_str!("quota.lua")),
            instance,
            lease,
        }
    }

    /// The name of a lease in Redis. It is unique among gateways and across restarts.
    fn name(&self, lease: u64) -> String {
        format!("{}:{lease}", self.instance)
    }

    /// Decides a request. With a lease, takes from the limits; otherwise only checks them.
    pub(crate) async fn admit(
        &self,
        connection: &mut MultiplexedConnection,
        request: &EncodedCommand,
        lease: Option<u64>,
    ) -> RedisResult<Vec<i64>> {
        let name = lease.map_or(String::new(), |lease| self.name(lease));
        let arguments = |command: &mut Cmd| {
            command.arg(request.keys().len()).arg(request.keys());
            let take = u8::from(lease.is_some());
            command.arg(take).arg(&name).arg(self.lease);
            command.arg(request.numbers());
        };
        self.admit.run(connection, arguments).await
    }

    /// Renews these slots and registers this gateway as alive. Returns the number of gateways and
    /// the indices of missing slots, unless they were put back.
    pub(crate) async fn renew(
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

    /// Changes counters of quotas.
    pub(crate) async fn count(
        &self,
        connection: &mut MultiplexedConnection,
        keys: &Keys,
        quotas: &QuotaCommand,
    ) -> RedisResult<Vec<i64>> {
        let names: Vec<_> = quotas.counters.iter().map(|it| keys.quota(it)).collect();
        let values = quotas::arguments(quotas);
        let arguments = |command: &mut Cmd| {
            command.arg(names.len()).arg(&names).arg(&values);
        };
        self.quota.run(connection, arguments).await
    }

    /// The command that gives a slot back.
    pub(crate) fn release(&self, slot: &str, lease: u64) -> Cmd {
        let mut command = cmd("ZREM");
        command.arg(slot).arg(self.name(lease));
        command
    }

    /// The command that removes this gateway.
    pub(crate) fn deregister(&self, gateways: &str) -> Cmd {
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

    /// Runs the script by its hash, or by its text if Redis does not know the hash.
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
