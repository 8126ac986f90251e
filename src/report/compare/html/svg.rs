//! SVG elements with CSS classes; the style sheet colours them.

use std::fmt::Write as _;

use crate::escape::html;

#[derive(Debug)]
pub(super) struct Svg {
    width: f64,
    height: f64,
    body: String,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

// The shapes of marks.
const SHAPES: usize = 6;

impl Svg {
    pub(super) fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    pub(super) fn line(&mut self, class: &str, [from_x, from_y]: [f64; 2], [to_x, to_y]: [f64; 2]) {
        let (from_x, from_y, to_x, to_y) = (short(from_x), short(from_y), short(to_x), short(to_y));
        self.add(&format!(
            "<line class=\"{class}\" x1=\"{from_x}\" y1=\"{from_y}\" x2=\"{to_x}\" y2=\"{to_y}\"/>"
        ));
    }

    /// A rectangle from its upper left corner; `says` is its tooltip.
    pub(super) fn rect(&mut self, class: &str, at: [f64; 2], size: [f64; 2], says: &str) {
        let [x, y, width, height] = [at[0], at[1], size[0].max(0.0), size[1].max(0.0)].map(short);
        let says = title(says);
        self.add(&format!(
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\">{says}</rect>"
        ));
    }

    pub(super) fn path(&mut self, class: &str, places: &[[f64; 2]]) {
        let mut steps = String::new();
        for (index, [x, y]) in places.iter().enumerate() {
            let step = if index == 0 { 'M' } else { 'L' };
            let _always_fits = write!(steps, "{step}{} {}", short(*x), short(*y));
        }
        self.add(&format!("<path class=\"{class}\" d=\"{steps}\"/>"));
    }

    /// A mark of one of several shapes, so that colour alone does not tell series apart.
    pub(super) fn mark(
        &mut self,
        class: &str,
        shape: usize,
        [x, y]: [f64; 2],
        size: f64,
        says: &str,
    ) {
        let (r, says) = (size, title(says));
        let corners: &[[f64; 2]] = match shape % SHAPES {
            0 => {
                let [x, y, r] = [x, y, r].map(short);
                self.add(&format!(
                    "<circle class=\"{class}\" cx=\"{x}\" cy=\"{y}\" r=\"{r}\">{says}</circle>"
                ));
                return;
            }
            1 => &[[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]],
            2 => &[[0.0, -1.2], [1.1, 0.8], [-1.1, 0.8]],
            3 => &[[0.0, -1.3], [1.3, 0.0], [0.0, 1.3], [-1.3, 0.0]],
            4 => &[[0.0, 1.2], [1.1, -0.8], [-1.1, -0.8]],
            _ => &[[-1.3, -0.5], [1.3, -0.5], [1.3, 0.5], [-1.3, 0.5]],
        };
        let points: Vec<_> = corners
            .iter()
            .map(|[dx, dy]| format!("{},{}", short(x + r * dx), short(y + r * dy)))
            .collect();
        let points = points.join(" ");
        self.add(&format!("<polygon class=\"{class}\" points=\"{points}\">{says}</polygon>"));
    }

    pub(super) fn text(&mut self, class: &str, anchor: Anchor, [x, y]: [f64; 2], text: &str) {
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let (x, y, text) = (short(x), short(y), html(text));
        self.add(&format!("<text class=\"{class}\" x=\"{x}\" y=\"{y}\"{anchor}>{text}</text>"));
    }

    /// The whole drawing, with title and description for screen readers.
    pub(super) fn finish(self, id: &str, name: &str, description: &str) -> String {
        let (width, height) = (short(self.width), short(self.height));
        format!(
            "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\n\
             <title id=\"{id}-t\">{}</title><desc id=\"{id}-d\">{}</desc>\n{}</svg>\n",
            html(name),
            html(description),
            self.body
        )
    }

    /// On white paper, below its title.
    #[cfg(test)]
    pub(super) fn titled(self, title: &str) -> Self {
        const TITLE: f64 = 22.0;
        let mut whole = Self::new(self.width, self.height + TITLE);
        whole.rect("paper", [0.0, 0.0], [whole.width, whole.height], "");
        whole.text("title", Anchor::Start, [4.0, 16.0], title);
        whole.add(&format!("<g transform=\"translate(0 {})\">\n{}</g>", short(TITLE), self.body));
        whole
    }

    /// A file of its own with a style sheet: drawings of one width below each other.
    pub(super) fn file(drawings: &[Self], style: &str) -> String {
        let (mut body, mut height) = (String::new(), 0.0);
        for drawing in drawings {
            body += &format!("<g transform=\"translate(0 {height})\">\n{}</g>\n", drawing.body);
            height += drawing.height;
        }
        let width = drawings.first().map_or(0.0, |drawing| drawing.width);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\">\n\
             <style>{style}</style>\n{body}</svg>\n"
        )
    }

    /// The drawing, hidden from screen readers, beside words that say the same.
    pub(super) fn decoration(self) -> String {
        let (width, height) = (short(self.width), short(self.height));
        format!(
            "<svg class=\"sample\" viewBox=\"0 0 {width} {height}\" aria-hidden=\"true\">{}</svg>",
            self.body.trim_end()
        )
    }

    fn add(&mut self, element: &str) {
        self.body.push_str(element);
        self.body.push('\n');
    }
}

fn title(says: &str) -> String {
    if says.is_empty() { String::new() } else { format!("<title>{}</title>", html(says)) }
}

fn short(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(ToOwned::to_owned).unwrap_or(text)
}
