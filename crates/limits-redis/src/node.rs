//! One server: a single Redis, the primary behind Sentinels, or a node of a cluster.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use redis::aio::MultiplexedConnection;
use tokio::task::AbortHandle;

use crate::address::Endpoint;
use crate::health::{Health, Overall};

/// One server, which a connection task keeps connected.
pub(crate) struct Node {
    /// The node of a cluster; `None` if the URL names the server.
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) health: Health,
    connection: RefCell<Option<MultiplexedConnection>>,
    task: RefCell<Option<AbortHandle>>,
    must_restore: Cell<bool>,
}

impl Node {
    pub(crate) fn new(redis: String, endpoint: Option<Endpoint>, overall: &Rc<Overall>) -> Self {
        Self {
            endpoint,
            health: Health::new(redis, Rc::clone(overall)),
            connection: RefCell::default(),
            task: RefCell::default(),
            must_restore: Cell::default(),
        }
    }

    pub(crate) fn host(&self) -> &str {
        self.endpoint.as_ref().map_or("", Endpoint::host)
    }

    pub(crate) fn set_task(&self, task: AbortHandle) {
        self.task.replace(Some(task));
    }

    /// Ends the connection task and its connection.
    pub(crate) fn close(&self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
        self.set_connection(None);
    }

    /// The connection, once the leases of this process are restored there.
    pub(crate) fn connection(&self) -> Option<MultiplexedConnection> {
        self.connection.borrow().clone()
    }

    /// Stops the use of the connection until the leases of this process are restored: this server has
    /// taken over from another one, and may not know them.
    pub(crate) fn restore(&self) {
        self.must_restore.set(true);
        self.set_connection(None);
    }

    /// Whether leases were to be restored. From now on they are not, unless it is said again.
    pub(crate) fn take_must_restore(&self) -> bool {
        self.must_restore.take()
    }

    /// Waits until the leases are to be restored.
    pub(crate) async fn restoring(&self) {
        loop {
            let changed = self.health.changed();
            if self.must_restore.get() {
                return;
            }
            changed.await;
        }
    }

    pub(crate) fn set_connection(&self, connection: Option<MultiplexedConnection>) {
        let is_connected = connection.is_some();
        self.connection.replace(connection);
        self.health.set_connected(is_connected);
    }
}
