//! Simulated runs of many peers: a table, and a drawing of makespan ÷ bound and of the tracker's
//! utilization.

use comfy_table::Table;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use plotters::prelude::{
    BLACK, ChartBuilder, Circle, Color as _, EmptyElement, IntoDrawingArea as _, IntoLogRange as _,
    LineSeries, Palette as _, Palette99, PathElement, SVGBackend, SeriesLabelPosition, WHITE,
};
use serde::Serialize;

use super::units::{seconds, size};

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Scaled {
    pub peers: u32,
    pub segments: u32,
    pub segment_bytes: usize,
    /// The bandwidth of a link of rate 1.
    pub link_bits_per_second: f64,
    pub rates: String,
    /// The tracker's time for a message, seconds.
    pub message_s: f64,
    pub seed: u64,
    /// Until the last peer has all, seconds of virtual time.
    pub makespan_s: f64,
    /// The shortest makespan that the links allow, seconds: see `limits::bounds::links`.
    pub bound_s: f64,
    pub ratio_to_bound: f64,
    pub median_finish_to_bound: f64,
    /// How many copies the owner sent.
    pub origin_copies: f64,
    pub tracker_messages_per_second: f64,
    /// The tracker's busy time ÷ the makespan; above 1, the tracker was the bottleneck.
    pub tracker_utilization: f64,
    /// Bytes of control messages for each byte delivered.
    pub message_bytes_per_byte: f64,
    /// The peak memory of the simulation ÷ the peers: state of the protocol and pending events, without
    /// payload. None where the system does not tell.
    pub memory_bytes_per_peer: Option<f64>,
    /// The wall-clock time of the simulation, seconds.
    pub took_s: f64,
}

impl Scaled {
    /// How many peers would saturate the tracker, if its messages grow in proportion. Means nothing
    /// where it is saturated already.
    pub(crate) fn saturation_peers(&self) -> f64 {
        f64::from(self.peers) / self.tracker_utilization
    }
}

pub(crate) fn table(runs: &[Scaled]) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY).set_header([
        "peers",
        "links",
        "makespan",
        "÷ bound",
        "median finish ÷ bound",
        "copies by owner",
        "tracker messages/s",
        "tracker busy",
        "control bytes/byte",
        "memory/peer",
        "tracker saturates at",
        "took",
    ]);
    for run in runs {
        table.add_row([
            run.peers.to_string(),
            run.rates.clone(),
            seconds(run.makespan_s),
            format!("{:.3}", run.ratio_to_bound),
            format!("{:.3}", run.median_finish_to_bound),
            format!("{:.3}", run.origin_copies),
            format!("{:.0}", run.tracker_messages_per_second),
            format!("{:.1}%", run.tracker_utilization * 100.0),
            format!("{:.6}", run.message_bytes_per_byte),
            run.memory_bytes_per_peer.map_or("-".into(), size),
            format!("{:.0} peers", run.saturation_peers()),
            seconds(run.took_s),
        ]);
    }
    format!("{table}\n")
}

/// An SVG: makespan ÷ bound above, the tracker's utilization below. The error is that of the drawing
/// library.
pub(crate) fn drawing(runs: &[Scaled]) -> Result<String, String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (760, 640)).into_drawing_area();
        area.fill(&WHITE).map_err(|error| error.to_string())?;
        let (above, below) = area.split_vertically(320);
        chart(&above, runs, "makespan ÷ bound", |run| run.ratio_to_bound)?;
        chart(&below, runs, "utilization of the tracker", |run| run.tracker_utilization)?;
        area.present().map_err(|error| error.to_string())?;
    }
    Ok(svg)
}

type Area<'a> = plotters::drawing::DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn chart(
    area: &Area<'_>,
    runs: &[Scaled],
    title: &str,
    of: impl Fn(&Scaled) -> f64,
) -> Result<(), String> {
    let peers = runs.iter().map(|run| f64::from(run.peers));
    let (least, most) = peers.fold((f64::MAX, 1.0_f64), |(a, b), p| (a.min(p), b.max(p)));
    let top = runs.iter().map(&of).fold(1.0, f64::max) * 1.1;
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d((least / 1.3..most * 1.3).log_scale(), 0.0..top)
        .map_err(|error| text(&error))?;
    let mesh = chart.configure_mesh().x_desc("peers").light_line_style(WHITE).draw();
    mesh.map_err(|error| text(&error))?;
    let mut kinds: Vec<&str> = runs.iter().map(|run| run.rates.as_str()).collect();
    kinds.dedup();
    for (number, kind) in kinds.into_iter().enumerate() {
        let colour = Palette99::pick(number).to_rgba();
        let points = runs.iter().filter(|run| run.rates == kind);
        let points: Vec<_> = points.map(|run| (f64::from(run.peers), of(run))).collect();
        let line = LineSeries::new(points.iter().copied(), colour.stroke_width(2));
        let label = format!("links: {kind}");
        let key = move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2));
        chart.draw_series(line).map_err(|error| text(&error))?.label(label).legend(key);
        let dots =
            points.iter().map(|&at| EmptyElement::at(at) + Circle::new((0, 0), 3, colour.filled()));
        chart.draw_series(dots).map_err(|error| text(&error))?;
    }
    let mut labels = chart.configure_series_labels();
    let labels = labels.position(SeriesLabelPosition::LowerRight).border_style(BLACK.mix(0.2));
    labels.background_style(WHITE.mix(0.9)).draw().map_err(|error| text(&error))
}
