//! A table of texts, as aligned text, Markdown or HTML.

use crate::escape::{columns, html, markdown, terminal};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grid {
    /// The line above it; may be empty.
    pub title: String,
    pub columns: Vec<Column>,
    /// Each row has a cell for every column.
    pub rows: Vec<Vec<Cell>>,
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub name: String,
    pub is_number: bool,
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
    /// Columns from their names, with bars between; those of numbers begin with `#`.
    pub(crate) fn list(names: &str) -> Vec<Self> {
        let column = |name: &str| match name.strip_prefix('#') {
            Some(name) => Self::numbers(name),
            None => Self::words(name),
        };
        names.split('|').map(column).collect()
    }

    pub(crate) fn words(name: impl Into<String>) -> Self {
        Self { name: name.into(), is_number: false }
    }

    pub(crate) fn numbers(name: impl Into<String>) -> Self {
        Self { name: name.into(), is_number: true }
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
    fn codes(self) -> (&'static str, &'static str) {
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

    /// Aligned text, a line a row; in colour for a terminal.
    pub(crate) fn text(&self, colour: bool) -> String {
        let width = |index: usize| {
            let cells = self.rows.iter().map(|row| &row[index].text);
            let all = cells.chain([&self.columns[index].name]);
            all.map(|text| columns(&terminal(text))).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let line = |cells: &mut dyn Iterator<Item = (&str, Tone)>| {
            let mut line = String::new();
            for ((text, tone), (column, width)) in cells.zip(self.columns.iter().zip(&widths)) {
                let text = terminal(text);
                let blank = " ".repeat(width.saturating_sub(columns(&text)));
                let toned = colour && tone != Tone::Plain;
                let (on, off) = if toned { (tone.codes().0, "\u{1b}[0m") } else { ("", "") };
                let (before, after) =
                    if column.is_number { (blank.as_str(), "") } else { ("", blank.as_str()) };
                line += &format!("  {before}{on}{text}{off}{after}");
            }
            format!("{}\n", line.trim_end())
        };
        let mut out = String::new();
        if !self.title.is_empty() {
            out += &format!("{}\n", terminal(&self.title));
        }
        out += &line(&mut self.columns.iter().map(|column| (column.name.as_str(), Tone::Faint)));
        for row in &self.rows {
            out += &line(&mut row.iter().map(|cell| (cell.text.as_str(), cell.tone)));
        }
        self.notes.iter().for_each(|note| out += &format!("  {}\n", terminal(note)));
        out
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
                let number = if column.is_number { "n " } else { "" };
                let class = format!("{number}{}", cell.tone.codes().1);
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
mod tests {
    use super::*;

    fn grid() -> Grid {
        let cell = |text: &str, tone| Cell::from(text).toned(tone);
        Grid {
            title: "Makespan".to_owned(),
            columns: Column::list("peers|who|#ratio"),
            rows: vec![
                vec!["4".into(), "a|b".into(), cell("10.00", Tone::Bad)],
                vec!["4".into(), "<é>".into(), cell("~", Tone::Faint)],
            ],
            notes: vec!["a note".to_owned()],
        }
    }

    #[test]
    fn text_is_aligned_and_coloured_on_demand() {
        let plain =
            "Makespan\n  peers  who  ratio\n  4      a|b  10.00\n  4      <é>      ~\n  a note\n";
        assert_eq!(grid().text(false), plain);
        let coloured = grid().text(true);
        assert!(coloured.contains("  \u{1b}[31m10.00\u{1b}[0m\n"), "{coloured:?}");
        let stripped = ["\u{1b}[31m", "\u{1b}[2m", "\u{1b}[0m"];
        let bare = stripped.iter().fold(coloured, |text, code| text.replace(code, ""));
        assert_eq!(bare, plain);
    }

    #[test]
    fn what_a_format_reads_as_its_own_is_escaped() {
        assert!(grid().markdown().contains("| 4 | a\\|b | **10.00** |"));
        let html = grid().html("a \"caption\"");
        assert!(html.contains("<td>&lt;é&gt;</td><td class=\"n faint\">~</td>"), "{html}");
        assert!(html.contains("aria-label=\"a &quot;caption&quot;\""));
    }

    #[test]
    fn columns_that_say_one_thing_move_to_the_heading() {
        let mut grid = grid();
        assert_eq!(grid.lift_constant(2), ["peers 4"]);
        assert_eq!(grid.columns.len(), 2);
        assert_eq!(grid.rows[1][0].text, "<é>");
    }
}
