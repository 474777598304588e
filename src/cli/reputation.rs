//! `portcullis reputation show|clear`: asks the admin listener of a running gate.

use std::fs::File;
use std::io::{self, Read as _, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request, StatusCode, request};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::check::print_problems;
use crate::config::{self, AdminAddress};
use crate::runtime;

/// Prints what the gate knows of `id`, or whom it thinks worst of.
pub(super) fn show(file: &Path, id: Option<&str>) -> ExitCode {
    ask(file, &Method::GET, id)
}

/// Has the gate forget what `id` has done.
pub(super) fn clear(file: &Path, id: &str) -> ExitCode {
    ask(file, &Method::DELETE, Some(id))
}

fn ask(file: &Path, method: &Method, id: Option<&str>) -> ExitCode {
    let config = match config::load(file) {
        Ok(loaded) => loaded.config,
        Err(problems) => {
            print_problems(&problems);
            return ExitCode::FAILURE;
        }
    };
    let Some(admin) = config.admin else {
        say(&mut io::stderr(), "the configuration has no [admin] section: nobody can be asked");
        return ExitCode::FAILURE;
    };
    let token = match admin.token_file.as_deref().map(token).transpose() {
        Ok(token) => token,
        Err(error) => {
            say(&mut io::stderr(), &format!("the token of the admin listener cannot be read: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let path = id.map_or_else(
        || "/reputation".to_owned(),
        |id| format!("/reputation/{}", utf8_percent_encode(id, NON_ALPHANUMERIC)),
    );
    match asked(admin.address.clone(), method.clone(), path, token) {
        Ok((status, answer)) if status.is_success() => {
            say(&mut io::stdout(), &answer);
            ExitCode::SUCCESS
        }
        Ok((_, answer)) => {
            say(&mut io::stderr(), &answer);
            ExitCode::FAILURE
        }
        Err(error) => {
            say(&mut io::stderr(), &format!("the admin listener at {} cannot be asked: {error}", admin.address));
            ExitCode::FAILURE
        }
    }
}

type Answer = io::Result<(StatusCode, String)>;

fn asked(address: AdminAddress, method: Method, path: String, token: Option<HeaderValue>) -> Answer {
    let (answer, answered) = std::sync::mpsc::channel();
    let thread = runtime::aside("client", move || async move {
        let talked = timeout(PATIENCE, talk(address, method, path, token)).await;
        // Whoever asked is waiting below.
        let _ = answer.send(talked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())));
    })?;
    let result = answered.recv().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
    let _ = thread.join();
    result
}

/// The one bearer token of the file.
fn token(path: &Path) -> io::Result<HeaderValue> {
    let mut text = Zeroizing::new("Bearer ".to_owned());
    File::open(path)?.take(MOST_TOKEN).read_to_string(&mut text)?;
    let mut value = HeaderValue::from_str(text.trim_end()).map_err(io::Error::other)?;
    value.set_sensitive(true);
    Ok(value)
}

async fn talk(address: AdminAddress, method: Method, path: String, token: Option<HeaderValue>) -> Answer {
    let mut request = Request::builder().method(method).uri(path).header(CONTENT_TYPE, "application/json");
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, token);
    }
    match address {
        AdminAddress::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            exchange(stream, request.header(HOST, address.to_string())).await
        }
        AdminAddress::Unix(path) => {
            let stream = UnixStream::connect(path).await?;
            exchange(stream, request.header(HOST, "localhost")).await
        }
    }
}

async fn exchange<IO>(stream: IO, request: request::Builder) -> Answer
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let request = request.body(Empty::<Bytes>::new()).map_err(io::Error::other)?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MOST_BYTES).collect().await.map_err(io::Error::other)?.to_bytes();
    let text = match serde_json::from_slice::<serde_json::Value>(&body) {
        Ok(json) => format!("{json:#}"),
        Err(_) => String::from_utf8_lossy(&body).into_owned(),
    };
    Ok((status, text))
}

fn say(to: &mut impl Write, what: &str) {
    // Whoever closed the pipe does not want to know.
    let _ = writeln!(to, "{what}");
}

/// A token is 512 characters at most.
const MOST_TOKEN: u64 = 1024;
const PATIENCE: Duration = Duration::from_secs(10);
/// A hundred entries are 50 KiB.
const MOST_BYTES: usize = 16 << 20;
