//! A table of texts, as Markdown or HTML; `grid_text` makes aligned text of it.

use crate::escape::{columns, html, markdown};

// A cell of more columns than this is broken into lines in HTML.
// Longer than names of contenders are, shorter than the parameters and conditions of a workload.
const CELL_COLUMNS: usize = 40;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grid {
    /// The line above it; may be empty.
    pub title: String,
    pub columns: Vec<Column>,
    /// Each row has a cell for every column.
    pub rows: Vec<Vec<Cell>>,
    pub notes: Vec<String>,
    /// The names of columns that a text leaves out where there is no room, those that go first first.
    pub drops: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub name: String,
    pub is_number: bool,
    /// Whether its texts are shown whole, however little room there is.
    pub is_whole: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub text: String,
    pub tone: Tone,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    #[default]
    Plain,
    Good,
    Bad,
    Faint,
}

impl Column {
    /// Columns from their names, with bars between; those of numbers begin with `#`, those of a few words that
    /// are shown whole with `=`.
    pub(crate) fn list(names: &str) -> Vec<Self> {
        let column = |name: &str| match (name.strip_prefix('#'), name.strip_prefix('=')) {
            (Some(name), _) => Self::numbers(name),
            (_, Some(name)) => Self::whole(name),
            _ => Self::words(name),
        };
        names.split('|').map(column).collect()
    }

    pub(crate) fn words(name: impl Into<String>) -> Self {
        Self { name: name.into(), is_number: false, is_whole: false }
    }

    pub(crate) fn whole(name: impl Into<String>) -> Self {
        Self { name: name.into(), is_number: false, is_whole: true }
    }

    pub(crate) fn numbers(name: impl Into<String>) -> Self {
        Self { name: name.into(), is_number: true, is_whole: true }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, tone: Tone::Plain }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl Cell {
    #[must_use]
    pub(crate) fn toned(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }
}

impl Tone {
    /// The ANSI escape sequence for it, and its CSS class.
    pub(super) fn codes(self) -> (&'static str, &'static str) {
        match self {
            Self::Plain => ("", ""),
            Self::Good => ("\u{1b}[32m", "good"),
            Self::Bad => ("\u{1b}[31m", "bad"),
            Self::Faint => ("\u{1b}[2m", "faint"),
        }
    }
}

impl Grid {
    /// Removes those of the first `count` columns that are equal in every row, and returns them as
    /// `name value` for the title.
    pub(crate) fn lift_constant(&mut self, count: usize) -> Vec<String> {
        let mut lifted = Vec::new();
        let constant = |rows: &[Vec<Cell>], index: usize| {
            rows.windows(2).all(|pair| pair[0][index] == pair[1][index])
        };
        for index in (0..count.min(self.columns.len())).rev() {
            if let Some(first) = self.rows.first()
                && constant(&self.rows, index)
            {
                let name = self.columns.remove(index).name;
                if !first[index].text.is_empty() {
                    lifted.insert(0, format!("{name} {}", first[index].text));
                }
                self.rows.iter_mut().for_each(|row| drop(row.remove(index)));
            }
        }
        lifted
    }

    pub(crate) fn markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let mut out = String::new();
        if !self.title.is_empty() {
            out += &format!("### {}\n\n", markdown(&self.title));
        }
        out += &line(self.columns.iter().map(|column| markdown(&column.name)).collect());
        let rule = |column: &Column| if column.is_number { "---:" } else { "---" }.to_owned();
        out += &line(self.columns.iter().map(rule).collect());
        for row in &self.rows {
            let cell = |(cell, column): (&Cell, &Column)| {
                // Numbers are ours: `[0.9, 1.1]` reads better without `\\`.
                let text = if column.is_number { cell.text.clone() } else { markdown(&cell.text) };
                match cell.tone {
                    Tone::Bad | Tone::Good if !text.is_empty() => format!("**{text}**"),
                    Tone::Bad | Tone::Good | Tone::Plain | Tone::Faint => text,
                }
            };
            out += &line(row.iter().zip(&self.columns).map(cell).collect());
        }
        if !self.notes.is_empty() {
            out += "\n";
            // Markdown breaks a line that ends with two blanks.
            out += &self.notes.iter().map(|note| markdown(note)).collect::<Vec<_>>().join("  \n");
            out += "\n";
        }
        out
    }

    /// HTML that scrolls by itself where it is wide. `caption` names it for screen readers.
    pub(crate) fn html(&self, caption: &str) -> String {
        let caption = html(caption);
        let mut out = format!(
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{caption}\">\
             <table><caption>{caption}</caption><thead><tr>"
        );
        for column in &self.columns {
            let class = if column.is_number { " class=\"n\"" } else { "" };
            out += &format!("<th scope=\"col\"{class}>{}</th>", html(&column.name));
        }
        out += "</tr></thead><tbody>\n";
        for row in &self.rows {
            out += "<tr>";
            for (index, (cell, column)) in row.iter().zip(&self.columns).enumerate() {
                let kind = if column.is_number {
                    "n "
                } else if columns(&cell.text) > CELL_COLUMNS {
                    "long "
                } else {
                    ""
                };
                let class = format!("{kind}{}", cell.tone.codes().1);
                let class = match class.trim() {
                    "" => String::new(),
                    class => format!(" class=\"{class}\""),
                };
                let text = html(&cell.text);
                out += &match index {
                    0 => format!("<th scope=\"row\"{class}>{text}</th>"),
                    _ => format!("<td{class}>{text}</td>"),
                };
            }
            out += "</tr>\n";
        }
        out += "</tbody></table></div>\n";
        for note in &self.notes {
            out += &format!("<p class=\"note\">{}</p>\n", html(note));
        }
        out
    }
}

#[cfg(test)]
pub(in crate::report::compare) mod tests {
    use super::*;

    /// A small table with what needs escaping.
    pub(in crate::report::compare) fn grid() -> Grid {
        let cell = |text: &str, tone| Cell::from(text).toned(tone);
        Grid {
            title: "Makespan".to_owned(),
            columns: Column::list("peers|who|#ratio"),
            rows: vec![
                vec!["4".into(), "a|b".into(), cell("10.00", Tone::Bad)],
                vec!["4".into(), "<é>".into(), cell("~", Tone::Faint)],
            ],
            notes: vec!["a note".to_owned()],
            drops: Vec::new(),
        }
    }

    #[test]
    fn what_a_format_reads_as_its_own_is_escaped() {
        assert!(grid().markdown().contains("| 4 | a\\|b | **10.00** |"));
        let html = grid().html("a \"caption\"");
        assert!(html.contains("<td>&lt;é&gt;</td><td class=\"n faint\">~</td>"), "{html}");
        assert!(html.contains("aria-label=\"a &quot;caption&quot;\""));
    }

    #[test]
    fn a_long_cell_is_broken_on_a_page() {
        let mut grid = grid();
        grid.rows[1][1] = "files=10 owners=1 segments_per_file=100 shape=all-to-all".into();
        let html = grid.html("");
        assert!(html.contains("<td class=\"long\">files=10 "), "{html}");
        assert!(html.contains("<td>a|b</td>"), "{html}");
    }

    #[test]
    fn columns_that_say_one_thing_move_to_the_heading() {
        let mut grid = grid();
        assert_eq!(grid.lift_constant(2), ["peers 4"]);
        assert_eq!(grid.columns.len(), 2);
        assert_eq!(grid.rows[1][0].text, "<é>");
    }
}
