//! Destinations that take several names for one, where this machine has such a file system.

use std::fs;
use std::process::Command;

use super::{PROGRAM, ended, temp};

/// Ways to mount a small file system on `$0` that ignores case. Few kernels have all of them.
const MOUNTS: [&str; 2] = [
    r#"mount -t tmpfs -o casefold,size=16m tmpfs "$0" && mkdir "$0/to" && chattr +F "$0/to""#,
    r#"truncate -s 16M "$0.image" && mkfs.vfat "$0.image" && mount -o loop,utf8 "$0.image" "$0" && mkdir "$0/to""#,
];

#[test]
fn names_that_a_destination_takes_for_one_are_refused_before_anything_is_written() {
    for mount in MOUNTS {
        let (from, to) = (temp(), temp());
        let source = from.path().join("tree");
        fs::create_dir(&source).expect("a folder");
        for name in ["readme", "README", "other"] {
            fs::write(source.join(name), name).expect("a small file");
        }
        let dir = to.path().join("disk");
        fs::create_dir(&dir).expect("a folder");
        let script = format!(
            r#"{{ {mount}; }} >"$0.log" 2>&1 || exit 77; "$@"; code=$?; test ! -e "$0/to/tree" || exit 78
               rm "{0}/README"; "$@" && test -e "$0/to/tree/ReadMe" || exit 79; exit $code"#,
            source.display()
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]).arg(&dir);
        command.args([PROGRAM, "stage", "--transport", "local", "--to"]).arg(dir.join("to"));
        let ended = ended(command.arg(&source).output());
        if ended.code == Some(77) || ended.stderr.starts_with("unshare:") {
            println!(
                "skipped: {}",
                fs::read_to_string(to.path().join("disk.log")).unwrap_or_default()
            );
            continue;
        }
        ended.is(2).says("takes tree/README and tree/readme for one name");
    }
}
