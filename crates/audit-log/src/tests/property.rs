//! Whatever happens in whatever order: what was acknowledged is there, once, and in order.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Append(u64),
    Sync,
    Rotate,
    Reopen,
    /// The process is gone, and of what was not synced only a part reached the disk; what did
    /// not is missing, or zeroes.
    Crash(Index, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0_u64..40).prop_map(Step::Append),
        3 => Just(Step::Sync),
        1 => Just(Step::Rotate),
        1 => Just(Step::Reopen),
        2 => (any::<Index>(), any::<bool>()).prop_map(|(at, zeroes)| Step::Crash(at, zeroes)),
    ];
    prop::collection::vec(step, 1..25)
}

struct Model {
    directory: TempDir,
    signed: bool,
    starts: u64,
    writer: Option<Writer>,
    /// Every event that the log has, in order, and how many of them were synced.
    taken: Vec<(String, u64)>,
    synced: usize,
}

impl Model {
    fn open(&mut self) {
        self.starts += 1;
        let mut its = options(self.directory.path(), &format!("i{}", self.starts));
        its.signer = self.signed.then(signer);
        its.checkpoint_lines = 7;
        self.writer = Some(Writer::open(its));
    }

    fn take(&mut self) {
        let position = self.writer.as_ref().unwrap();
        let known = self
            .taken
            .iter()
            .filter(|(instance, _)| *instance == position.instance);
        let from = known.count() as u64 + 1;
        let more = (from..=position.seq).map(|seq| (position.instance.clone(), seq));
        self.taken.extend(more);
    }

    fn crash(&mut self, at: Index, zeroes: bool) {
        let status = self.writer.take().unwrap().log.status();
        let path = segment(self.directory.path(), status.synced.segment);
        let mut text = fs::read(&path).unwrap();
        let safe = status.synced.bytes as usize;
        let kept = safe + at.index(text.len() - safe + 1);
        if zeroes {
            text[kept..].fill(0);
        } else {
            text.truncate(kept);
        }
        fs::write(&path, &text).unwrap();
        let code = check(self.directory.path()).outcome.exit_code();
        assert!(code == 0 || code == 2, "{code}");
        self.open();
        let found = events(self.directory.path());
        assert!(
            found.len() >= self.synced,
            "{} < {}",
            found.len(),
            self.synced
        );
        assert_eq!(found[..], self.taken[..found.len()]);
        self.taken = found;
        self.synced = self.taken.len();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn what_was_acknowledged_is_there_once_and_in_order(steps in steps(), signed: bool) {
        let directory = scratch();
        let mut model = Model {
            directory, signed, starts: 0, writer: None, taken: Vec::new(), synced: 0,
        };
        model.open();
        for step in steps {
            match step {
                Step::Append(count) => {
                    model.writer.as_mut().unwrap().batch(count).unwrap();
                    model.take();
                }
                Step::Sync => {
                    let writer = model.writer.as_mut().unwrap();
                    let now = writer.now();
                    writer.log.sync(now).unwrap();
                    model.synced = model.taken.len();
                }
                Step::Rotate => {
                    model.writer.as_mut().unwrap().rotate();
                }
                Step::Reopen => {
                    model.writer.take().unwrap().close();
                    model.synced = model.taken.len();
                    model.open();
                }
                Step::Crash(at, zeroes) => model.crash(at, zeroes),
            }
        }
        model.writer.take().unwrap().close();
        let options = if signed { with_key() } else { VerifyOptions::default() };
        let report = check_with(model.directory.path(), &options);
        prop_assert_eq!(report.outcome, VerifyOutcome::Whole);
        prop_assert_eq!(events(model.directory.path()), model.taken);
    }

    #[test]
    fn verifying_and_opening_never_panic_and_agree(
        garbage in prop::collection::vec(any::<u8>(), 0..400),
        at: Index,
        keep: bool,
    ) {
        let directory = scratch();
        let mut writer = Writer::open(options(directory.path(), "i1"));
        writer.write(3);
        drop(writer);
        let path = segment(directory.path(), 1);
        let mut text = fs::read(&path).unwrap();
        let at = at.index(text.len());
        let rest = text.split_off(at);
        text.extend_from_slice(&garbage);
        if keep {
            text.extend_from_slice(&rest);
        }
        fs::write(&path, &text).unwrap();
        let before = check(directory.path()).outcome.exit_code();
        let (log, recovered) = Log::open(options(directory.path(), "i2"), at_time()).unwrap();
        drop(log);
        let after = check(directory.path()).outcome.exit_code();
        match before {
            0 | 2 => prop_assert_eq!((after, recovered.damaged), (0, None)),
            _ => {
                prop_assert_eq!((before, after), (1, 1));
                prop_assert!(recovered.damaged.is_some());
            }
        }
    }

    #[test]
    fn a_line_of_json_is_read_as_it_is_written(text in "[ -~\u{a0}-\u{2fff}\n]{0,60}", number: u64) {
        let line = format!(r#"{{"a":"{}","b":{number},"c":[1,{{"d":"]"}}],"e":null"#, fields::escape(&text));
        prop_assert!(line.is_ascii());
        let read: Vec<_> = fields::Fields::new(line.as_bytes()).map(Result::unwrap).collect();
        let names: Vec<&str> = read.iter().map(|(name, _)| *name).collect();
        prop_assert_eq!(names, ["a", "b", "c", "e"]);
        let fields::Value::Text(raw) = read[0].1 else { panic!("no text") };
        prop_assert_eq!(fields::unescape(raw), Some(text));
        prop_assert_eq!(read[1].1.integer(), Some(number));
    }

    #[test]
    fn reading_fields_ends(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let read = fields::Fields::new(&bytes).take(1000).collect::<Vec<_>>();
        prop_assert!(read.len() < 200);
        // Whatever is wrong is the last thing that is read.
        let wrong = read.iter().position(Result::is_err);
        prop_assert!(wrong.is_none_or(|at| at + 1 == read.len()));
    }
}

fn at_time() -> SystemTime {
    at(0)
}
