//! Simulated runs of many peers: a table, and a drawing of makespan ÷ bound and of the tracker's
//! utilization.

use serde::Serialize;

use super::axis::Scale;
use super::frame::{LEFT, RIGHT, WIDTH, horizontal, in_units, vertical};
use super::series::COLOURS;
use super::svg::{Anchor, Svg};
use crate::report::compare::Screen;
use crate::report::compare::grid::{Column, Grid};
use crate::report::units::{seconds, size};

// What a table leaves out where there is no room, first to last: what the simulation costs, then what explains
// makespan and tracker, which stay.
const SCALING_DROPS: [&str; 14] = [
    "took",
    "memory/peer",
    "control bytes/byte",
    "p99.9 ÷ p50",
    "last fast ÷ its bound",
    "median finish ÷ bound",
    "p99 ÷ own",
    "tracker messages/segment",
    "copies by owner",
    "uplinks ÷ least",
    "vanished",
    "tracker saturates at",
    "tracker busy",
    "÷ bound",
];
// Layout in SVG units; chosen by eye.
const TOP: f64 = 24.0;
const BOTTOM: f64 = 250.0;
// The colours of the pages as plain values: programs for print know no variables of CSS.
pub(super) const STYLE: &str = "text { font: 11px sans-serif } .grid { stroke: #e9e9e4 } .axis { stroke: #5b626b } \
    .paper { fill: #fff } .c0 { color: #0072b2 } .c1 { color: #d55e00 } .c2 { color: #00805c } \
    .c3 { color: #b8528d } .c4 { color: #8f7200 } .c5 { color: #2f8fc7 } .c6 { color: #6f48ad } \
    .c7 { color: #5a5f66 } .curve { fill: none; stroke: currentColor; stroke-width: 2 } \
    .mark { fill: currentColor }";

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Scaled {
    /// Who decides: the tracker, the peers, or a plan.
    pub decide: String,
    pub peers: u32,
    pub segments: u32,
    pub segment_bytes: usize,
    /// The bandwidth of a link of rate 1.
    pub link_bits_per_second: f64,
    pub rates: String,
    /// Hosts of a rack, and by how much its link is oversubscribed; none where switches have no rate limit.
    pub racks: Option<String>,
    /// The part of the peers that was to vanish at random moments; none without such.
    pub vanish: Option<f64>,
    /// How many did. All figures but these two are of the others.
    pub vanished: u32,
    /// Segments that the others lack in the end.
    pub missing_of_rest: u64,
    /// The tracker's time for a message, seconds.
    pub message_s: f64,
    pub seed: u64,
    /// Until the last peer has all, seconds of virtual time.
    pub makespan_s: f64,
    /// The shortest makespan that the links allow, seconds: see `limits::bounds::links`.
    pub bound_s: f64,
    pub ratio_to_bound: f64,
    pub median_finish_to_bound: f64,
    /// The last peer with a link of rate 1 or more ÷ the bound of those peers alone.
    pub last_fast_to_bound: f64,
    pub finish_p999_over_p50: f64,
    /// A peer's finish ÷ the shortest time that its own link and the owner's allow.
    pub own_finish_p50: f64,
    pub own_finish_p99: f64,
    pub own_finish_max: f64,
    /// What racks took from others ÷ what they must, which is the file once each. None without other racks.
    pub uplink_bytes_to_least: Option<f64>,
    pub origin_copies: f64,
    pub tracker_messages_per_second: f64,
    /// Messages to and from rank 0 for each delivered segment.
    pub tracker_messages_per_segment: f64,
    /// The tracker's busy time ÷ the makespan; above 1, the tracker was the bottleneck.
    pub tracker_utilization: f64,
    /// Bytes of control messages for each byte delivered.
    pub control_bytes_per_byte: f64,
    /// The peak memory of the simulation ÷ the peers: state of the protocol and pending events, without
    /// payload. None where the system does not tell.
    pub memory_bytes_per_peer: Option<f64>,
    pub took_s: f64,
}

pub(crate) fn table(runs: &[Scaled], screen: Screen) -> String {
    let columns = "#peers|decide|links|#vanished|#makespan|#÷ bound|#median finish ÷ bound|\
                   #last fast ÷ its bound|#p99 ÷ own|#p99.9 ÷ p50|#uplinks ÷ least|#copies by owner|\
                   #tracker messages/segment|#tracker busy|#control bytes/byte|#memory/peer|\
                   #tracker saturates at|#took";
    let row = |run: &Scaled| {
        // Where the tracker's messages grow in proportion; means nothing where it is saturated already.
        let saturation_peers = f64::from(run.peers) / run.tracker_utilization;
        let of_tracker = |text: String| if run.decide == "tracker" { text } else { "-".to_owned() };
        let cells = [
            run.peers.to_string(),
            run.decide.clone(),
            run.rates.clone(),
            run.vanish.map_or("-".into(), |_| run.vanished.to_string()),
            seconds(run.makespan_s),
            format!("{:.3}", run.ratio_to_bound),
            format!("{:.3}", run.median_finish_to_bound),
            format!("{:.3}", run.last_fast_to_bound),
            format!("{:.3}", run.own_finish_p99),
            format!("{:.3}", run.finish_p999_over_p50),
            run.uplink_bytes_to_least.map_or("-".into(), |ratio| format!("{ratio:.3}")),
            format!("{:.3}", run.origin_copies),
            format!("{:.4}", run.tracker_messages_per_segment),
            of_tracker(format!("{:.1}%", run.tracker_utilization * 100.0)),
            format!("{:.6}", run.control_bytes_per_byte),
            run.memory_bytes_per_peer.map_or("-".into(), size),
            of_tracker(format!("{saturation_peers:.0} peers")),
            seconds(run.took_s),
        ];
        cells.map(Into::into).into()
    };
    let (columns, rows) = (Column::list(columns), runs.iter().map(row).collect());
    let drops = SCALING_DROPS.map(str::to_owned).to_vec();
    Grid { columns, rows, drops, ..Grid::default() }.text(screen)
}

/// An SVG: makespan ÷ bound above, the tracker's utilization below.
pub(crate) fn drawing(runs: &[Scaled]) -> String {
    let above = chart(runs, "makespan ÷ bound", |run| run.ratio_to_bound);
    let below = chart(runs, "utilization of the tracker", |run| run.tracker_utilization);
    Svg::file(&[above, below], STYLE)
}

fn chart(runs: &[Scaled], title: &str, of: fn(&Scaled) -> f64) -> Svg {
    let mut peers: Vec<u32> = runs.iter().map(|run| run.peers).collect();
    peers.sort_unstable();
    peers.dedup();
    let [least, most] = [peers.first(), peers.last()].map(|end| f64::from(*end.unwrap_or(&1)));
    let x = Scale::log(least / 1.3, most * 1.3, LEFT, RIGHT);
    let y = Scale::zero_based(runs.iter().map(of).fold(1.0, f64::max), 1.0, BOTTOM, TOP);
    let mut svg = Svg::new(WIDTH, BOTTOM + 40.0);
    svg.rect("paper", [0.0, 0.0], [WIDTH, BOTTOM + 40.0], "");
    vertical(&mut svg, &y, &in_units(&y), title);
    let ticks: Vec<_> = peers.iter().map(|&count| (f64::from(count), count.to_string())).collect();
    horizontal(&mut svg, &x, &ticks, [TOP, BOTTOM], "peers, log scale");
    let kind_of = |run: &Scaled| format!("{}, {}", run.decide, run.rates);
    let mut kinds: Vec<String> = runs.iter().map(kind_of).collect();
    kinds.dedup();
    for (place, kind) in kinds.into_iter().enumerate() {
        let [curve, mark] = ["curve", "mark"].map(|class| format!("{class} c{}", place % COLOURS));
        let points = runs.iter().filter(|run| kind_of(run) == kind);
        let points: Vec<_> =
            points.map(|run| [x.place(f64::from(run.peers)), y.place(of(run))]).collect();
        svg.path(&curve, &points);
        let key = [RIGHT - 120.0, BOTTOM - 12.0 - 16.0 * place as f64];
        points.iter().chain([&key]).for_each(|at| svg.mark(&mark, place, *at, 3.6, ""));
        let label = [key[0] + 10.0, key[1] + 4.0];
        svg.text("name", Anchor::Start, label, &kind);
    }
    svg
}
