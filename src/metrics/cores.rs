//! Which cores may this process use?

use std::thread;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// A set of cores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cores {
    /// A bit for each core.
    words: Vec<u64>,
    /// A limit of the process's control group, in whole cores; none if it has more than it has cores.
    quota: Option<usize>,
}

impl Cores {
    /// Those that this thread may run on; none where the system doesn't tell.
    pub fn mine() -> Self {
        let mut words = vec![0_u64; CpuSet::MAX_CPU / 64];
        if let Ok(set) = sched_getaffinity(None) {
            for core in (0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)) {
                words[core / 64] |= 1 << (core % 64);
            }
        }
        let bound_to: usize = words.iter().map(|word| word.count_ones() as usize).sum();
        // The standard library knows the quotas of control groups, and the affinity mask does not.
        let allowed = thread::available_parallelism().map_or(1, usize::from);
        Self { words, quota: (bound_to == 0 || allowed < bound_to).then_some(allowed) }
    }

    /// The same with the bits of the cores of several processes, side by side.
    #[must_use]
    pub fn with_words(self, words: Vec<u64>) -> Self {
        Self { words, ..self }
    }

    /// The bits; as many words everywhere.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// How many can be busy at once.
    pub fn count(&self) -> usize {
        let known = self.words.iter().map(|word| word.count_ones() as usize).sum::<usize>();
        self.quota.unwrap_or(known).max(1)
    }

    /// Lets this thread run on all of them, as far as the system allows.
    // A launcher may have bound the process to one core, which all its threads would share.
    pub fn open_to_this_thread(&self) {
        let mut set = CpuSet::new();
        for core in
            (0..CpuSet::MAX_CPU).filter(|core| self.words[core / 64] >> (core % 64) & 1 != 0)
        {
            set.set(core);
        }
        if set.count() > 0 {
            // Where that is not allowed, the thread keeps its cores.
            sched_setaffinity(None, &set).unwrap_or_default();
        }
    }
}

// One communicating thread takes in about 10 GB/s: 9.4 to 10.8 were measured between two ranks of a host,
// and a link of 100 Gbit/s carries 12.5. A core hashes 1.25 to 2.3 GB/s, so that eight keep up with it.
/// Threads of a node that hash, read and write, at most.
pub const WORKERS_MAX: usize = 8;

/// The cores of a host that fall to each of its nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoreShare {
    whole: usize,
}

impl CoreShare {
    /// Of the cores that the nodes of a host may use, when there are `nodes` of them. A process that is bound
    /// to fewer has no more than those.
    pub fn new(host: &Cores, nodes: usize) -> Self {
        Self::of((host.count(), Cores::mine().count()), nodes)
    }

    fn of((host, mine): (usize, usize), nodes: usize) -> Self {
        Self { whole: (host / nodes.max(1)).min(mine) }
    }

    /// Whole cores; 0 where nodes share them.
    pub fn cores(self) -> usize {
        self.whole
    }

    /// Threads for hashing, reading and writing, beside the one that communicates.
    pub fn workers(self) -> usize {
        self.whole.saturating_sub(1).min(WORKERS_MAX)
    }

    /// Whether the communicating thread takes no core from another node.
    pub fn has_own_core(self) -> bool {
        self.whole > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_has_its_share_of_the_cores_less_the_one_that_communicates() {
        let workers = |cores, nodes| CoreShare::of((cores, cores), nodes).workers();
        assert_eq!([workers(2, 3), workers(2, 5), workers(2, 2), workers(1, 1)], [0; 4]);
        assert_eq!([workers(16, 2), workers(16, 4), workers(16, 8), workers(16, 16)], [7, 3, 1, 0]);
        assert_eq!([workers(64, 2), workers(17, 8), workers(2, 0)], [WORKERS_MAX, 1, 1]);
        assert_eq!(CoreShare::of((16, 1), 4).workers(), 0, "bound to one core");
        assert_eq!(CoreShare::of((16, 2), 4).workers(), 1, "bound to two");
        assert!(!CoreShare::of((2, 2), 3).has_own_core());
        assert!(CoreShare::of((3, 1), 3).has_own_core());
    }

    #[test]
    fn a_thread_that_is_bound_to_one_core_may_be_let_go_again() {
        let all = Cores::mine();
        assert_eq!(all.count(), thread::available_parallelism().expect("the system tells").get());
        let first = all.words().iter().position(|&word| word != 0).expect("it runs somewhere");
        let mut one = vec![0; all.words().len()];
        one[first] = 1 << all.words()[first].trailing_zeros();
        let one = all.clone().with_words(one);
        thread::spawn(move || {
            one.open_to_this_thread();
            assert_eq!(Cores::mine().words(), one.words());
            assert_eq!(Cores::mine().count(), 1);
            all.open_to_this_thread();
            assert_eq!(Cores::mine(), all);
        })
        .join()
        .expect("the thread ends");
    }
}
