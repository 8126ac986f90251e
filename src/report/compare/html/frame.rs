//! The frame of a figure: its axes, its legend and its table.

use super::axis::Scale;
use super::svg::{Anchor, Svg};
use crate::escape::{columns, html};
use crate::report::compare::grid::{Cell, Column, Grid};

// Labels fit, and stay legible where a phone scales it down; chosen by eye.
pub(super) const WIDTH: f64 = 440.0;
/// The x of the vertical axis.
pub(super) const LEFT: f64 = 56.0;
/// The right end of the horizontal axis.
pub(super) const RIGHT: f64 = WIDTH - 14.0;

#[derive(Debug)]
pub(super) struct DrawnFigure {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) svg: Svg,
    pub(super) legend: Vec<LegendEntry>,
    pub(super) table: Grid,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LegendEntry {
    pub(super) class: String,
    /// The shape of its mark; none for a patch, or for the dashed line of the class "bound".
    pub(super) shape: Option<usize>,
    pub(super) name: String,
}

impl LegendEntry {
    pub(super) fn new(
        class: impl Into<String>,
        shape: Option<usize>,
        name: impl Into<String>,
    ) -> Self {
        Self { class: class.into(), shape, name: name.into() }
    }

    pub(super) fn bound() -> Self {
        Self::new("bound", None, "bound: the best that the machine allows")
    }

    fn html(&self) -> String {
        let mut sample = Svg::new(18.0, 12.0);
        match self.shape {
            Some(shape) => {
                if self.class.contains(' ') {
                    sample.line(&format!("curve {}", self.class), [0.0, 6.0], [18.0, 6.0]);
                }
                sample.mark(&format!("mark {}", self.class), shape, [9.0, 6.0], 4.5, "");
            }
            None if self.class.starts_with("bound") => {
                sample.line(&self.class, [0.0, 6.0], [18.0, 6.0]);
            }
            None => sample.rect(&format!("mark {}", self.class), [2.0, 1.0], [14.0, 10.0], ""),
        }
        format!("<li>{}{}</li>", sample.decoration(), html(&self.name))
    }
}

impl DrawnFigure {
    /// The figure as HTML. `id` is its own on the page.
    /// A `wide` one has its table beside it.
    pub(super) fn html(self, id: &str, is_wide: bool) -> String {
        let legend: String = self.legend.iter().map(LegendEntry::html).collect();
        let legend = if legend.is_empty() {
            legend
        } else {
            format!("<ul class=\"legend\">{legend}</ul>\n")
        };
        let (name, description) = (html(&self.name), html(&self.description));
        let svg = self.svg.finish(id, &self.name, &self.description);
        let table = self.table.html(&self.name);
        let (wide, open) = if is_wide { (" class=\"wide\"", " open") } else { ("", "") };
        format!(
            "<figure id=\"{id}\"{wide}><figcaption><b>{name}</b> <span>{description}</span></figcaption>\n\
             {legend}{svg}<details{open}><summary>The numbers<span class=\"hidden\"> of {name}</span>\
             </summary>\n{table}</details></figure>\n"
        )
    }
}

/// Draws a horizontal axis below the plot, with a grid up to its top.
pub(super) fn horizontal(
    svg: &mut Svg,
    scale: &Scale,
    ticks: &[(f64, String)],
    [top, bottom]: [f64; 2],
    label: &str,
) {
    let mut free = f64::NEG_INFINITY;
    for (value, name) in ticks {
        let x = scale.place(*value);
        svg.line("grid", [x, top], [x, bottom]);
        // A character is 8.4 units wide at most. A name that would touch the one before is left out.
        let half = 4.2 * columns(name) as f64;
        let middle = x.clamp(half + 3.0, WIDTH - half - 3.0);
        if middle - half > free {
            svg.text("tick", Anchor::Middle, [middle, bottom + 15.0], name);
            free = middle + half + 4.0;
        }
    }
    svg.line("axis", [LEFT.min(scale_start(scale, ticks)), bottom], [RIGHT, bottom]);
    svg.text("label", Anchor::End, [RIGHT, bottom + 32.0], label);
}

fn scale_start(scale: &Scale, ticks: &[(f64, String)]) -> f64 {
    ticks.first().map_or(LEFT, |(value, _)| scale.place(*value))
}

/// Draws a vertical axis at the left, with a grid to the right end.
pub(super) fn vertical(svg: &mut Svg, scale: &Scale, ticks: &[(f64, String)], label: &str) {
    for (value, name) in ticks {
        let y = scale.place(*value);
        svg.line("grid", [LEFT, y], [RIGHT, y]);
        svg.text("tick", Anchor::End, [LEFT - 6.0, y + 4.0], name);
    }
    svg.text("label", Anchor::Start, [2.0, 12.0], label);
}

pub(super) fn in_units(scale: &Scale) -> Vec<(f64, String)> {
    scale.ticks().into_iter().map(|tick| (tick, number(tick / scale.unit()))).collect()
}

pub(super) fn number(value: f64) -> String {
    let text = match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    };
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A table of a row for each key and a column of numbers for each series. `head` names the columns of
/// the key, `label` fills them; a value that a series lacks is "-".
pub(super) fn by_series<K>(
    head: &str,
    series: impl IntoIterator<Item = impl Into<String>>,
    keys: &[K],
    label: impl Fn(&K) -> Vec<Cell>,
    value: impl Fn(&K, usize) -> Option<String>,
) -> Grid {
    let mut columns = Column::list(head);
    let before = columns.len();
    columns.extend(series.into_iter().map(Column::numbers));
    let row = |key: &K| {
        let values = (0..columns.len() - before).map(|index| value(key, index));
        let values = values.map(|value| Cell::from(value.unwrap_or_else(|| "-".to_owned())));
        label(key).into_iter().chain(values).collect()
    };
    Grid { rows: keys.iter().map(row).collect(), columns, ..Grid::default() }
}
