//! `--patience KIND=TIME`: how long nodes wait for each other.

use std::str::FromStr;
use std::time::Duration;

use crate::config::Config;
use crate::config::ranges::{OutOfRange, PatienceTime};
use crate::escape;

/// One wait and its limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Patience {
    kind: PatienceKind,
    limit: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PatienceKind {
    Registration,
    Silence,
    Request,
    Ask,
}

/// What is wrong with a value of `--patience`, and what to type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PatienceError {
    #[error("no `=`: type for example silence=60s")]
    NoLimit,
    #[error("`{}` is no kind: use registration, silence, request or ask", escape::terminal(.0))]
    Kind(String),
    #[error(transparent)]
    Time(#[from] OutOfRange),
}

impl FromStr for Patience {
    type Err = PatienceError;

    fn from_str(text: &str) -> Result<Self, PatienceError> {
        let (kind, time) = text.split_once('=').ok_or(PatienceError::NoLimit)?;
        let kind = match kind {
            "registration" => PatienceKind::Registration,
            "silence" => PatienceKind::Silence,
            "request" => PatienceKind::Request,
            "ask" => PatienceKind::Ask,
            other => return Err(PatienceError::Kind(other.to_owned())),
        };
        Ok(Self { kind, limit: time.parse::<PatienceTime>()?.get() })
    }
}

impl Patience {
    pub(super) fn apply(&self, config: &mut Config) {
        *match self.kind {
            PatienceKind::Registration => &mut config.registration_patience,
            PatienceKind::Silence => &mut config.silence_patience,
            PatienceKind::Request => &mut config.request_patience,
            PatienceKind::Ask => &mut config.ask_patience,
        } = self.limit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_and_checked() {
        let limit = |text: &str| text.parse::<Patience>().map(|patience| patience.limit);
        assert_eq!(limit("silence=60s"), Ok(Duration::from_secs(60)));
        assert_eq!(limit("ask=250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(limit("request=1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(limit("registration=5m"), Ok(Duration::from_secs(300)));
        for bad in
            ["silence", "sleep=3s", "ask=", "ask=-1s", "ask=nan", "ask=inf", "ask=1e9", "ask=0"]
        {
            assert!(limit(bad).is_err(), "{bad}");
        }
        let mut config = Config::for_segments_of(1024);
        "silence=3s".parse::<Patience>().expect("it is one").apply(&mut config);
        assert_eq!(config.silence_patience, Duration::from_secs(3));
    }
}
