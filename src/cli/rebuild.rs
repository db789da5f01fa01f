//! `oncegate rebuild`.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;

use super::say;
use crate::config::Config;
use crate::worker::rebuild::{self, GoesBack, Loss, Rebuilt, Stake};

#[derive(Args)]
pub struct Rebuild {
    /// Follow the ledger as it is, even though the table has applied another or a longer one, or can't be
    /// read; says what may be forwarded a second time, and asks
    #[arg(long)]
    accept_ledger: bool,
    /// Do not ask
    #[arg(long, requires = "accept_ledger")]
    yes: bool,
}

impl Rebuild {
    pub async fn execute(self, config: Config) -> anyhow::Result<ExitCode> {
        let rebuilt = rebuild::prepare(&config, self.accept_ledger).await?;
        if let Err(error) = self.ask(&config, &rebuilt) {
            rebuilt.discard();
            return Err(error);
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

    fn ask(&self, config: &Config, rebuilt: &Rebuilt) -> anyhow::Result<()> {
        let Some(stake) = &rebuilt.at_stake else {
            return Ok(());
        };
        tell(&match stake {
            Stake::Unknown(why) => unknown(rebuilt, why),
            Stake::Known(loss) => explanation(config, rebuilt, loss),
        })?;
        anyhow::ensure!(
            self.yes || confirmed()?,
            "not confirmed; nothing was changed (--yes confirms beforehand)"
        );
        Ok(())
    }
}

const OTHER_INSTANCES: &str = "Other instances of this gate have tables of their own, which refuse a ledger \
                               that went back: rebuild them in the same way.";

fn unknown(rebuilt: &Rebuilt, why: &str) -> String {
    format!(
        "The table that is there can't be read: {why}\n\nTo accept the ledger as it is puts a new table in its \
         place, which would stand at ledger entry {} and has the input judged up to {}. Nobody can tell whether \
         that is all that the old one knew. If it is, nothing is lost. If the ledger went back as well (a \
         power failure, an older copy restored), each action that it has lost may be forwarded a second time, \
         when it is judged again or comes back as a retry. {OTHER_INSTANCES}",
        rebuilt.ledger_sequence, rebuilt.input_sequence
    )
}

fn explanation(config: &Config, rebuilt: &Rebuilt, loss: &Loss) -> String {
    let stream = config.input.stream.as_str();
    let mut inputs: Vec<String> =
        loss.inputs.iter().map(|input| judged_again(input, stream, loss.is_work_queue)).collect();
    if !loss.inputs.iter().any(|input| *input.stream == *stream) {
        inputs
            .insert(0, format!("{stream} is judged up to {}, as before.", rebuilt.input_sequence));
    }
    format!(
        "{}\n\nTo accept the ledger as it is makes the table follow it: the table stood at ledger entry {}, and \
         would stand at {}. {} live keys that the table knows are not in this ledger: the action of each may \
         be forwarded a second time, when it is judged again or comes back as a retry. {} {OTHER_INSTANCES}",
        loss.refusal,
        loss.ledger_sequence,
        rebuilt.ledger_sequence,
        loss.keys.map_or("Nobody can tell how many".to_owned(), |keys| keys.to_string()),
        inputs.join(" ")
    )
}

fn judged_again(input: &GoesBack, configured: &str, is_work_queue: bool) -> String {
    let GoesBack { stream, from, to } = input;
    let (next, count) = (to + 1, from - to);
    match (**stream == *configured, is_work_queue) {
        (true, false) => format!(
            "{stream} is judged again from {next} on; it was judged up to {from}, so up to {count} actions are \
             judged a second time. Those of them that are forwarded again keep their run ids; a later retry \
             gets a new one."
        ),
        (true, true) => format!(
            "{stream} is a work queue, judged up to {from}: what it still holds from {next} on is judged again, \
             and keeps its run id where it is forwarded again. Of what it has deleted nothing is judged again: \
             an action among it that no executor had received yet is lost, and a retry of one of these keys is \
             forwarded as a new run."
        ),
        (false, _) => format!(
            "{stream}, an input of before, was judged up to {from}: should `input.stream` name it again, what \
             it still holds from {next} on is judged again, up to {count} actions."
        ),
    }
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
