//! A supervisor's task and the way to end it.

use tokio_util::sync::CancellationToken;

use crate::device::Owned;

/// See the module.
pub(super) struct Run {
    cancel: CancellationToken,
    task: Owned<()>,
}

impl Run {
    pub(super) fn start<F: Future<Output = ()> + Send + 'static>(
        make: impl FnOnce(CancellationToken) -> F,
    ) -> Self {
        let cancel = CancellationToken::new();
        let task = Owned(tokio::spawn(make(cancel.clone())));
        Self { cancel, task }
    }

    pub(super) async fn stop(mut self) {
        self.cancel.cancel();
        // The supervisor bounds its own end; a panic in it has nothing left to say.
        let _ = (&mut self.task.0).await;
    }
}
