//! Who uses: a key and its account.

use std::time::SystemTime;

use voxgate::Principal;
use voxgate::rate_limit::{LimitScope, Quota};

/// A key or an account, with its quotas.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner<'a> {
    pub(crate) scope: LimitScope,
    pub(crate) id: &'a str,
    pub(crate) quotas: &'a [Quota],
}

/// The key and the account of a principal. An old and a new token of one key have the same id.
pub(crate) fn owners(principal: &Principal) -> impl Iterator<Item = Owner<'_>> {
    let key = Owner {
        scope: LimitScope::Key,
        id: principal.id(),
        quotas: principal.quotas(),
    };
    let account = principal.account().map(|account| Owner {
        scope: LimitScope::Account,
        id: account.id(),
        quotas: account.quotas(),
    });
    [Some(key), account].into_iter().flatten()
}

/// The name of a scope in files, metrics and answers.
pub(crate) fn scope_name(scope: LimitScope) -> &'static str {
    match scope {
        LimitScope::Account => "account",
        _ => "key",
    }
}

/// The clock of a book.
pub(crate) type Clock = Box<dyn Fn() -> SystemTime + Send + Sync>;
