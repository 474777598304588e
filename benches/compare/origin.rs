//! The backend: answers from memory, one thread for each connection, two system calls for each request.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// What it serves.
pub const SMALL: usize = 1024;
pub const LARGE: usize = 1024 * 1024;

/// Serves until it is killed; its address is its first line.
pub fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap());
    let answers = Arc::new(Answers { small: answer(SMALL), large: answer(LARGE), taken: answer(0) });
    for stream in listener.incoming().flatten() {
        let answers = Arc::clone(&answers);
        let serve = move || drop(serve(stream, &answers));
        thread::Builder::new().stack_size(256 * 1024).spawn(serve).unwrap();
    }
}

struct Answers {
    small: Vec<u8>,
    large: Vec<u8>,
    taken: Vec<u8>,
}

fn answer(length: usize) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    answer.resize(answer.len() + length, b'x');
    answer
}

fn serve(mut stream: TcpStream, answers: &Answers) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 64 * 1024];
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..])?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        let Some(end) = memchr::memmem::find(&buffer[..filled], b"\r\n\r\n") else { continue };
        let head = &buffer[..end + 4];
        if head.starts_with(b"GET /1k ") {
            stream.write_all(&answers.small)?;
        } else if head.starts_with(b"GET /1m ") {
            stream.write_all(&answers.large)?;
        } else if head.starts_with(b"POST /sink ") {
            let (length, mut taken) = (content_length(head), filled - head.len());
            while taken < length {
                match stream.read(&mut buffer)? {
                    0 => return Ok(()),
                    read => taken += read,
                }
            }
            stream.write_all(&answers.taken)?;
        } else {
            // What it was told, so that somebody can see what a proxy adds.
            let head = head.to_vec();
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", head.len())?;
            stream.write_all(&head)?;
        }
        filled = 0;
    }
}

/// The length that a head announces.
///
/// # Panics
/// If it does not: no proxy here has a reason to send chunks.
pub fn content_length(head: &[u8]) -> usize {
    let head = std::str::from_utf8(head).unwrap();
    let field = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then_some(value)
    });
    field.expect("a content-length").trim().parse().unwrap()
}
