//! The ranks for which rank 0 waits at a meeting, and how long nothing was heard of each.

use std::time::Duration;

use mpi::topology::Rank;

use crate::escape;
use crate::manifest::NodeId;

/// What rank 0 has heard of the ranks that come to a meeting.
pub(super) struct AwaitedRanks {
    /// What each rank has said, by rank; none before it comes.
    pub(super) said: Vec<Option<Vec<u8>>>,
    /// By rank, how long nothing was heard of it, by the rests of rank 0.
    silence: Vec<Duration>,
    /// By rank, whether it has said since the last note that it works.
    works: Vec<bool>,
}

impl AwaitedRanks {
    pub(super) fn new(size: Rank, mine: &[u8]) -> Self {
        let size = usize::try_from(size).unwrap_or_default();
        let mut said = vec![None; size];
        said[0] = Some(mine.to_vec());
        Self { said, silence: vec![Duration::ZERO; size], works: vec![false; size] }
    }

    /// A rank has come, which renews the limit of all: the slow start of many is no loss.
    pub(super) fn take(&mut self, from: NodeId, bytes: Vec<u8>) {
        self.said[from.index()] = Some(bytes);
        self.silence.fill(Duration::ZERO);
    }

    /// Time has passed, in which those that work have said so.
    pub(super) fn pass(&mut self, time: Duration, signs: &[Rank]) {
        self.silence.iter_mut().for_each(|silence| *silence += time);
        for rank in signs.iter().filter_map(|&rank| usize::try_from(rank).ok()) {
            (self.silence[rank], self.works[rank]) = (Duration::ZERO, true);
        }
    }

    /// The longest silence of a rank that is missing; none where none is.
    pub(super) fn longest_silence(&self) -> Option<Duration> {
        self.missing(Duration::ZERO).map(|rank| self.silence[rank as usize]).max()
    }

    /// The ranks that have not come, and of which nothing was heard for so long.
    fn missing(&self, silence_least: Duration) -> impl Iterator<Item = u32> {
        let ranks = (0..).zip(&self.said).zip(&self.silence);
        ranks.filter_map(move |((rank, said), &silence)| {
            (said.is_none() && silence >= silence_least).then_some(rank)
        })
    }

    pub(super) fn silent(&self, limit: Duration) -> Vec<NodeId> {
        self.missing(limit).map(NodeId).collect()
    }

    /// The ranks that have come, but for rank 0.
    pub(super) fn come(&self) -> Vec<Rank> {
        let ranks = (0..).zip(&self.said).skip(1);
        ranks.filter_map(|(rank, said)| said.is_some().then_some(rank)).collect()
    }

    /// For whom rank 0 waits.
    pub(super) fn notes(&mut self, what: &str, limit: Duration) -> Vec<String> {
        let (working, silent): (Vec<u32>, Vec<u32>) =
            self.missing(Duration::ZERO).partition(|&rank| self.works[rank as usize]);
        let mut notes = Vec::new();
        if !silent.is_empty() {
            let waited = silent.iter().map(|&rank| self.silence[rank as usize]).max();
            let (who, waited) = (escape::ranks(&silent), waited.unwrap_or_default());
            notes.push(format!("waits for {who} to {what}, {waited:?} of at most {limit:?}"));
        }
        if !working.is_empty() {
            notes.push(format!("waits for {} to {what}: at work", escape::ranks(&working)));
        }
        self.works.fill(false);
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn who_works_is_waited_for_and_who_is_silent_is_named() {
        let mut awaited = AwaitedRanks::new(4, b"mine");
        awaited.pass(3 * SECOND, &[]);
        awaited.take(NodeId(1), b"said".to_vec());
        assert_eq!(awaited.longest_silence(), Some(Duration::ZERO));
        awaited.pass(SECOND, &[]);
        awaited.pass(SECOND, &[3]);
        assert_eq!(awaited.longest_silence(), Some(2 * SECOND));
        assert_eq!(awaited.silent(2 * SECOND), [NodeId(2)]);
        assert_eq!(awaited.come(), [1]);
        let notes = awaited.notes("report", 9 * SECOND);
        let silent = "waits for rank 2 to report, 2s of at most 9s";
        assert_eq!(notes, [silent, "waits for rank 3 to report: at work"]);
        awaited.pass(SECOND, &[]);
        let notes = awaited.notes("report", 9 * SECOND);
        assert_eq!(notes, ["waits for ranks 2, 3 to report, 3s of at most 9s"]);
        awaited.take(NodeId(2), Vec::new());
        awaited.take(NodeId(3), Vec::new());
        assert_eq!(awaited.longest_silence(), None);
        assert_eq!(awaited.said[0].as_deref(), Some(&b"mine"[..]));
    }
}
