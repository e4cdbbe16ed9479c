//! The newest committed points of the series that one process owns, while somebody asks for them.
//!
//! Rule: who asks draws a number; each worker whose tasks own series answers at its next seal, and the answer counts once
//! that seal is committed. Where nobody asks nothing is done and nothing is kept.
//!
//! Edges:
//! - a worker that is held up answers late; what it answered before is still there, without partitions that it gave up;
//! - after [`KEPT`] without a question what was answered is dropped with the next seal.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::log::TopicPartition;

/// For so long answers are kept for the next question.
const KEPT: Duration = Duration::from_secs(120);

/// Requests as the outbox holds them: what [`Task::newest`](crate::engine::task::Task::newest) gives.
pub type Requests = Arc<[Vec<u8>]>;

/// A question's number; later ones are greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question(u64);

/// Shared by all workers of a process and those who ask.
#[derive(Clone, Default)]
pub struct Newest(Arc<Mutex<Answers>>);

#[derive(Default)]
struct Answers {
    by_worker: BTreeMap<String, Answer>,
    /// The last question, and when it was asked.
    asked: Question,
    at: Option<Instant>,
}

/// What one worker said last.
#[derive(Default)]
struct Answer {
    question: Question,
    partitions: BTreeMap<TopicPartition, Requests>,
}

// === impl Newest ===

impl Newest {
    fn lock(&self) -> MutexGuard<'_, Answers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks all workers.
    pub fn ask(&self) -> Question {
        let mut answers = self.lock();
        answers.at = Some(Instant::now());
        answers.asked.0 += 1;
        answers.asked
    }

    /// Whether every worker has answered this question or a later one.
    pub fn is_answered(&self, question: Question) -> bool {
        self.lock().by_worker.values().all(|answer| answer.question >= question)
    }

    /// What all partitions said last, in their order.
    pub fn all(&self) -> Vec<Requests> {
        let answers = self.lock();
        let partitions = answers.by_worker.values().flat_map(|answer| answer.partitions.values());
        partitions.cloned().collect()
    }

    /// A worker whose tasks own series.
    pub(super) fn join(&self, worker: &str) {
        self.lock().by_worker.insert(worker.to_owned(), Answer::default());
    }

    /// The last question, if the worker has not answered it.
    pub(super) fn question(&self, worker: &str) -> Option<Question> {
        let mut answers = self.lock();
        let asked = answers.asked;
        let is_over = answers.at.is_none_or(|at| at.elapsed() > KEPT);
        let answer = answers.by_worker.get_mut(worker)?;
        if is_over {
            answer.partitions.clear();
            return None;
        }
        (answer.question < asked).then_some(asked)
    }

    pub(super) fn answer(&self, worker: &str, question: Question, partitions: BTreeMap<TopicPartition, Requests>) {
        if let Some(answer) = self.lock().by_worker.get_mut(worker) {
            *answer = Answer { question, partitions };
        }
    }

    /// The worker has no other partitions.
    pub(super) fn retain(&self, worker: &str, owns: impl Fn(&TopicPartition) -> bool) {
        if let Some(answer) = self.lock().by_worker.get_mut(worker) {
            answer.partitions.retain(|partition, _| owns(partition));
        }
    }

    /// The worker has ended: nobody waits for it.
    pub(super) fn leave(&self, worker: &str) {
        self.lock().by_worker.remove(worker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(partition: u32, bytes: &[u8]) -> BTreeMap<TopicPartition, Requests> {
        let partition = TopicPartition {
            topic: "input".to_owned(),
            partition,
        };
        BTreeMap::from([(partition, Requests::from(vec![bytes.to_vec()]))])
    }

    #[test]
    fn nobody_is_asked_before_somebody_asks_and_each_worker_answers_once() {
        let newest = Newest::default();
        newest.join("gauge");
        newest.join("lag");
        assert_eq!((newest.question("gauge"), newest.all().len()), (None, 0));
        let question = newest.ask();
        assert_eq!(newest.question("gauge"), Some(question));
        newest.answer("gauge", question, of(0, b"a"));
        assert_eq!(newest.question("gauge"), None);
        assert!(!newest.is_answered(question), "the other has not");
        newest.answer("lag", question, of(1, b"b"));
        assert!(newest.is_answered(question));
        assert_eq!(newest.all().len(), 2);
    }

    #[test]
    fn who_ended_is_not_waited_for_and_what_was_given_up_is_not_shown() {
        let newest = Newest::default();
        newest.join("gauge");
        newest.join("lag");
        let question = newest.ask();
        newest.answer("gauge", question, of(0, b"a"));
        newest.leave("lag");
        assert!(newest.is_answered(question));
        newest.retain("gauge", |partition| partition.partition != 0);
        assert_eq!(newest.all().len(), 0);
    }
}
