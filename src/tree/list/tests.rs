//! The default size of a segment.

use super::*;

#[test]
fn the_default_segment_grows_where_there_would_be_too_many() {
    let tree = |bytes| {
        let path = TreePath::new(*b"t").expect("a name");
        let kind = EntryKind::File { bytes, data: None };
        let entry = Entry {
            path,
            kind,
            mode: 0o644,
            modified: FileTime::default(),
            attributes: Attributes::default(),
        };
        Manifest { entries: vec![entry], ..Manifest::default() }
    };
    let size = |bytes| default_segment_bytes(&tree(bytes), &ListOptions::default());
    assert_eq!(size(1 << 46), 8 << 20, "64 TiB");
    assert_eq!(size(1 << 50), 128 << 20, "a petabyte");
    assert_eq!(size(u64::MAX), SEGMENT_BYTES_MAX);
    assert_eq!(size(0), 64 << 10);
}
