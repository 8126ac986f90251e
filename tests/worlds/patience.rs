//! Whatever patience nodes have with each other, nobody who lives is taken for lost.

use std::time::Duration;

use mpiswarm::config::Config;
use mpiswarm::simulation::{Faults, WorldConfig};

use super::{assert_flawless, seeds};

#[test]
fn no_pair_of_patiences_takes_a_live_node_for_lost() {
    let times = [10, 50, 300, 2000].map(Duration::from_millis);
    for (silence_patience, ask_patience) in
        times.into_iter().flat_map(|silence| times.map(|ask| (silence, ask)))
    {
        let world = format!("silence {silence_patience:?}, ask {ask_patience:?}");
        seeds(&world, 2, |seed| {
            let plain = WorldConfig::broadcast(3, 4, seed);
            // A segment takes several times as long as anybody may be silent, and nobody gives it up. The time of
            // messages varies by a part of that, as on a busy machine.
            let config = Config {
                silence_patience,
                ask_patience,
                request_patience: 1000 * silence_patience,
                ..plain.config
            };
            let faults = Faults { jitter: silence_patience / 10, ..Faults::default() };
            let segment_time = 5 * silence_patience;
            let latency = silence_patience / 100;
            assert_flawless(&WorldConfig { config, faults, segment_time, latency, ..plain });
        });
    }
}
