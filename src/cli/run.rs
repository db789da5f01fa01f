//! `oncegate run`.

use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::worker;

#[derive(Args)]
pub struct Run {
    /// Lead even though key.from or key.scope differ from those of the last leader: live keys are
    /// looked for in new places, and so forgotten
    #[arg(long)]
    accept_key_rules: bool,
}

impl Run {
    pub async fn execute(self, config: Config) -> anyhow::Result<ExitCode> {
        let stop = CancellationToken::new();
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stopping = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
                _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
            }
            stopping.cancel();
        });
        worker::run(config, self.accept_key_rules, stop).await?;
        tracing::info!("stopped");
        Ok(ExitCode::SUCCESS)
    }
}
