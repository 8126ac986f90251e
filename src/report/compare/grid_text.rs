//! A table as aligned text that fits its screen.
//!
//! Where it is too wide, three things happen in this order, until it fits: names longer than [`NAME_COLUMNS`] lose
//! their middle; columns drop out, as `Grid::drops` says; names get shorter still, down to [`NAME_COLUMNS_LEAST`].
//! Different names of a column stay different. A note under the table says what was done.

use std::collections::{BTreeMap, BTreeSet};

use super::grid::{Grid, Tone};
use crate::escape::{columns, elided, fitting, terminal, wrapped};

// Names are shortened to this many columns before a column drops out.
// An engine with two switches ("lockfree window=16 batch=4" has 26) keeps most of both; a longer name takes the
// place of two numbers.
const NAME_COLUMNS: usize = 24;
// Names get no shorter.
// Four columns at either end of the "…".
const NAME_COLUMNS_LEAST: usize = 9;
// Before what belongs to a line above, columns.
// Deeper than the cells, which stand behind two blanks.
const INDENT: usize = 4;

/// What a text is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Screen {
    pub colour: bool,
    /// Its width.
    pub columns: usize,
}

impl Screen {
    /// A file: as wide as a table needs, without colours.
    pub(crate) const FILE: Self = Self { colour: false, columns: usize::MAX };
}

/// What a name is shortened to.
type ShortNames<'a> = BTreeMap<&'a str, String>;

/// The columns that are shown: the place of each in the table, and its texts, the heading first.
type ShownColumns = Vec<(usize, Vec<String>)>;

impl Grid {
    /// Aligned text, a line a row.
    pub(crate) fn text(&self, screen: Screen) -> String {
        let (shown, note) = self.fitted(screen.columns);
        let widths: Vec<usize> = shown.iter().map(|(_, texts)| widest(texts)).collect();
        let line = |place: usize, tone: &dyn Fn(usize) -> Tone| {
            let mut line = String::new();
            for ((index, texts), width) in shown.iter().zip(&widths) {
                let (text, tone) = (&texts[place], tone(*index));
                let blank = " ".repeat(width - columns(text));
                let toned = screen.colour && tone != Tone::Plain;
                let (on, off) = if toned { (tone.codes().0, "\u{1b}[0m") } else { ("", "") };
                let is_number = self.columns[*index].is_number;
                let (before, after) =
                    if is_number { (blank.as_str(), "") } else { ("", blank.as_str()) };
                line += &format!("  {before}{on}{text}{off}{after}");
            }
            format!("{}\n", line.trim_end())
        };
        let mut out = String::new();
        if !self.title.is_empty() {
            out += &format!("{}\n", wrapped(&terminal(&self.title), INDENT, screen.columns));
        }
        out += &line(0, &|_| Tone::Faint);
        for (place, row) in (1..).zip(&self.rows) {
            out += &line(place, &|index| row[index].tone);
        }
        for note in self.notes.iter().map(|note| terminal(note)).chain(note) {
            out += &format!("{}\n", wrapped(&format!("  {note}"), INDENT, screen.columns));
        }
        out
    }

    /// What fits into so many columns, and a note if that is not all.
    fn fitted(&self, most: usize) -> (ShownColumns, Option<String>) {
        let whole: Vec<Vec<String>> = (0..self.columns.len())
            .map(|index| {
                let cells = self.rows.iter().map(|row| &row[index].text);
                [&self.columns[index].name]
                    .into_iter()
                    .chain(cells)
                    .map(|text| terminal(text))
                    .collect()
            })
            .collect();
        let mut shown: ShownColumns = whole.iter().cloned().enumerate().collect();
        let is_wide = |shown: &ShownColumns| {
            shown.iter().map(|(_, texts)| 2 + widest(texts)).sum::<usize>() > most
        };
        if is_wide(&shown) {
            self.shorten(&whole, &mut shown, NAME_COLUMNS);
        }
        let mut left_out = Vec::new();
        for name in &self.drops {
            if !is_wide(&shown) {
                break;
            }
            let before = shown.len();
            shown.retain(|(index, _)| self.columns[*index].name != *name);
            if shown.len() < before {
                left_out.push(terminal(name));
            }
        }
        for columns in (NAME_COLUMNS_LEAST..NAME_COLUMNS).rev() {
            if is_wide(&shown) {
                self.shorten(&whole, &mut shown, columns);
            }
        }
        let mut said = Vec::new();
        if !left_out.is_empty() {
            said.push(format!("left out to fit {most} columns: {}", left_out.join(", ")));
        }
        if shown.iter().any(|(index, texts)| whole[*index] != *texts) {
            said.push("long names are shortened".to_owned());
        }
        let note = (!said.is_empty()).then(|| format!("{}; --wide shows all", said.join("; ")));
        (shown, note)
    }

    /// Shortens names: the cells of columns of words, and the headings of numbers.
    fn shorten(&self, whole: &[Vec<String>], shown: &mut ShownColumns, most: usize) {
        let is_number = |index: usize| self.columns[index].is_number;
        let headings: Vec<String> = whole.iter().map(|texts| texts[0].clone()).collect();
        let headings = shortened(&headings, most);
        for (index, texts) in shown {
            if is_number(*index) {
                texts[0].clone_from(&headings[*index]);
            } else if !self.columns[*index].is_whole {
                *texts = shortened(&whole[*index], most);
            }
        }
    }
}

fn widest(texts: &[String]) -> usize {
    texts.iter().map(|text| columns(text)).max().unwrap_or(0)
}

/// Texts of at most so many columns. Different ones stay different.
fn shortened(texts: &[String], most: usize) -> Vec<String> {
    let names: BTreeSet<&str> = texts.iter().map(String::as_str).collect();
    let tells_apart =
        |short: &ShortNames<'_>| short.values().collect::<BTreeSet<_>>().len() == names.len();
    // Both ends alike; where that does not tell them apart, more of one end.
    let heads = [most / 2, most / 4, 3 * most / 4, 0, most];
    let of_names = |head| -> ShortNames<'_> {
        names.iter().map(|name| (*name, elided(name, head, most))).collect()
    };
    let short = heads.into_iter().map(of_names).find(tells_apart);
    let short = short.or_else(|| Some(by_difference(&names, most)).filter(tells_apart));
    let short = short.unwrap_or_else(|| numbered(&names, most));
    texts.iter().map(|text| short[text.as_str()].clone()).collect()
}

/// Names that would look alike: a little of their beginning, and what follows from where they differ.
fn by_difference<'a>(names: &BTreeSet<&'a str>, most: usize) -> ShortNames<'a> {
    let short = |name: &str| elided(name, most / 2, most);
    let mut alike: BTreeMap<String, Vec<&'a str>> = BTreeMap::new();
    names.iter().for_each(|name| alike.entry(short(name)).or_default().push(name));
    let mut all = ShortNames::new();
    for (short, names) in alike {
        let common = if names.len() > 1 { common_beginning(&names) } else { "" };
        for name in names {
            let rest = name.strip_prefix(common).filter(|_| !common.is_empty());
            let begin = fitting(common, most / 3);
            let from_there = |rest| elided(&format!("{begin}…{rest}"), most, most);
            all.insert(name, rest.map_or_else(|| short.clone(), from_there));
        }
    }
    all
}

fn common_beginning<'a>(names: &[&'a str]) -> &'a str {
    let Some(first) = names.first() else { return "" };
    names.iter().fold(*first, |common, name| {
        let ends = common.char_indices().map(|(at, c)| at + c.len_utf8());
        let end = ends.take_while(|&end| name.starts_with(&common[..end])).last().unwrap_or(0);
        &common[..end]
    })
}

/// The beginning of each long name, and its number among all.
fn numbered<'a>(names: &BTreeSet<&'a str>, most: usize) -> ShortNames<'a> {
    let short = |(number, name): (usize, &&'a str)| {
        let mark = format!("…{number}");
        let short = if columns(name) > most {
            format!("{}{mark}", fitting(name, most.saturating_sub(columns(&mark))))
        } else {
            (*name).to_owned()
        };
        (*name, short)
    };
    names.iter().enumerate().map(|(index, name)| short((index + 1, name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::compare::grid::tests::grid;
    use crate::report::compare::grid::{Cell, Column};

    fn screen(columns: usize) -> Screen {
        Screen { colour: false, columns }
    }

    #[test]
    fn text_is_aligned_and_coloured_on_demand() {
        let plain =
            "Makespan\n  peers  who  ratio\n  4      a|b  10.00\n  4      <é>      ~\n  a note\n";
        assert_eq!(grid().text(Screen::FILE), plain);
        let coloured = grid().text(Screen { colour: true, ..Screen::FILE });
        assert!(coloured.contains("  \u{1b}[31m10.00\u{1b}[0m\n"), "{coloured:?}");
        let stripped = ["\u{1b}[31m", "\u{1b}[2m", "\u{1b}[0m"];
        let bare = stripped.iter().fold(coloured, |text, code| text.replace(code, ""));
        assert_eq!(bare, plain);
    }

    /// Names of 60 columns and more, of which some differ at one place alone.
    fn wide() -> Grid {
        let names = [
            "lockfree with a window of 8 and verification in a pool, index atomic",
            "lockfree with a window of 16 and verification in a pool, index atomic",
            "名前名前名前名前名前名前名前名前名前名前名前名前名前名前名前名前",
            "mutex",
        ];
        let row = |name: &&str| {
            ["classic", name, "12.3 ms ± 2%", "1.5%", "0.054", "[0.027, 0.081]", "18.4× faster"]
                .map(Cell::from)
                .to_vec()
        };
        let mut columns = Column::list("workload|contender");
        columns.push(Column::numbers("a measurement whose name is as long as a name can well be"));
        columns.extend(Column::list("#cv|#ratio|#95% interval|=verdict"));
        Grid {
            title: "Makespan: a measurement whose name is as long as a name can well be → another".into(),
            columns,
            rows: names.iter().map(row).collect(),
            notes: vec![
                "~ no significant difference in 1 of 4 results: p ≥ 0.01, or the interval contains 1".into(),
            ],
            drops: ["cv", "95% interval", "ratio"].map(str::to_owned).to_vec(),
        }
    }

    #[test]
    fn a_wide_table_fits_and_says_what_it_left_out() {
        for columns in [60, 80, 120] {
            let text = wide().text(screen(columns));
            let most = text.lines().map(crate::escape::columns).max();
            assert!(most.is_some_and(|most| most <= columns), "{text}");
            insta::assert_snapshot!(format!("wide-{columns}"), text);
        }
        let whole = wide().text(screen(400));
        assert_eq!(whole, wide().text(Screen::FILE));
        assert!(!whole.contains('…') && !whole.contains("--wide"), "{whole}");
    }

    #[test]
    fn shortened_names_stay_different() {
        let long = |middle: &str| format!("{}{middle}{}", "a".repeat(40), "z".repeat(40));
        let of_middles = [long("1"), long("2"), long("12"), "short".to_owned(), String::new()];
        let of_ends: Vec<_> =
            (0..300).map(|number| format!("{}{number}", "名".repeat(60))).collect();
        let of_begins: Vec<_> =
            (0..300).map(|number| format!("{number}{}", "é".repeat(60))).collect();
        let of_two = ["ab", "ba"].map(|ends| long(ends).replace('z', ends)).to_vec();
        for names in [of_middles.to_vec(), of_ends, of_begins, of_two] {
            for most in NAME_COLUMNS_LEAST..NAME_COLUMNS {
                let short = shortened(&names, most);
                let distinct: BTreeSet<_> = short.iter().collect();
                assert_eq!(distinct.len(), names.len(), "{short:?}");
                assert!(widest(&short) <= most, "{short:?}");
            }
        }
    }

    #[test]
    fn a_screen_that_is_far_too_narrow_still_gets_every_row() {
        let text = wide().text(screen(1));
        assert_eq!(text.lines().filter(|line| line.contains("classic")).count(), 4, "{text}");
    }
}
