//! The command line: flags to a call, an outcome to an exit code.

mod check;
mod demo;
mod load;
mod map;
mod rehearse;
mod reputation;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::check::Show;

/// A validating mTLS reverse proxy: the right client certificate, or nothing.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, about, long_about = LONG, after_help = AFTER, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const LONG: &str = "\
Portcullis stands in front of a backend and lets in the clients that hold the right certificate.

It terminates TLS, requires and verifies client certificates against your own CAs and a policy of \
hosts and routes, limits what each identity and address may do, and forwards the rest to the \
backend with headers that say who is calling. Everything is in one TOML file, which may change \
while the gate runs.";

const AFTER: &str = "\
First minutes:
  portcullis demo                           a gate, a backend and certificates, with curl lines to try
  portcullis check --config FILE            every problem of a file at once
  portcullis check --map --config FILE      who needs which certificate to get where
  portcullis run --config FILE              serve
  portcullis load URL --cert .. --key ..    put load on a server, with client certificates
  portcullis rehearse --config FILE         what a configuration does to attackers, and to the honest

Signals while it runs: HUP reloads, TERM and INT drain (a second one stops at once).";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve, with the configuration in FILE
    Run {
        /// The TOML file
        #[arg(long, short, value_name = "FILE")]
        config: PathBuf,
    },
    /// Read FILE and everything it names, and print every problem
    ///
    /// Exits with 0 when a gate would start with it, with 1 otherwise.
    Check {
        /// The TOML file
        #[arg(long, short, value_name = "FILE")]
        config: PathBuf,
        /// Print which client certificate every way in asks for
        #[arg(long)]
        map: bool,
        /// Print the map as JSON
        #[arg(long, requires = "map")]
        json: bool,
    },
    /// Ask a running gate who behaves how, and forgive
    Reputation {
        #[command(subcommand)]
        ask: Ask,
    },
    /// Try it: certificates, an echo backend and a gate on this machine
    ///
    /// Makes a development PKI in certs/dev/ (kept between runs), starts an echo backend and the
    /// gate from config/demo.toml, and prints curl lines to copy. Ctrl-C ends it.
    Demo {
        /// The folder that holds config/demo.toml and certs/
        #[arg(long, value_name = "DIR", default_value = ".")]
        dir: PathBuf,
        /// Make new certificates even if there are some
        #[arg(long)]
        force: bool,
    },
    /// Put load on a server that wants client certificates, and measure
    ///
    /// Exits with 0 when all went well, with 1 when a larger share of the requests failed than --max-failures
    /// allows, or nothing could start. It stops by itself; Ctrl-C stops it early and prints what there is.
    Load(Box<load::Load>),
    /// Play FILE against honest clients and attackers, on this machine, and print a score card
    ///
    /// Starts a gate with the rules of FILE and with a backend, addresses and certificates of its own, so that nothing
    /// of an installation is touched. Exits with 0 when everybody was caught whom FILE promises to catch, and nobody
    /// honest was refused; with 1 otherwise. Ctrl-C ends it early and prints what there is.
    Rehearse(Box<rehearse::Rehearse>),
}

/// An ID is a certificate's SHA-256 fingerprint, an address, a network (192.0.2.0/24, 2001:db8::/48) or a JA4.
#[derive(Debug, Subcommand)]
enum Ask {
    /// Print what is known of ID; without one, the hundred with the highest scores
    Show {
        /// Whom to print
        id: Option<String>,
        /// The TOML file of the running gate, which says where its admin listener is
        #[arg(long, short, value_name = "FILE")]
        config: PathBuf,
    },
    /// Forget what ID has done, and let it in again
    Clear {
        /// Whom to forgive
        id: String,
        /// The TOML file of the running gate, which says where its admin listener is
        #[arg(long, short, value_name = "FILE")]
        config: PathBuf,
    },
}

/// Runs the command in the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run { config } => run::run(config),
        Command::Check { config, map, json } => {
            let show = match (map, json) {
                (false, _) => Show::Verdict,
                (true, false) => Show::Map,
                (true, true) => Show::MapJson,
            };
            check::check(&config, show)
        }
        Command::Reputation { ask: Ask::Show { id, config } } => reputation::show(&config, id.as_deref()),
        Command::Reputation { ask: Ask::Clear { id, config } } => reputation::clear(&config, &id),
        Command::Demo { dir, force } => demo::demo(&dir, force),
        Command::Load(flags) => load::load(&flags),
        Command::Rehearse(flags) => rehearse::rehearse(&flags),
    }
}
