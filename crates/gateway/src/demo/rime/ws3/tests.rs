//! Drives the WebSocket over a real loopback connection.

use std::error::Error;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::*;

const PATIENCE: Duration = Duration::from_secs(300);

type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;
type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Serves on a loopback port and connects with this path and key.
async fn connect(path: &str, key: &str) -> Outcome<Client> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let router = super::super::router(Some("deploy".to_owned()));
    let mut request = format!("ws://{}{path}", listener.local_addr()?).into_client_request()?;
    tokio::spawn(async move { axum::serve(listener, router).await });
    let bearer = format!("Bearer {key}").parse()?;
    request.headers_mut().insert("authorization", bearer);
    Ok(connect_async(request).await?.0)
}

/// Sends a frame.
async fn send(client: &mut Client, frame: Value) -> Outcome {
    Ok(client.send(Message::text(frame.to_string())).await?)
}

/// Receives messages up to one of this type: the audio, and that message.
async fn until(client: &mut Client, kind: &str) -> Outcome<(Vec<u8>, Value)> {
    let mut sound = Vec::new();
    loop {
        let next = tokio::time::timeout(PATIENCE, client.next());
        let message = next.await?.ok_or("closed")??.into_text()?;
        let message: Value = serde_json::from_str(&message)?;
        if message["type"] == "chunk" {
            let piece = STANDARD.decode(message["data"].as_str().ok_or("no data")?)?;
            assert!((1..=CHUNK_BYTES).contains(&piece.len()));
            sound.extend(piece);
        }
        if message["type"] == kind {
            return Ok((sound, message));
        }
        assert_ne!(message["type"], "error", "{message}");
    }
}

#[tokio::test]
async fn complete_sentences_are_synthesized_and_the_rest_on_flush() -> Outcome {
    let mut client = connect("/ws3?samplingRate=8000&audioFormat=pcm&lang=eng", "deploy").await?;
    send(
        &mut client,
        json!({"text": "Good morning. How ", "contextId": "one"}),
    )
    .await?;
    let (first, times) = until(&mut client, "timestamps").await?;
    assert_eq!(
        times["word_timestamps"]["words"],
        json!(["Good", "morning."])
    );
    send(&mut client, json!({"text": "are you", "contextId": "one"})).await?;
    send(
        &mut client,
        json!({"operation": "flush", "contextId": "one"}),
    )
    .await?;
    let (rest, times) = until(&mut client, "timestamps").await?;
    assert_eq!(
        times["word_timestamps"]["words"],
        json!(["How", "are", "you"])
    );
    let begin = times["word_timestamps"]["start"][0]
        .as_f64()
        .ok_or("no start")?;
    assert!((begin - first.len() as f64 / 16_000.0).abs() < 0.001);
    let (none, done) = until(&mut client, "done").await?;
    assert_eq!(done["contextId"], "one");
    assert!(none.is_empty() && rest.iter().any(|byte| *byte != 0));

    send(&mut client, json!({"text": "lost "})).await?;
    send(&mut client, json!({"operation": "clear"})).await?;
    send(&mut client, json!({"text": "last"})).await?;
    send(&mut client, json!({"operation": "eos"})).await?;
    let (_, times) = until(&mut client, "timestamps").await?;
    assert_eq!(times["word_timestamps"]["words"], json!(["last"]));
    assert_eq!(times["contextId"], Value::Null);
    until(&mut client, "done").await?;
    let Some(Ok(Message::Close(Some(close)))) = client.next().await else {
        return Err("no close frame".into());
    };
    assert_eq!(u16::from(close.code), close_code::NORMAL);
    Ok(())
}

#[tokio::test]
async fn invalid_frames_are_answered_with_an_error() -> Outcome {
    let mut client = connect("/ws3?segment=never", "deploy").await?;
    for bad in [
        Message::text("{"),
        Message::binary("x"),
        Message::text("{\"text\":1}"),
    ] {
        client.send(bad).await?;
        let (_, error) = until(&mut client, "error").await?;
        assert!(error["message"].is_string());
    }
    for wait in ["a".repeat(MAX_TEXT), "b".to_owned()] {
        send(&mut client, json!({"text": wait})).await?;
    }
    let (sound, _) = until(&mut client, "error").await?;
    assert!(sound.is_empty());
    send(&mut client, json!({"operation": "flush"})).await?;
    assert!(!until(&mut client, "done").await?.0.is_empty());
    send(&mut client, json!({"text": "x".repeat(MAX_MESSAGE)})).await?;
    let last = tokio::time::timeout(PATIENCE, client.next()).await?;
    assert!(!matches!(last, Some(Ok(Message::Text(_)))), "{last:?}");
    Ok(())
}

#[tokio::test]
async fn bad_handshakes_are_refused() {
    for (path, key, status) in [
        ("/ws3", "mine", 401),
        ("/ws3?audioFormat=mp3", "deploy", 400),
        ("/ws3?samplingRate=1", "deploy", 400),
        ("/ws", "deploy", 404),
        ("/ws2", "deploy", 404),
    ] {
        let error = connect(path, key).await.err();
        let error = error.and_then(|error| error.downcast::<tungstenite::Error>().ok());
        let Some(tungstenite::Error::Http(answer)) = error.as_deref() else {
            panic!("{path}: {error:?}");
        };
        assert_eq!(answer.status(), status, "{path}");
    }
}

#[test]
fn words_share_the_time_of_their_segment() {
    let times = word_timestamps(" aa  bbb ", 1.0, 5.0);
    let wanted = json!({"words": ["aa", "bbb"], "start": [1.0, 3.0], "end": [3.0, 6.0]});
    assert_eq!(times, wanted);
    assert_eq!(end_of_sentences("3.5 is one. Two"), 11);
    assert_eq!(end_of_sentences("end."), 0);
}
