//! The Lua scripts.

use redis::{Cmd, cmd};

use voxgate::rate_limit::QuotaCommand;

use crate::command::Part;
use crate::keys::Keys;
use crate::link::{AskError, Link};
use crate::quotas;

/// The scripts, with the name of this gateway and the length of its leases.
pub(crate) struct Scripts {
    admit: Lua,
    give_back: Lua,
    register: Lua,
    renew: Lua,
    quota: Lua,
    instance: String,
    /// The length of a lease in microseconds.
    lease: u64,
}

/// One slot of a lease.
#[derive(Clone)]
pub(crate) struct Slot {
    pub(crate) lease: u64,
    pub(crate) key: String,
}

impl Scripts {
    pub(crate) fn new(instance: String, lease: u64) -> Self {
        Self {
            admit: Lua::new(include_str!("admit.lua")),
            give_back: Lua::new(include_str!("give_back.lua")),
            register: Lua::new(include_str!("register.lua")),
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

    /// Decides a part of a request. With a lease, takes from the limits; otherwise only checks them.
    pub(crate) async fn admit(
        &self,
        link: &Link,
        part: &Part,
        lease: Option<u64>,
    ) -> Result<Vec<i64>, AskError> {
        let name = lease.map_or(String::new(), |lease| self.name(lease));
        let arguments = |command: &mut Cmd| {
            command.arg(part.keys().len()).arg(part.keys());
            let take = u8::from(lease.is_some());
            command.arg(take).arg(&name).arg(self.lease);
            command.arg(part.numbers());
        };
        self.admit.run(link, part.slot(), arguments).await
    }

    /// Gives back what a part of a request has taken.
    pub(crate) async fn give_back(
        &self,
        link: &Link,
        part: &Part,
        lease: u64,
    ) -> Result<(), AskError> {
        let name = self.name(lease);
        let arguments = |command: &mut Cmd| {
            command.arg(part.keys().len()).arg(part.keys());
            command.arg(&name).arg(part.numbers());
        };
        let given = self.give_back.run(link, part.slot(), arguments).await;
        given.map(drop)
    }

    /// Registers this gateway as alive. Returns the number of gateways.
    pub(crate) async fn register(&self, link: &Link, keys: &Keys) -> Result<Vec<i64>, AskError> {
        let gateways = keys.gateways();
        let arguments = |command: &mut Cmd| {
            command.arg(1).arg(&gateways);
            command.arg(&self.instance).arg(self.lease);
        };
        let slot = keys.slot(&gateways);
        self.register.run(link, slot, arguments).await
    }

    /// Renews these slots, which have one hash slot. Returns the indices of those that were missing, and
    /// puts them back if `put_back` says so.
    pub(crate) async fn renew(
        &self,
        link: &Link,
        hash_slot: u16,
        slots: &[Slot],
        put_back: bool,
    ) -> Result<Vec<i64>, AskError> {
        let arguments = |command: &mut Cmd| {
            command.arg(slots.len());
            for slot in slots {
                command.arg(&slot.key);
            }
            command.arg(self.lease).arg(u8::from(put_back));
            for slot in slots {
                command.arg(self.name(slot.lease));
            }
        };
        self.renew.run(link, hash_slot, arguments).await
    }

    /// Changes counters of quotas.
    pub(crate) async fn count(
        &self,
        link: &Link,
        keys: &Keys,
        quotas: &QuotaCommand,
    ) -> Result<Vec<i64>, AskError> {
        let names = keys.quotas(quotas);
        let values = quotas::arguments(quotas);
        let arguments = |command: &mut Cmd| {
            command.arg(names.len()).arg(&names).arg(&values);
        };
        let slot = names.first().map_or(0, |name| keys.slot(name));
        self.quota.run(link, slot, arguments).await
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
        link: &Link,
        slot: u16,
        arguments: impl Fn(&mut Cmd),
    ) -> Result<Vec<i64>, AskError> {
        let mut command = cmd("EVALSHA");
        arguments(command.arg(&self.hash));
        match link.ask(slot, &command).await {
            Err(error) if error.is_no_script() => {
                let mut command = cmd("EVAL");
                arguments(command.arg(self.code));
                link.ask(slot, &command).await
            }
            answer => answer,
        }
    }
}
