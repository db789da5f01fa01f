//! `oncegate bench`: how fast this machine is.

mod table;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::config::Config;

#[derive(Args)]
pub struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The key table alone, as it grows
    Table(table::Table),
}

impl Bench {
    pub async fn execute(self, config: Config) -> anyhow::Result<ExitCode> {
        match self.what {
            What::Table(table) => table.execute(&config).await,
        }
    }
}
