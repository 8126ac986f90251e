//! What a plan changes of the defaults of a stage, beside the switches that it shares with the lockfree engine.

use serde::{Deserialize, Serialize};

use crate::config::ranges::{MemoryBytes, Threads, TreeSegmentBytes};
use crate::config::{Compress, Sweep, TooMany, spread};

/// Each is that of `mpiswarm stage`; none leaves the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct StageOptions {
    /// Threads of a peer that read, hash and write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<usize>,
    /// Memory of a peer for segments, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// The size of a segment, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment_bytes: Option<u32>,
    /// Which segments cross compressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compress: Option<Compress>,
    /// Whether it waits until all is on the disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync: Option<bool>,
}

/// The same as a plan has them: values, or lists of values to try.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StageSweeps {
    workers: Option<Sweep<Threads>>,
    memory: Option<Sweep<MemoryBytes>>,
    segment_bytes: Option<Sweep<TreeSegmentBytes>>,
    compress: Option<Sweep<Compress>>,
    sync: Option<bool>,
}

impl StageSweeps {
    /// Every combination of the values. The last varies first.
    ///
    /// # Errors
    ///
    /// There are too many.
    pub(crate) fn product(&self) -> Result<Vec<StageOptions>, TooMany> {
        let all = vec![StageOptions { sync: self.sync, ..StageOptions::default() }];
        let all = spread(all, self.workers.as_ref(), |one, value| one.workers = Some(value.get()))?;
        let all = spread(all, self.memory.as_ref(), |one, value| one.memory = Some(value.get()))?;
        let all = spread(all, self.segment_bytes.as_ref(), |one, value| {
            one.segment_bytes = Some(value.get());
        })?;
        spread(all, self.compress.as_ref(), |one, value| one.compress = Some(value))
    }
}

impl StageOptions {
    /// What is changed, by name, as plans and records have it.
    pub(crate) fn named(&self) -> serde_json::Map<String, serde_json::Value> {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::Object(named)) => named,
            _ => unreachable!("a structure of plain data is an object"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_give_their_product_and_what_is_changed_has_its_name() {
        let text = "workers = [1, 2]\nmemory = \"64M\"\nsegment_bytes = \"1M\"\n\
                    compress = [\"never\", \"always\"]\nsync = false\n";
        let sweeps: StageSweeps = toml::from_str(text).expect("they are right");
        let all = sweeps.product().expect("four");
        let all: Vec<_> = all.iter().map(|one| (one.workers, one.compress)).collect();
        let (one, two) = (Some(1), Some(2));
        let (never, always) = (Some(Compress::Never), Some(Compress::Always));
        assert_eq!(all, [(one, never), (one, always), (two, never), (two, always)]);
        let named = sweeps.product().expect("four")[3].named();
        let expected = serde_json::json!({
            "workers": 2, "memory": 64 << 20, "segment_bytes": 1 << 20, "compress": "always", "sync": false,
        });
        assert_eq!(serde_json::Value::Object(named), expected);
        assert_eq!(StageSweeps::default().product(), Ok(vec![StageOptions::default()]));
        assert!(toml::from_str::<StageSweeps>("workers = 0").is_err());
        assert!(toml::from_str::<StageSweeps>("hash = false").is_err());
    }
}
