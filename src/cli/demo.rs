//! `portcullis demo`: certificates, a backend and a gate, in one process.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::thread::JoinHandle;

use tokio::net::TcpListener;

use super::check::print_problems;
use super::run;
use crate::clock::Clock;
use crate::tools::pki::Force;
use crate::tools::{demo, echo};
use crate::{config, runtime, telemetry};

pub(super) fn demo(dir: &Path, force: bool) -> ExitCode {
    let force = if force { Force::Overwrite } else { Force::Keep };
    let prepared = match demo::prepare(dir, force, &Clock::system()) {
        Ok(prepared) => prepared,
        Err(error) => return run::fail(&error.to_string()),
    };
    let loaded = match config::load(&prepared.config) {
        Ok(loaded) => loaded,
        Err(problems) => {
            print_problems(&problems);
            return ExitCode::FAILURE;
        }
    };
    let log = match telemetry::init(&loaded.config.log) {
        Ok(log) => log,
        Err(error) => return run::fail(&error),
    };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let Some(address) = demo::backend(&loaded.config) else {
        let file = prepared.config.display();
        return run::fail(&format!("{file}: the demonstration needs an [upstream.echo] with {}", demo::SERVERS));
    };
    let backend = match backend(address, stopped) {
        Ok(backend) => backend,
        Err(error) => return run::fail(&format!("cannot listen on {address} for the echo backend: {error}")),
    };
    let code = match run::start(prepared.config, loaded) {
        Ok(running) => {
            let lines = demo::curl_lines(&demo::gate(&running.addresses), &prepared.certificates.directory);
            // Whoever closed the output does not want to read it.
            let _ = writeln!(io::stdout(), "{}\n\n{lines}Ctrl-C ends it.\n", prepared.certificates);
            running.join();
            ExitCode::SUCCESS
        }
        Err(code) => code,
    };
    // The gate has drained: nobody asks the backend anything any more.
    drop(stop);
    let _ = backend.join();
    drop(log);
    code
}

fn backend(address: SocketAddr, stopped: tokio::sync::oneshot::Receiver<()>) -> io::Result<JoinHandle<()>> {
    let socket = std::net::TcpListener::bind(address)?;
    socket.set_nonblocking(true)?;
    runtime::aside("echo", move || async move {
        if let Ok(listener) = TcpListener::from_std(socket) {
            let stopped = async {
                let _ = stopped.await;
            };
            echo::serve(listener, stopped).await;
        }
    })
}
