//! Both ends of a connection over an in-memory stream.
#![expect(clippy::expect_used, reason = "a test stops at the first surprise")]
use evenkeel_ipc::{
    Client, ClientError, CodecError, Notification, PROTOCOL_VERSION, Request, RequestError, Response, Status,
    Timestamp, accept,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

fn status(since: u64) -> Status {
    Status::off(Timestamp::from_unix(since))
}

async fn send_raw(stream: &mut DuplexStream, json: &str) {
    let length = u32::try_from(json.len()).expect("short");
    stream.write_all(&length.to_be_bytes()).await.expect("length written");
    stream.write_all(json.as_bytes()).await.expect("frame written");
}

#[tokio::test]
async fn a_client_introduces_itself_asks_and_is_answered() {
    let (ours, theirs) = duplex(4096);
    let daemon = tokio::spawn(async move {
        let mut incoming = accept(theirs, "evenkeeld 0.1.0").await.expect("hello").expect("same version");
        assert_eq!(incoming.client, "test 1");
        let frame = incoming.reader.next().await.expect("readable").expect("a request");
        assert!(frame.request == Request::Status);
        incoming.writer.answer(frame.id, Ok(Response::Status(status(7)))).await.expect("answered");
        let frame = incoming.reader.next().await.expect("readable").expect("a request");
        incoming.writer.answer(frame.id, Err(RequestError::NotPermitted)).await.expect("answered");
        assert!(incoming.reader.next().await.expect("readable").is_none());
    });
    let mut client = Client::connect(ours, "test 1").await.expect("welcome");
    assert_eq!(client.daemon(), "evenkeeld 0.1.0");
    assert_eq!(client.status(false).await.expect("answered"), status(7));
    let refused = client.perform(Request::Disconnect).await.expect_err("refused");
    assert!(matches!(refused, ClientError::Refused(RequestError::NotPermitted)), "{refused}");
    drop(client);
    daemon.await.expect("daemon went through");
}

#[tokio::test]
async fn notifications_between_request_and_response_are_kept_the_newest_of_them() {
    let (ours, theirs) = duplex(1 << 16);
    tokio::spawn(async move {
        let mut incoming = accept(theirs, "d").await.expect("hello").expect("same version");
        let frame = incoming.reader.next().await.expect("readable").expect("a request");
        for n in 0..40 {
            incoming.writer.notify(Notification::Status(status(n))).await.expect("notified");
        }
        incoming.writer.answer(frame.id, Ok(Response::Status(status(99)))).await.expect("answered");
    });
    let mut client = Client::connect(ours, "t").await.expect("welcome");
    assert_eq!(client.status(true).await.expect("answered"), status(99));
    let mut seen = Vec::new();
    while let Some(Notification::Status(status)) = client.next_notification().await.expect("readable") {
        seen.push(status.since.unix());
    }
    assert_eq!(seen, (8..40).collect::<Vec<_>>());
}

#[tokio::test]
async fn another_protocol_version_is_a_typed_error_at_both_ends() {
    let (ours, mut theirs) = duplex(4096);
    let daemon = tokio::spawn(async move {
        let mut hello = vec![0; 4];
        theirs.read_exact(&mut hello).await.expect("a hello");
        send_raw(&mut theirs, r#"{"protocol":99,"daemon":"evenkeeld 9"}"#).await;
        theirs
    });
    let error = Client::connect(ours, "t").await.err().expect("refused");
    assert!(matches!(error, ClientError::Version { ours: PROTOCOL_VERSION, theirs: 99, .. }), "{error}");
    drop(daemon.await);

    let (mut ours, theirs) = duplex(4096);
    send_raw(&mut ours, r#"{"protocol":0,"client":"old"}"#).await;
    assert!(accept(theirs, "d").await.expect("answered").is_none());
}

#[tokio::test]
async fn an_answer_to_another_question_ends_the_conversation() {
    for answer in [
        r#"{"response":{"id":5,"response":"done"}}"#,
        r#"{"response":{"id":1,"response":"done"}}"#,
        r#"{"error":{"id":77,"error":{"code":"not-permitted"}}}"#,
    ] {
        let (ours, mut theirs) = duplex(4096);
        send_raw(&mut theirs, r#"{"protocol":1,"daemon":"d"}"#).await;
        send_raw(&mut theirs, answer).await;
        let mut client = Client::connect(ours, "t").await.expect("welcome");
        let error = client.status(false).await.expect_err("does not fit");
        assert!(matches!(error, ClientError::Unexpected), "{answer}: {error}");
    }
}

#[tokio::test]
async fn hostile_frames_are_errors_not_panics() {
    for frame in [
        "",
        "null",
        "{}",
        r#"{"response":{"id":-1,"response":"done"}}"#,
        r#"{"response":{"id":1,"response":{"status":{"target":"up"}}}}"#,
        r#"{"notification":{"status":null}}"#,
        r#"{"response":{"id":1,"response":"done"}"#,
    ] {
        let (ours, mut theirs) = duplex(4096);
        send_raw(&mut theirs, r#"{"protocol":1,"daemon":"d"}"#).await;
        send_raw(&mut theirs, frame).await;
        let mut client = Client::connect(ours, "t").await.expect("welcome");
        let error = client.status(false).await.expect_err("hostile");
        assert!(matches!(error, ClientError::Codec(CodecError::Malformed(_))), "{frame}: {error}");
    }
}

#[tokio::test]
async fn a_daemon_that_vanishes_is_an_error() {
    let (ours, mut theirs) = duplex(4096);
    send_raw(&mut theirs, r#"{"protocol":1,"daemon":"d"}"#).await;
    let mut client = Client::connect(ours, "t").await.expect("welcome");
    drop(theirs);
    let error = client.status(false).await.expect_err("gone");
    assert!(matches!(error, ClientError::Codec(CodecError::Io(_) | CodecError::Closed)), "{error}");
}
