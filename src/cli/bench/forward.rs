//! `oncegate bench forward`: what `oncegate bench` starts to measure the gate beside; not for anybody else.

use std::process::ExitCode;

use clap::Args;

use crate::bench::forwarder;
use crate::config::Config;

#[derive(Args)]
pub struct Forward {
    /// Leave de-duplication to the output stream
    #[arg(long)]
    message_ids: bool,
}

impl Forward {
    pub async fn execute(self, config: Config) -> anyhow::Result<ExitCode> {
        forwarder::run(&config, self.message_ids).await?;
        Ok(ExitCode::SUCCESS)
    }
}
