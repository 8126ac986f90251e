//! Every run as a line of CSV.

use super::super::raw_runs;
use super::*;

#[test]
fn every_run_is_a_line_and_no_name_a_formula() {
    let names = ["=1+1", "+x", "-x", "@SUM(A1)", "a,\"=b\""];
    let mut one = set("@set", names.map(|name| runs(name, "=w", 3, 0.25)).concat());
    one.observations[0].values.remove(&Figure::Rate);
    one.observations[0].switches = BTreeMap::from([("window".to_owned(), "8".to_owned())]);
    let text = raw_runs::csv(&[one, set("b", runs("lockfree", "classic", 2, 0.5))]);
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let head = reader.headers().expect("a head").clone();
    let expected = "folder,began,commit,workload,peers,segment_bytes,parameters,contender,switches,launch,repetition,\
                    makespan_s,rate_bytes_per_s,memory_bytes";
    assert_eq!(head.iter().collect::<Vec<_>>().join(","), expected);
    let lines: Vec<_> =
        reader.records().collect::<Result<_, _>>().expect("all lines are as long as the head");
    assert_eq!(lines.len(), 5 * 3 + 2);
    for cell in lines.iter().flatten() {
        assert!(!cell.starts_with(['=', '+', '-', '@']), "{cell} in {text}");
    }
    let of = |line: &csv::StringRecord, name: &str| {
        let place = head.iter().position(|column| column == name).expect("a column");
        line[place].to_owned()
    };
    let first =
        lines.iter().find(|line| of(line, "switches") == "window=8").expect("the first run");
    let cells =
        ["contender", "launch", "repetition", "rate_bytes_per_s"].map(|name| of(first, name));
    assert_eq!(cells, ["'=1+1", "0", "0", ""]);
    assert!(lines.iter().any(|line| of(line, "contender") == "a,\"=b\""), "{text}");
    let makespans = lines.iter().map(|line| of(line, "makespan_s").parse::<f64>());
    assert!(makespans.into_iter().all(|makespan| makespan.is_ok_and(|seconds| seconds > 0.0)));
}
