//! One receipt for a batch that goes into several stores.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use lineside_core::driver::Receipt;
use tokio::sync::oneshot;

/// Completes a [`Receipt`] once every store that was given a part has captured it; it fails when
/// one of them could not. Dropped parts count as failed.
pub struct Gate {
    open: AtomicUsize,
    failed: AtomicBool,
    receipt: Mutex<Option<oneshot::Sender<()>>>,
}

/// One store's part of the gate.
pub struct Part {
    gate: Arc<Gate>,
    done: bool,
}

impl Gate {
    /// A gate and its receipt. It waits for the parts that are taken and for itself to be closed.
    pub fn open() -> (Part, Receipt) {
        let (sender, receipt) = Receipt::waiting();
        let gate = Self {
            open: AtomicUsize::new(1),
            failed: AtomicBool::new(false),
            receipt: Mutex::new(Some(sender)),
        };
        (Part { gate: Arc::new(gate), done: false }, receipt)
    }
}

impl Part {
    /// A part for one more store.
    pub fn split(&self) -> Self {
        self.gate.open.fetch_add(1, Ordering::Relaxed);
        Self { gate: self.gate.clone(), done: false }
    }

    /// The store has it, or says that it will not.
    pub fn done(mut self, captured: bool) {
        self.done = captured;
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.done {
            self.gate.failed.store(true, Ordering::Relaxed);
        }
        // The last one sees what all others said.
        if self.gate.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            let sender = self.gate.receipt.lock().unwrap_or_else(PoisonError::into_inner).take();
            match sender {
                // Nobody may wait for it any more.
                Some(sender) if !self.gate.failed.load(Ordering::Relaxed) => {
                    let _ = sender.send(());
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_receipt_completes_with_the_last_store_and_fails_with_any() {
        let (whole, receipt) = Gate::open();
        let (a, b) = (whole.split(), whole.split());
        whole.done(true);
        a.done(true);
        let mut receipt = Box::pin(receipt);
        assert!(receipt.as_mut().now_or_never().is_none());
        b.done(true);
        assert!(receipt.await.is_ok());

        let (whole, receipt) = Gate::open();
        let (a, b) = (whole.split(), whole.split());
        whole.done(true);
        drop(a);
        b.done(true);
        assert!(receipt.await.is_err());
    }
}
