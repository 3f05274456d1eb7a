//! The receipt of a record.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::queue::Waiter;

/// Resolves when the delivery guarantee of a record is met. The request waits until then. If the
/// record could not be stored in time, the request is refused.
///
/// # Cancel safety
///
/// Dropping the receipt does not affect the record.
#[must_use = "a request must wait for its record"]
pub struct Receipt(Kind);

enum Kind {
    Recorded,
    Waiting(Arc<Waiter>),
    Other(Pin<Box<dyn Future<Output = Result<(), NotRecorded>> + Send>>),
}

/// The delivery guarantee of the record could not be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotRecorded;

impl Receipt {
    /// A receipt that is ready at once.
    pub fn recorded() -> Self {
        Self(Kind::Recorded)
    }

    /// A receipt that resolves with this future. Set a timeout in the future; the layer sets none.
    pub fn pending(future: impl Future<Output = Result<(), NotRecorded>> + Send + 'static) -> Self {
        Self(Kind::Other(Box::pin(future)))
    }

    /// A receipt that resolves when all of these have resolved.
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

    /// Whether the receipt is ready.
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
        f.write_str("the audit record could not be stored; check the audit sink")
    }
}

impl std::error::Error for NotRecorded {}
