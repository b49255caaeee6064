//! The one binary `ottla`: a server, administration of topics, configs and groups, producing and consuming, offline log
//! reading, load generation and recorded traffic, each in its own file. It holds no Kafka logic: everything is a call into the
//! `ottla` crate, whose results it prints.

mod config;
mod connect;
mod consume;
mod dump_log;
mod error;
mod group;
mod output;
mod perf;
mod produce;
mod serve;
mod time;
mod topic;
mod traffic;

use clap::{CommandFactory, Parser, Subcommand};
use error::CliError;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  ottla serve                                    a broker on 127.0.0.1:9092, data in ./ottla-data
  ottla topic create flights --partitions 6      a topic on it
  echo hello | ottla produce flights             a record
  ottla consume flights --from-beginning         what is on it
  ottla group explain readers                    why a group gets nothing
  ottla perf produce --topic flights             a million records of 100 bytes
  ottla dump-log ottla-data/flights-0/*.log      what is in the files
  ottla traffic show session.traffic             what a recorded broker was asked

Each command explains itself: ottla topic create --help";

/// A Kafka broker and its tools in one binary.
#[derive(Debug, Parser)]
#[command(name = "ottla", version, after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Topic(topic::TopicArgs),
    Config(config::ConfigArgs),
    Group(group::GroupArgs),
    Produce(produce::ProduceArgs),
    Consume(consume::ConsumeArgs),
    DumpLog(dump_log::DumpLogArgs),
    Perf(perf::PerfArgs),
    Traffic(traffic::TrafficArgs),
    Completions(CompletionsArgs),
}

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  source <(ottla completions bash)
  ottla completions zsh > ~/.zfunc/_ottla";

/// Prints a completion script for a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = COMPLETIONS_EXAMPLES)]
struct CompletionsArgs {
    /// The shell to complete in.
    shell: clap_complete::Shell,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Serve(args) => return run_broker(args),
        Command::Topic(args) => topic::run(args),
        Command::Config(args) => config::run(args),
        Command::Group(args) => group::run(args),
        Command::Produce(args) => produce::run(args),
        Command::Consume(args) => consume::run(args),
        Command::DumpLog(args) => dump_log::run(&args),
        Command::Perf(args) => perf::run(args),
        Command::Traffic(args) => traffic::run(args),
        Command::Completions(args) => completions(args.shell),
    };
    exit(result.map(|()| ExitCode::SUCCESS))
}

fn run_broker(args: serve::Serve) -> ExitCode {
    exit(connect::block_on("info", async { serve::run(args).await.map_err(CliError::Failed) }))
}

fn exit(result: Result<ExitCode, CliError>) -> ExitCode {
    match result {
        Ok(code) => code,
        // The reader, `head` for example, has seen enough.
        Err(CliError::Io(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            if !matches!(error, CliError::Interrupted) {
                output::complain(&format!("ottla: {error}"));
            }
            ExitCode::from(error.exit_code())
        }
    }
}

fn completions(shell: clap_complete::Shell) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ottla", &mut script);
    output::write_all(&script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples() {
        fn check(command: &clap::Command) {
            assert!(command.get_after_help().is_some(), "{} has no examples", command.get_name());
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
