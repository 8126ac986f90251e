//! A limit on reading what somebody else wrote: a file server may be down, and a pipe may have no writer.

use std::sync::Once;
use std::time::Duration;

use super::{FAILED, show};
use crate::watchdog;

/// Ends this process when `what` is not read within `limit`.
pub(super) fn limited(what: &str, limit: Duration) -> watchdog::Guard {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let installed = watchdog::install(|what| {
            show::error(&format!("waited too long for {what}"));
            std::process::exit(FAILED.into());
        });
        if let Err(cause) = installed {
            show::error(&format!("warning: no limit on reading files: {cause}"));
        }
    });
    watchdog::limit(format!("{what}: does a file hang?"), limit)
}
