//! `oncegate rebuild`.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;

use super::say;
use crate::config::Config;
use crate::worker::rebuild::{self, Loss, Rebuilt};

#[derive(Args)]
pub struct Rebuild {
    /// Follow the ledger as it is, even though the table has applied another or a longer one; says how many
    /// actions may be forwarded a second time, and asks
    #[arg(long)]
    accept_ledger: bool,
    /// Do not ask
    #[arg(long, requires = "accept_ledger")]
    yes: bool,
}

impl Rebuild {
    pub async fn execute(self, config: Config) -> anyhow::Result<ExitCode> {
        let rebuilt = rebuild::prepare(&config, self.accept_ledger).await?;
        if let Some(why) = &rebuilt.unreadable {
            tell(&format!(
                "The table that is there can't be read; a new one takes its place. Nor can it be told whether this ledger is the one that it had applied: what a ledger that went back has lost is forwarded a second time. It said: {why}"
            ))?;
        }
        if let Some(loss) = &rebuilt.loss {
            tell(&explanation(&config, &rebuilt, loss))?;
            if !self.yes && !confirmed()? {
                rebuilt.discard()?;
                anyhow::bail!("not confirmed; nothing was changed (--yes confirms beforehand)");
            }
        }
        let Rebuilt { ledger_sequence, input_sequence, keys, foreign, .. } = rebuilt;
        let kept = rebuilt.finish()?;
        let path = config.table.path.display();
        say(format_args!(
            "{path}: about {keys} keys, from the ledger up to {ledger_sequence}; {} is judged up to \
             {input_sequence}",
            config.input.stream
        ))?;
        if foreign > 0 {
            say(format_args!("{foreign} messages in the ledger are not the gate's: passed over"))?;
        }
        if let Some(kept) = kept {
            say(format_args!("what was there before is kept in {}", kept.display()))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn explanation(config: &Config, rebuilt: &Rebuilt, loss: &Loss) -> String {
    let input = &config.input.stream;
    let (judged, again) = (loss.input_sequence, rebuilt.input_sequence);
    let input_says = match (loss.is_work_queue, judged > again) {
        (true, _) => format!(
            "{input} is a work queue: of what it has deleted nothing is judged again, and an action among it \
             that no executor had received yet is lost; a retry \
             of one of these keys is forwarded a second time, as a new run."
        ),
        (false, true) => format!(
            "{input} is judged again from {} on; it was judged up to {judged}, so up to {} actions are judged a \
             second time. Those of them that are forwarded again keep their run ids; a later retry gets a new one.",
            again + 1,
            judged - again
        ),
        (false, false) => format!("{input} is judged up to {again}, as before."),
    };
    format!(
        "{}\n\nTo accept the ledger as it is makes the table follow it: the table stood at ledger entry {}, and \
         would stand at {}. {} live keys that the table knows are not in this ledger: the action of each may \
         be forwarded a second time, when it is judged again or comes back as a retry. {input_says} Other \
         instances of this gate have tables of their own, which refuse this ledger too: rebuild them in the \
         same way.",
        loss.refusal, loss.ledger_sequence, rebuilt.ledger_sequence, loss.keys
    )
}

fn tell(text: &str) -> std::io::Result<()> {
    writeln!(std::io::stderr(), "{text}\n")
}

fn confirmed() -> std::io::Result<bool> {
    write!(std::io::stderr(), "Accept this ledger? Type yes to go on: ")?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}
