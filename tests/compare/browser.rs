//! A page in a real browser without a window.
//!
//! A second page holds it in frames of the widths of a phone and of a desk, opens all that is
//! folded, measures, and writes what it found into itself, which the browser prints.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// What the browser is called on different systems.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Measures every frame and leaves the findings in a `<pre>`.
const SCRIPT: &str = r#"
const found = [];
const say = (text) => found.push(text);
addEventListener("error", (event) => say(`error: ${event.message}`));
addEventListener("load", () => {
  for (const frame of document.querySelectorAll("iframe")) {
    const page = frame.contentDocument, width = frame.clientWidth;
    page.querySelectorAll("details").forEach((details) => { details.open = true; });
    const over = page.documentElement.scrollWidth - width;
    if (over > 0) say(`${width}: the page scrolls by ${over}`);
    const figures = [...page.querySelectorAll("figure")];
    if (figures.length === 0) say(`${width}: no figures`);
    for (const figure of figures) {
      const svg = figure.querySelector("svg[role=img]"), box = svg.getBoundingClientRect();
      const marks = svg.querySelectorAll(".mark, .curve, .bound, .box").length;
      if (box.width < 200 || box.height < 30) say(`${width}: ${figure.id} is ${box.width} by ${box.height}`);
      if (marks === 0) say(`${width}: ${figure.id} is empty`);
      if (!figure.querySelector("table td")) say(`${width}: ${figure.id} has no numbers`);
      for (const shape of svg.querySelectorAll("*")) {
        const at = shape.getBoundingClientRect();
        if (at.width && (at.left < box.left - 1 || at.right > box.right + 1)) {
          say(`${width}: ${figure.id}: ${shape.outerHTML.slice(0, 120)} leaves the figure`);
        }
      }
    }
    const ids = [...page.querySelectorAll("[id]")].map((one) => one.id);
    if (new Set(ids).size !== ids.length) say(`${width}: an id is there twice`);
  }
  document.querySelector("pre").textContent = "checked\n" + found.join("\n") + "\nend";
});
"#;

/// The browser of this machine.
pub(crate) fn find() -> Option<&'static str> {
    NAMES.into_iter().find(|name| starts(name))
}

/// Opens the page and fails on anything that is wrong with it.
pub(crate) fn check(browser: &str, page: &Path) {
    let name = page.file_name().expect("a file").to_string_lossy();
    let frames = [390, 1280].map(|width| {
        format!("<iframe src=\"{name}\" style=\"width:{width}px;height:900px;border:0\"></iframe>")
    });
    let around = page.with_extension("frames.html");
    let frames = frames.concat();
    let text =
        format!("<!DOCTYPE html><meta charset=utf-8><script>{SCRIPT}</script>{frames}<pre></pre>");
    fs::write(&around, text).expect("written");
    let profile = tempfile::tempdir().expect("a folder");
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        // Frames of files may be looked into by this flag alone.
        .args(["--allow-file-access-from-files", "--enable-logging=stderr", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(["--virtual-time-budget=20000", "--window-size=1700,2000"])
        .arg(format!("file://{}", around.display()))
        .output()
        .expect("the browser starts");
    let (dom, log) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let found = dom.split_once("checked\n").and_then(|(_, rest)| rest.split_once("\nend"));
    let (found, _) = found.unwrap_or_else(|| panic!("the page was not measured: {log}"));
    assert_eq!(found, "", "what the browser found in {name}");
    let console: Vec<_> = log.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(console.is_empty(), "the console: {console:?}");
}

fn starts(name: &str) -> bool {
    let version =
        Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}
