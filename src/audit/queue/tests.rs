use std::future::Future as _;
use std::pin::pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll, Waker};
use std::time::SystemTime;

use http::{Method, Version};
use serde_json::Value;
use voxgate_core::request_id::RequestId;

use super::batch::MAX_RECORDS;
use super::*;
use crate::audit::Decision;

/// Reports each call to the test, and returns the answer that the test sends.
struct Told {
    asked: Sender<Asked>,
    answers: Receiver<bool>,
}

#[derive(Debug, PartialEq)]
enum Asked {
    Write(String),
    Sync,
}

impl Told {
    fn answer(&self) -> io::Result<()> {
        match self.answers.recv() {
            Ok(true) => Ok(()),
            _ => Err(io::Error::other("told so")),
        }
    }
}

impl Output for Told {
    fn write(&mut self, lines: &str) -> io::Result<()> {
        let _ = self.asked.send(Asked::Write(lines.to_owned()));
        self.answer()
    }

    fn sync(&mut self) -> io::Result<()> {
        let _ = self.asked.send(Asked::Sync);
        self.answer()
    }

    fn give_up(&mut self) {}
}

struct Test {
    queue: AuditQueue,
    threads: AuditQueueGuard,
    asked: Receiver<Asked>,
    answers: Sender<bool>,
}

fn start(guarantee: DeliveryGuarantee) -> Test {
    let ((asked, is_asked), (answers, answer)) = (channel(), channel());
    let output = Told {
        asked,
        answers: answer,
    };
    let (queue, threads) = AuditQueue::start(output, guarantee, "test").expect("threads");
    Test {
        queue,
        threads,
        asked: is_asked,
        answers,
    }
}

/// Longer than any step takes. Only a failing test waits this long.
const PATIENCE: Duration = Duration::from_secs(300);

/// Commits with a deadline that a busy machine cannot exceed.
fn commit(queue: &AuditQueue, path: &str) -> Receipt {
    queue.push(&decision(path), Some(PATIENCE))
}

fn decision(path: &str) -> AuditRecord<'_> {
    AuditRecord::Decision(Decision {
        time: SystemTime::UNIX_EPOCH,
        request_id: RequestId::new(Duration::ZERO),
        trace: None,
        dialect: "rime",
        via: None,
        auth_method: None,
        principal: None,
        denial: None,
        limit: None,
        queued: None,
        status: None,
        http_method: &Method::GET,
        path,
        peer: None,
        client: None,
        client_request_id: None,
        user_agent: None,
        host: None,
        query: None,
        version: Version::HTTP_11,
        trace_parent: None,
        rule: None,
        required_scope: None,
        credential: None,
    })
}

fn poll(receipt: &mut Receipt) -> Poll<Result<(), NotRecorded>> {
    let mut cx = Context::from_waker(Waker::noop());
    pin!(receipt).poll(&mut cx)
}

/// Waits without a runtime.
fn settled(receipt: &mut Receipt) -> Result<(), NotRecorded> {
    loop {
        if let Poll::Ready(result) = poll(receipt) {
            return result;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn numbers(lines: &str) -> Vec<(String, u64)> {
    let number = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        match line["event"] == "gap" {
            true => (text("event"), line["to"].as_u64().expect("a number")),
            false => (text("path"), line["seq"].as_u64().expect("a number")),
        }
    };
    lines.lines().map(number).collect()
}

impl Test {
    /// Returns the next lines. Answers a sync before them.
    fn written(&self) -> Vec<(String, u64)> {
        loop {
            match self.asked.recv().expect("to be asked") {
                Asked::Write(lines) => return numbers(&lines),
                Asked::Sync => self.answers.send(true).expect("synced"),
            }
        }
    }
}

#[test]
fn a_durable_decision_is_written_and_synced_before_the_request_continues() {
    let test = start(DeliveryGuarantee::Durable);
    let mut one = commit(&test.queue, "/1");
    assert!(!one.is_recorded() && poll(&mut one).is_pending());
    assert_eq!(test.written(), [("/1".to_owned(), 1)]);
    // These share the next sync.
    let mut more = [commit(&test.queue, "/2"), commit(&test.queue, "/3")];
    test.answers.send(true).expect("written");
    assert_eq!(test.asked.recv(), Ok(Asked::Sync));
    assert!(poll(&mut one).is_pending());
    test.answers.send(true).expect("synced");
    assert_eq!(settled(&mut one), Ok(()));
    assert_eq!(test.written().len(), 2);
    test.answers.send(true).expect("written");
    assert_eq!(test.asked.recv(), Ok(Asked::Sync));
    assert!(more.iter_mut().all(|receipt| poll(receipt).is_pending()));
    test.answers.send(true).expect("synced");
    assert!(more.iter_mut().all(|receipt| settled(receipt) == Ok(())));
    assert_eq!((test.queue.written(), test.queue.lost()), (3, 0));
    drop(test.answers);
    assert_eq!(test.threads.finish(PATIENCE), 0);
}

#[test]
fn a_late_durable_decision_is_refused_and_still_written() {
    let test = start(DeliveryGuarantee::Durable);
    let mut receipt = test.queue.commit(&decision("/1"));
    assert_eq!(test.written(), [("/1".to_owned(), 1)]);
    test.answers.send(false).expect("a failure");
    // The write is retried.
    assert_eq!(test.written(), [("/1".to_owned(), 1)]);
    assert!(test.queue.is_failing());
    assert_eq!(settled(&mut receipt), Err(NotRecorded));
    for _ in 0..2 {
        test.answers.send(true).expect("written, and synced");
    }
    while test.queue.written() == 0 {
        thread::sleep(Duration::from_millis(1));
    }
    assert!(!test.queue.is_failing());
    drop(test.answers);
    assert_eq!(test.threads.finish(PATIENCE), 0);
}

#[test]
fn a_blocking_decision_waits_only_for_a_place() {
    let test = start(DeliveryGuarantee::Blocking);
    assert!(commit(&test.queue, "/0").is_recorded());
    assert_eq!(test.written().len(), 1);
    // The writer is blocked, and all places are taken.
    for _ in 0..MAX_RECORDS {
        assert!(commit(&test.queue, "/").is_recorded());
    }
    let mut late = test.queue.commit(&decision("/late"));
    assert_eq!(settled(&mut late), Err(NotRecorded), "no place in time");
    let mut next = commit(&test.queue, "/next");
    assert!(poll(&mut next).is_pending());
    test.answers.send(true).expect("written");
    assert_eq!(test.written().len(), MAX_RECORDS);
    assert_eq!(settled(&mut next), Ok(()), "a place");
    test.answers.send(true).expect("written");
    assert_eq!(test.asked.recv(), Ok(Asked::Sync), "after so many lines");
    test.answers.send(true).expect("synced");
    let last = MAX_RECORDS as u64;
    // The dropped record is a gap, and the waiting record follows it.
    assert_eq!(
        test.written(),
        [("gap".to_owned(), last + 2), ("/next".to_owned(), last + 3)]
    );
    test.answers.send(true).expect("written");
    drop(test.answers);
    test.threads.finish(PATIENCE);
    assert_eq!((test.queue.written(), test.queue.lost()), (last + 2, 1));
}

#[test]
fn a_counted_decision_never_waits_and_each_loss_is_recorded() {
    let test = start(DeliveryGuarantee::Counted);
    assert!(commit(&test.queue, "/0").is_recorded());
    assert_eq!(test.written().len(), 1);
    for _ in 0..MAX_RECORDS + 5 {
        assert!(commit(&test.queue, "/").is_recorded());
    }
    assert_eq!(test.queue.lost(), 5);
    test.answers.send(false).expect("a failure");
    let lost_and_written = test.written();
    assert_eq!(
        lost_and_written[0],
        ("gap".to_owned(), 1),
        "the first was not written"
    );
    assert_eq!(lost_and_written.len(), 1 + MAX_RECORDS);
    test.answers.send(true).expect("written");
    assert!(commit(&test.queue, "/last").is_recorded());
    let last = MAX_RECORDS as u64 + 7;
    assert_eq!(
        test.written(),
        [("gap".to_owned(), last - 1), ("/last".to_owned(), last)]
    );
    test.answers.send(true).expect("written");
    drop(test.answers);
    assert_eq!(test.threads.finish(PATIENCE), 6);
    // Decisions = written + lost.
    assert_eq!(test.queue.written() + test.queue.lost(), last);
}

/// A `gap` has no `seq`, and the files take it all the same: else nothing would be written any more.
#[cfg(feature = "audit-log")]
#[test]
fn the_files_take_a_gap() {
    use crate::audit::log::{Log, LogOptions, VerifyOptions, VerifyOutcome, verify};

    let directory = tempfile::tempdir().expect("a directory");
    let instance = "0123456789abcdef";
    let mut options = LogOptions::new(directory.path(), instance, "test");
    options.segment_bytes = 1 << 20;
    options.least_space_bytes = 0;
    let (log, _) = Log::open(options, SystemTime::now()).expect("a log");
    let mut output = LogOutput::new(log);
    let mut gap = String::new();
    LineWriter::new(instance.to_owned()).write_gap(&mut gap, SystemTime::now(), 1..=3);
    gap.push('\n');
    output.write(&gap).expect("taken");
    output.close().expect("closed");
    let report = verify(directory.path(), &VerifyOptions::default(), &mut |_| {});
    assert_eq!(report.outcome, VerifyOutcome::Whole);
    assert_eq!(report.events, 1);
}

#[test]
fn records_lost_at_the_end_are_counted() {
    let test = start(DeliveryGuarantee::Durable);
    let mut receipt = commit(&test.queue, "/1");
    assert_eq!(test.written().len(), 1);
    drop(test.answers);
    assert_eq!(test.threads.finish(PATIENCE), 1);
    assert_eq!(settled(&mut receipt), Err(NotRecorded));
    assert_eq!(settled(&mut commit(&test.queue, "/2")), Err(NotRecorded));
    assert_eq!(test.queue.lost(), 2);
}
