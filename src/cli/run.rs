//! `oncegate run`.

use std::process::ExitCode;

use clap::Args;

use super::stop_on_signal;
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
        let stop = stop_on_signal()?;
        worker::run(config, self.accept_key_rules, stop).await?;
        tracing::info!("stopped");
        Ok(ExitCode::SUCCESS)
    }
}
