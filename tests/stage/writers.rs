//! Several threads that write to several folders at once.

use std::ffi::OsStr;

use super::tree::differences;
use super::{here, source, temp};

#[test]
fn any_number_of_writers_makes_the_same_trees() {
    let from = temp();
    let source = source(from.path());
    for workers in [None, Some("1"), Some("2"), Some("8")] {
        let to = temp();
        let dirs = ["one", "two", "three"].map(|name| to.path().join(name));
        let mut arguments = vec![source.as_os_str(), OsStr::new("--mkdir")];
        arguments.extend(["--segment-bytes", "16K"].map(OsStr::new));
        for dir in &dirs {
            arguments.extend([OsStr::new("--to"), dir.as_os_str()]);
        }
        if let Some(workers) = workers {
            arguments.extend(["--workers", workers].map(OsStr::new));
        }
        let json = here(&arguments).is(0).json();
        assert_eq!(json["nodes"][0]["state"], "complete", "{workers:?}: {json}");
        for dir in &dirs {
            assert_eq!(differences(&source, &dir.join("tree")), [""; 0], "{workers:?}");
        }
        // All is there: a second run reads nothing, whoever wrote the journals.
        assert_eq!(here(&arguments).is(0).json()["source_bytes_read"], 0, "{workers:?}");
    }
}
