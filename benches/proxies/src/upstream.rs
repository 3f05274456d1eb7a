//! The upstream: answers by path, from bytes that are made once.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::Failure;

const EVENTS: usize = 200;

struct Answers {
    speech: Vec<u8>,
    mebibyte: Vec<u8>,
}

/// Serves until the process is stopped.
pub(super) async fn serve(address: &str) -> Result<(), Failure> {
    let listener = TcpListener::bind(address).await?;
    let answers = Arc::new(Answers {
        speech: answer(4 * 1024),
        mebibyte: answer(1024 * 1024),
    });
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let answers = Arc::clone(&answers);
        // A proxy that closes a connection is no failure of the benchmark.
        tokio::spawn(async move { _ = connection(stream, &answers).await });
    }
}

fn answer(length: usize) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: audio/pcm\r\nContent-Length: {length}\r\n\r\n");
    let mut answer = head.into_bytes();
    answer.resize(answer.len() + length, b'a');
    answer
}

async fn connection(mut stream: TcpStream, answers: &Answers) -> Result<(), Failure> {
    let mut buffer = vec![0; 16 * 1024];
    let mut filled = 0;
    loop {
        let Some(head) = super::load::end_of_head(&buffer[..filled]) else {
            match stream.read(&mut buffer[filled..]).await? {
                0 => return Ok(()),
                read => filled += read,
            }
            continue;
        };
        let body = super::load::header(&buffer[..head], b"content-length").unwrap_or(0);
        while filled < head + body {
            match stream.read(&mut buffer[filled..]).await? {
                0 => return Ok(()),
                read => filled += read,
            }
        }
        let mut words = buffer[..head].split(|byte| *byte == b' ');
        match words.nth(1).unwrap_or_default() {
            b"/v1/mebibyte" => stream.write_all(&answers.mebibyte).await?,
            b"/v1/events" => events(&mut stream).await?,
            b"/v1/ws" => return echo(stream).await,
            _ => stream.write_all(&answers.speech).await?,
        }
        buffer.copy_within(head + body..filled, 0);
        filled -= head + body;
    }
}

/// Sends small chunks, each in a write of its own, as a server does that has the next one only later.
async fn events(stream: &mut TcpStream) -> Result<(), Failure> {
    let head =
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head).await?;
    let event = [&b"40\r\ndata: "[..], &[b'a'; 56], b"\n\n\r\n"].concat();
    for _ in 0..EVENTS {
        stream.write_all(&event).await?;
        tokio::task::yield_now().await;
    }
    stream.write_all(b"0\r\n\r\n").await?;
    Ok(())
}

/// Sends each WebSocket frame back, with the mask removed (RFC 6455 §5.3). A frame holds 64 bytes.
async fn echo(mut stream: TcpStream) -> Result<(), Failure> {
    let switch =
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    stream.write_all(switch).await?;
    let mut frame = [0; super::load::FRAME];
    loop {
        if stream.read_exact(&mut frame).await.is_err() {
            return Ok(());
        }
        let mut answer = [b'a'; super::load::FRAME - 4];
        answer[..2].copy_from_slice(&[0x82, 64]);
        for (at, byte) in frame[6..].iter().enumerate() {
            answer[2 + at] = byte ^ frame[2 + at % 4];
        }
        stream.write_all(&answer).await?;
    }
}
