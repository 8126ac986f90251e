//! Where contenders run: as threads of this process, or as the ranks of an MPI job. Rank 0 decides
//! what runs next, and sends orders to the other ranks.

use std::time::Duration;

use crate::metrics::cores::{CoreShare, Cores};
use crate::metrics::usage::Usage;
use crate::report::MpiLimits;
use crate::time::Clock;

/// What all ranks run next: indices into the plan, which all of them have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub scenario: u32,
    pub contender: u32,
    /// The repetition; warm-up runs count down from the highest number.
    pub repetition: u32,
}

/// What a run cost one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Processor time and context switches, since the swarm opened.
    pub usage: Usage,
    /// Processor time of the preparation, without making payload.
    pub setup: Duration,
    /// The most memory held in RAM, bytes; 0 where it is not known.
    pub peak_rss_bytes: u64,
}

#[derive(Debug)]
pub(crate) enum Launch {
    /// All nodes are threads of this process.
    Threads,
    #[cfg(feature = "mpi")]
    Ranks(Ranks),
}

impl Launch {
    /// What carries the bytes, as records have it.
    pub(crate) fn transport(&self) -> &'static str {
        match self {
            Self::Threads => "local",
            #[cfg(feature = "mpi")]
            Self::Ranks(_) => "mpi",
        }
    }

    /// The number of peers, where the job fixes it.
    pub(crate) fn peers(&self) -> Option<u32> {
        match self {
            Self::Threads => None,
            #[cfg(feature = "mpi")]
            Self::Ranks(ranks) => Some(ranks.peers()),
        }
    }

    /// Whether there are links between the nodes.
    pub(crate) fn has_links(&self) -> bool {
        match self {
            Self::Threads => false,
            #[cfg(feature = "mpi")]
            Self::Ranks(ranks) => ranks.here() <= ranks.peers(),
        }
    }

    /// The cores of this machine that contenders may use.
    pub(crate) fn cores(&self) -> Cores {
        match self {
            Self::Threads => Cores::mine(),
            #[cfg(feature = "mpi")]
            Self::Ranks(ranks) => ranks.here.cores.clone(),
        }
    }

    /// The cores that fall to each of the nodes on this machine, where all nodes are here and there are `peers`
    /// peers, or to each of the ranks here.
    pub(crate) fn core_share(&self, peers: u32) -> CoreShare {
        match self {
            Self::Threads => CoreShare::new(&Cores::mine(), peers as usize),
            #[cfg(feature = "mpi")]
            Self::Ranks(ranks) => CoreShare::new(&ranks.here.cores, ranks.here() as usize),
        }
    }

    /// Makes all other processes run something, or end if `order` is none. Only for rank 0.
    pub(crate) fn send_order(&self, order: Option<Order>) {
        match self {
            Self::Threads => {
                let _nobody_else = order;
            }
            #[cfg(feature = "mpi")]
            Self::Ranks(ranks) => ranks.send_order(order),
        }
    }

    // Without it the first ranks of the next run would be timed while the last of this one still work.
    /// Returns when all processes have called it.
    pub(crate) fn barrier(&self) {
        match self {
            Self::Threads => {}
            #[cfg(feature = "mpi")]
            Self::Ranks(ranks) => ranks.barrier(),
        }
    }

    /// Measures the limits of the MPI, in about `budget`; none without MPI and on other ranks.
    /// Collective.
    pub(crate) fn mpi_limits(&self, budget: Duration, clock: &Clock) -> Option<MpiLimits> {
        match self {
            Self::Threads => {
                let _not_measured = (budget, clock);
                None
            }
            #[cfg(feature = "mpi")]
            Self::Ranks(ranks) => MpiLimits::measure(&ranks.world, budget, clock),
        }
    }

    /// The cost of each process, by rank, on rank 0; empty on other ranks. Collective.
    pub(crate) fn gather(&self, mine: Cost) -> Vec<Cost> {
        match self {
            Self::Threads => vec![mine],
            #[cfg(feature = "mpi")]
            Self::Ranks(ranks) => ranks.gather(mine),
        }
    }
}

#[cfg(feature = "mpi")]
mod ranks {
    use std::collections::BTreeMap;
    use std::fmt;
    use std::thread;
    use std::time::Duration;

    use mpi::collective::{CommunicatorCollectives as _, Root as _, SystemOperation};
    use mpi::point_to_point::{Destination as _, Source as _};
    use mpi::topology::{Communicator as _, Rank, SimpleCommunicator};

    use super::{Cost, Order};
    use crate::metrics::usage::Usage;
    use crate::time::nanoseconds;
    use crate::transport::mpi::{HostRanks, here};

    // How long a rank without orders sleeps between two looks.
    // Rank 0 needs the cores while it measures limits; 200 µs are little beside a run.
    const REST: Duration = Duration::from_micros(200);
    // The order that ends a rank.
    // Warm-up runs count down from `u32::MAX - 1`, so that no repetition is `u32::MAX`.
    const NOTHING_MORE: [u32; 3] = [u32::MAX; 3];

    /// The ranks of an MPI job, as one of them sees them.
    pub(crate) struct Ranks {
        pub world: SimpleCommunicator,
        /// For orders and costs, apart from the messages of contenders.
        orders: SimpleCommunicator,
        pub(super) here: HostRanks,
        by_host: Vec<u32>,
    }

    impl Ranks {
        pub(crate) fn new(world: SimpleCommunicator) -> Self {
            let orders = world.duplicate();
            let here = here(&world);
            let by_host = by_host(&world);
            Self { world, orders, here, by_host }
        }

        /// Whether this is rank 0.
        pub(crate) fn is_root(&self) -> bool {
            self.orders.rank() == 0
        }

        /// How many ranks are on this machine, this one among them.
        pub(crate) fn here(&self) -> u32 {
            u32::try_from(self.here.ranks).expect("this rank is here")
        }

        /// How many ranks each host has, that of rank 0 first; empty on other ranks than 0.
        pub(crate) fn by_host(&self) -> &[u32] {
            &self.by_host
        }

        /// How many peers there are: all ranks but the tracker.
        pub(crate) fn peers(&self) -> u32 {
            u32::try_from(self.orders.size() - 1).expect("a job has ranks")
        }

        /// Broadcasts the text of rank 0: ranks may have no file system in common. Collective.
        pub(crate) fn share(&self, text: String) -> String {
            let root = self.orders.process_at_rank(0);
            let mut bytes = text.into_bytes();
            let mut count = bytes.len() as u64;
            root.broadcast_into(&mut count);
            bytes.resize(usize::try_from(count).expect("a text that rank 0 holds"), 0);
            // Open MPI refuses the address of an empty buffer.
            if count > 0 {
                root.broadcast_into(&mut bytes[..]);
            }
            String::from_utf8(bytes).expect("rank 0 sent text")
        }

        /// Waits for the next order; none at the end. For ranks from 1 up.
        pub(crate) fn next_order(&self) -> Option<Order> {
            let root = self.orders.process_at_rank(0);
            while root.immediate_probe().is_none() {
                thread::park_timeout(REST);
            }
            let mut numbers = NOTHING_MORE;
            root.receive_into(&mut numbers);
            let [scenario, contender, repetition] = numbers;
            (numbers != NOTHING_MORE).then_some(Order { scenario, contender, repetition })
        }

        pub(super) fn send_order(&self, order: Option<Order>) {
            let numbers = order
                .map_or(NOTHING_MORE, |order| [order.scenario, order.contender, order.repetition]);
            let others = 1..self.orders.size();
            others.for_each(|rank: Rank| self.orders.process_at_rank(rank).send(&numbers));
        }

        pub(super) fn barrier(&self) {
            self.orders.barrier();
        }

        pub(super) fn gather(&self, mine: Cost) -> Vec<Cost> {
            let root = self.orders.process_at_rank(0);
            let numbers = numbers(&mine);
            if !self.is_root() {
                root.gather_into(&numbers);
                return Vec::new();
            }
            let ranks = usize::try_from(self.orders.size()).expect("a job has ranks");
            let mut all = vec![0_u64; ranks * numbers.len()];
            root.gather_into_root(&numbers, &mut all);
            all.as_chunks().0.iter().map(cost).collect()
        }
    }

    impl fmt::Debug for Ranks {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Ranks").field("rank", &self.orders.rank()).finish_non_exhaustive()
        }
    }

    // Ranks of one host have one first rank. Collective.
    fn by_host(world: &SimpleCommunicator) -> Vec<u32> {
        let machine = world.split_shared(world.rank());
        let mut first = world.rank();
        machine.all_reduce_into(&world.rank(), &mut first, SystemOperation::min());
        let root = world.process_at_rank(0);
        if world.rank() != 0 {
            root.gather_into(&first);
            return Vec::new();
        }
        let ranks = usize::try_from(world.size()).expect("a job has ranks");
        let mut firsts: Vec<Rank> = vec![0; ranks];
        root.gather_into_root(&first, &mut firsts);
        let mut hosts = BTreeMap::new();
        firsts.into_iter().for_each(|first| *hosts.entry(first).or_default() += 1);
        hosts.into_values().collect()
    }

    fn numbers(cost: &Cost) -> [u64; 6] {
        let Usage { user, system, voluntary_switches, involuntary_switches } = cost.usage;
        let [user, system] = [user, system].map(nanoseconds);
        let setup = nanoseconds(cost.setup);
        [user, system, voluntary_switches, involuntary_switches, setup, cost.peak_rss_bytes]
    }

    fn cost(numbers: &[u64; 6]) -> Cost {
        let &[user, system, voluntary_switches, involuntary_switches, setup, peak_rss_bytes] =
            numbers;
        let [user, system, setup] = [user, system, setup].map(Duration::from_nanos);
        let usage = Usage { user, system, voluntary_switches, involuntary_switches };
        Cost { usage, setup, peak_rss_bytes }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn costs_survive_their_encoding() {
            let usage = Usage {
                user: Duration::from_micros(7),
                system: Duration::from_secs(2),
                voluntary_switches: 3,
                involuntary_switches: 4,
            };
            let sent = Cost { usage, setup: Duration::from_nanos(6), peak_rss_bytes: 5 };
            assert_eq!(cost(&numbers(&sent)), sent);
        }
    }
}

#[cfg(feature = "mpi")]
pub(crate) use ranks::Ranks;
