//! Whether a record is where it was promised to be.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::queue::Waiter;

/// Resolves when a record is as safe as its sink promises; until then the request waits. A record
/// that could not be kept in time refuses it.
///
/// # Cancel safety
///
/// Dropping it changes nothing about the record.
#[must_use = "a request must wait for its record"]
pub struct Receipt(Kind);

enum Kind {
    Recorded,
    Waiting(Arc<Waiter>),
    Other(Pin<Box<dyn Future<Output = Result<(), NotRecorded>> + Send>>),
}

/// The record could not be kept as its sink promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotRecorded;

impl Receipt {
    /// Nobody has to wait.
    pub fn recorded() -> Self {
        Self(Kind::Recorded)
    }

    /// The request waits for this future. Put a time limit on it; the layer sets none.
    pub fn pending(future: impl Future<Output = Result<(), NotRecorded>> + Send + 'static) -> Self {
        Self(Kind::Other(Box::pin(future)))
    }

    /// The request waits for all of these.
    pub fn all(receipts: impl IntoIterator<Item = Self>) -> Self {
        let receipts = receipts
            .into_iter()
            .filter(|receipt| !receipt.is_recorded());
        let mut receipts: Vec<Self> = receipts.collect();
        match receipts.len() {
            0 | 1 => receipts.pop().unwrap_or_else(Self::recorded),
            _ => Self::pending(async {
                for receipt in receipts {
                    receipt.await?;
                }
                Ok(())
            }),
        }
    }

    pub(super) fn waiting(waiter: Arc<Waiter>) -> Self {
        Self(Kind::Waiting(waiter))
    }

    /// Whether nobody has to wait.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        matches!(self.0, Kind::Recorded)
    }
}

impl Future for Receipt {
    type Output = Result<(), NotRecorded>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Kind::Recorded => Poll::Ready(Ok(())),
            Kind::Waiting(waiter) => waiter.poll(cx),
            Kind::Other(future) => future.as_mut().poll(cx),
        }
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receipt")
    }
}

impl fmt::Display for NotRecorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the audit record could not be kept")
    }
}

impl std::error::Error for NotRecorded {}
