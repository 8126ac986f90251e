//! `mpiswarm simulate`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use statrs::distribution::{ContinuousCDF as _, LogNormal};

use super::args::{Rates, SimulateArgs};
use super::{FAILED, OK, REFUSED, show};
use crate::config::Config;
use crate::metrics::usage::{peak_rss_bytes, reset_peak_rss};
use crate::report::limits::bounds;
use crate::report::scale::{self, Scaled};
use crate::report::statistics::median;
use crate::simulation::{Run, World, WorldConfig};
use crate::time::Clock;

/// Patience of all nodes, in segment times: a link that is slow must not look like one that is cut.
const PATIENCE_SEGMENTS: u32 = 200;

pub(super) fn simulate(args: &SimulateArgs) -> u8 {
    if args.segment_bytes == 0 {
        show::error("--segment-bytes: a segment of 0 bytes takes no time");
        return REFUSED;
    }
    let mut runs = Vec::new();
    for rates in &args.rates {
        for &peers in &args.peers {
            show::note(&format!("{peers} peers, links {rates}"));
            runs.push(once(args, peers, *rates));
        }
    }
    show::text(&scale::table(&runs));
    match args.out.as_deref().map_or(Ok(()), |out| file(out, &runs)) {
        Ok(()) => OK,
        Err(error) => {
            show::error(&error);
            FAILED
        }
    }
}

fn once(args: &SimulateArgs, peers: u32, rates: Rates) -> Scaled {
    let segment_s = args.segment_bytes as f64 * 8.0 / (args.link_gbit * 1e9);
    let segment_time = Duration::from_secs_f64(segment_s);
    let drawn = draw(rates, peers, args.seed);
    let scenario = WorldConfig::broadcast(peers, args.segments, args.seed);
    let config = Config {
        request_patience: PATIENCE_SEGMENTS * segment_time,
        ask_patience: PATIENCE_SEGMENTS * segment_time,
        silence_patience: 100 * PATIENCE_SEGMENTS * segment_time,
        ..Config::over_links(args.segment_bytes)
    };
    let scenario = WorldConfig {
        config,
        segment_time,
        latency: Duration::from_secs_f64(args.latency_us / 1e6),
        tracker_time: Duration::from_secs_f64(args.message_us / 1e6),
        weighs_messages: true,
        rates: drawn.clone(),
        ..scenario
    };
    let clock = Clock::start();
    let is_reset = reset_peak_rss();
    let before = peak_rss_bytes();
    let run = World::new(scenario).run();
    let grown = before.zip(peak_rss_bytes()).filter(|_| is_reset);
    let took_s = clock.now().since(Default::default()).as_secs_f64();
    // The first rate is the tracker's, which sends no segments.
    let bound_s = bounds::links(&drawn[1..], args.segments) * segment_s;
    let makespan_s = run.makespan.as_secs_f64();
    let delivered = f64::from(peers) * f64::from(args.segments) * args.segment_bytes as f64;
    Scaled {
        peers,
        segments: args.segments,
        segment_bytes: args.segment_bytes,
        link_bits_per_second: args.link_gbit * 1e9,
        rates: rates.to_string(),
        message_s: args.message_us / 1e6,
        seed: args.seed,
        makespan_s,
        bound_s,
        ratio_to_bound: makespan_s / bound_s,
        median_finish_to_bound: median_finish_s(&run) / bound_s,
        origin_copies: run.served[1] as f64 / f64::from(args.segments),
        tracker_messages_per_second: run.tracker_messages as f64 / makespan_s,
        tracker_utilization: run.tracker_busy.as_secs_f64() / makespan_s,
        message_bytes_per_byte: run.message_bytes as f64 / delivered,
        memory_bytes_per_peer: grown
            .map(|(before, peak)| peak.saturating_sub(before) as f64 / f64::from(peers)),
        took_s,
    }
}

/// Rates by rank, the owner's and all peers', in segments a segment time.
fn draw(rates: Rates, peers: u32, seed: u64) -> Vec<f64> {
    let nodes = peers as usize + 2;
    let Rates::LogNormal(sigma) = rates else { return vec![1.0; nodes] };
    let distribution = LogNormal::new(0.0, sigma).expect("a sigma that was parsed is positive");
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut drawn: Vec<f64> =
        (0..nodes).map(|_| distribution.inverse_cdf(rng.random_range(0.000_1..0.999_9))).collect();
    // The tracker sends no segments, and the owner is an ordinary host.
    drawn[..2].fill(1.0);
    drawn
}

fn median_finish_s(run: &Run) -> f64 {
    let opened = run.outcome.opened.unwrap_or_default();
    let finishes = run.outcome.finished.iter().flatten();
    let finishes: Vec<_> = finishes.map(|at| at.since(opened).as_secs_f64()).collect();
    median(&finishes).unwrap_or(0.0)
}

/// Writes the runs, the table and the drawing to a folder.
fn file(out: &Path, runs: &[Scaled]) -> Result<(), String> {
    let lines = runs.iter().map(|run| serde_json::to_string(run).expect("plain data") + "\n");
    let drawing = scale::drawing(runs)?;
    let files = [
        ("scale.jsonl", lines.collect()),
        ("table.txt", scale::table(runs)),
        ("scale.svg", drawing),
    ];
    let written = fs::create_dir_all(out)
        .and_then(|()| files.iter().try_for_each(|(name, text)| fs::write(out.join(name), text)));
    written.map_err(|error| format!("{}: {error}", out.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_rates_follow_from_the_seed() {
        let rates = Rates::LogNormal(0.5);
        let drawn = draw(rates, 1000, 7);
        assert_eq!(drawn, draw(rates, 1000, 7));
        assert_ne!(drawn, draw(rates, 1000, 8));
        let mut wanting = drawn[2..].to_vec();
        wanting.sort_unstable_by(f64::total_cmp);
        assert!((0.9..1.1).contains(&wanting[500]), "{}", wanting[500]);
    }
}
