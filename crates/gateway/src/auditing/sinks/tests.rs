//! Sinks whose receivers the tests control.

use std::io;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use voxgate::audit::{Output as _, StreamOutput};

use super::worker::DeliveryError;
use super::*;

/// More than any test waits for.
const PATIENCE: Duration = Duration::from_secs(300);
const INSTANCE: &str = "0123456789abcdef";

/// Reports the lines that it gets, and answers as the test says. It takes all lines once the test
/// says nothing more.
struct Told {
    asked: Sender<String>,
    answers: Receiver<Result<u64, &'static str>>,
}

impl Sink for Told {
    fn deliver(&mut self, lines: &str) -> Result<u64, DeliveryError> {
        let _ = self.asked.send(lines.to_owned());
        let answer = self.answers.recv().unwrap_or(Ok(0));
        answer.map_err(|error| io::Error::other(error).into())
    }
}

/// A primary output that can be looked at, and can fail.
#[derive(Clone, Default)]
struct Primary(Arc<Mutex<(Vec<u8>, bool)>>);

impl Primary {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("a lock").0.clone()).expect("text")
    }

    fn fail(&self, fails: bool) {
        self.0.lock().expect("a lock").1 = fails;
    }
}

impl io::Write for Primary {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.lock().expect("a lock");
        if state.1 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Test {
    primary: Primary,
    output: FanOut<StreamOutput<Primary>>,
    sinks: AuditSinks,
    asked: Receiver<String>,
    answers: Sender<Result<u64, &'static str>>,
}

fn test(guarantee: DeliveryGuarantee, delivery: Delivery) -> Test {
    let ((asked, is_asked), (answers, answer)) = (channel(), channel());
    let mut sinks = AuditSinks::default();
    let sink = Told {
        asked,
        answers: answer,
    };
    sinks
        .add("told", delivery, INSTANCE, sink)
        .expect("a thread");
    let primary = Primary::default();
    Test {
        output: sinks.fan_out(StreamOutput::new(primary.clone()), guarantee),
        primary,
        sinks,
        asked: is_asked,
        answers,
    }
}

impl Test {
    fn queue(&self) -> &SinkQueue {
        self.sinks.iter().next().expect("one sink")
    }

    /// What it is asked to deliver.
    fn asked(&self) -> String {
        self.asked.recv_timeout(PATIENCE).expect("to be asked")
    }

    fn settled(&self) {
        let deadline = Instant::now() + PATIENCE;
        assert!(self.queue().wait_until_delivered(deadline));
    }
}

fn line(seq: u64) -> String {
    format!(
        "{{\"v\":1,\"seq\":{seq},\"pad\":\"{}\"}}\n",
        "x".repeat(100)
    )
}

fn lines(seq: std::ops::RangeInclusive<u64>) -> String {
    seq.map(line).collect()
}

#[test]
fn a_stuck_sink_delays_nothing_and_gets_a_gap_record() {
    let mut test = test(DeliveryGuarantee::Counted, Delivery::BestEffort);
    test.output.write(&line(1)).expect("written");
    assert_eq!(test.asked(), line(1));
    // The receiver is stuck. The queue takes as many records as it has places for.
    let (mut seq, mut all) = (1, line(1));
    while test.queue().lost() == 0 {
        let more = lines(seq + 1..=seq + 1000);
        seq += 1000;
        test.output.write(&more).expect("written");
        test.output.tick().expect("it does not wait");
        test.output.sync().expect("it does not wait");
        all += &more;
    }
    let lost = test.queue().lost();
    assert_eq!(test.primary.text(), all, "the primary output has it all");
    assert_eq!(test.queue().delivered(), 0);
    drop(test.answers);
    let mut copied = String::new();
    while !copied.contains(&line(seq - lost)) {
        copied += &test.asked.recv_timeout(PATIENCE).expect("to be asked");
    }
    test.output.write(&line(seq + 1)).expect("written");
    while !copied.contains(&line(seq + 1)) {
        copied += &test.asked.recv_timeout(PATIENCE).expect("to be asked");
    }
    let gap: Vec<&str> = copied.lines().filter(|it| it.contains("gap")).collect();
    let missing = format!("\"from\":{},\"to\":{seq}}}", seq - lost + 1);
    assert!(
        gap.len() == 1 && gap[0].ends_with(&missing),
        "{gap:?} {missing}"
    );
    let copied: Vec<&str> = copied.lines().filter(|it| !it.contains("gap")).collect();
    let expected = lines(2..=seq - lost) + &line(seq + 1);
    assert!(
        copied
            .iter()
            .eq(expected.lines().collect::<Vec<_>>().iter())
    );
    test.output.close().expect("closed");
    assert_eq!(test.sinks.0[0].delivered(), seq + 1 - lost);
    assert_eq!(test.sinks.0[0].lost(), lost);
}

#[test]
fn the_same_lines_come_again_until_they_are_delivered() {
    let mut test = test(DeliveryGuarantee::Counted, Delivery::BestEffort);
    test.output.write(&lines(1..=2)).expect("written");
    for _ in 0..3 {
        assert_eq!(test.asked(), lines(1..=2));
        test.answers.send(Err("down")).expect("it waits");
    }
    assert_eq!(test.asked(), lines(1..=2));
    assert!(test.queue().is_failing());
    // One of the two is refused for ever.
    test.answers.send(Ok(1)).expect("it waits");
    test.settled();
    assert!(!test.queue().is_failing());
    assert_eq!((test.queue().delivered(), test.queue().lost()), (1, 1));
}

#[test]
fn a_durable_sync_waits_for_a_required_sink() {
    let mut test = test(DeliveryGuarantee::Durable, Delivery::Required);
    test.output.write(&line(1)).expect("written");
    assert_eq!(test.asked(), line(1));
    let error = test.output.sync().expect_err("it is not delivered");
    assert!(error.to_string().contains("`told`"), "{error}");
    test.answers.send(Ok(0)).expect("it waits");
    test.settled();
    test.output.sync().expect("it is delivered");
    assert_eq!(test.primary.text(), line(1));
}

#[test]
fn a_sync_does_not_wait_for_a_best_effort_sink() {
    for (guarantee, delivery) in [
        (DeliveryGuarantee::Durable, Delivery::BestEffort),
        (DeliveryGuarantee::Blocking, Delivery::Required),
    ] {
        let mut test = test(guarantee, delivery);
        test.output.write(&line(1)).expect("written");
        assert_eq!(test.asked(), line(1));
        test.output.sync().expect("it does not wait");
        assert_eq!(test.queue().delivered(), 0);
    }
}

#[test]
fn a_full_required_sink_fails_the_tick_and_loses_nothing() {
    let mut test = test(DeliveryGuarantee::Blocking, Delivery::Required);
    let (mut seq, mut all) = (0, String::new());
    loop {
        let more = lines(seq + 1..=seq + 1000);
        seq += 1000;
        test.output
            .write(&more)
            .expect("the primary output has room");
        all += &more;
        if test.output.tick().is_err() {
            break;
        }
    }
    assert!(test.output.tick().is_err(), "it is asked again");
    drop(test.answers);
    let deadline = Instant::now() + PATIENCE;
    while test.output.tick().is_err() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(1));
    }
    test.output.close().expect("closed");
    assert_eq!(test.primary.text(), all, "nothing is written twice");
    assert_eq!(test.asked.try_iter().collect::<String>(), all);
    assert_eq!(
        (test.sinks.0[0].delivered(), test.sinks.0[0].lost()),
        (seq, 0)
    );
}

#[test]
fn copies_have_what_the_primary_output_refuses_once() {
    let mut test = test(DeliveryGuarantee::Blocking, Delivery::BestEffort);
    drop(test.answers);
    test.primary.fail(true);
    for _ in 0..3 {
        assert!(test.output.write(&line(1)).is_err());
    }
    test.primary.fail(false);
    test.output.write(&line(1)).expect("written");
    test.primary.fail(true);
    assert!(test.output.write(&line(2)).is_err());
    test.output.give_up();
    test.primary.fail(false);
    test.output.write(&line(3)).expect("written");
    test.output.close().expect("closed");
    assert_eq!(test.primary.text(), line(1) + &line(3));
    assert_eq!(test.asked.try_iter().collect::<String>(), lines(1..=3));
}

#[test]
fn at_the_end_a_stuck_copy_is_not_waited_for_for_ever() {
    let mut test = test(DeliveryGuarantee::Blocking, Delivery::Required);
    test.output.write(&lines(1..=3)).expect("written");
    assert_eq!(test.asked(), lines(1..=3));
    test.output.close().expect("closed");
    assert_eq!(
        (test.sinks.0[0].delivered(), test.sinks.0[0].lost()),
        (0, 3)
    );
    drop(test.answers);
}

#[test]
fn a_checkpoint_goes_to_every_copy_behind_what_it_covers() {
    let mut test = test(DeliveryGuarantee::Counted, Delivery::BestEffort);
    drop(test.answers);
    test.output.write(&line(1)).expect("written");
    test.sinks.checkpoint(INSTANCE, "voxgate/host\n1\n");
    test.output.close().expect("closed");
    let copied: String = test.asked.try_iter().collect();
    let checkpoint = copied.strip_prefix(&line(1)).expect("the line first");
    assert!(
        checkpoint.contains(r#""event":"checkpoint""#),
        "{checkpoint}"
    );
    assert!(
        checkpoint.ends_with("\"note\":\"voxgate/host\\n1\\n\"}\n"),
        "{checkpoint}"
    );
}
