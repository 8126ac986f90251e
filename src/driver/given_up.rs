//! A rank that was silent for so long that rank 0 took it for lost, and that speaks again.
//!
//! The others go on without it. It may neither end, nor end the job: a launcher would then end them too. So it rests
//! until rank 0 ends the job, when the others have what they can get.

use std::convert::Infallible;
use std::thread;
use std::time::Duration;

use crate::config::Config;
use crate::manifest::NodeId;
use crate::protocol::Message;
use crate::transport::{PolledEvents, Transport, TransportError};

/// How long rank 0 may say nothing to a rank that rests.
// It answers nothing any more while it prints its summary, right before it ends the job. That takes seconds.
const SILENCE_MAX: Duration = Duration::from_secs(600);

// How long it sleeps between two looks. It still looks: over MPI, what others have begun to send to it ends only so.
// A thousand looks a second take no core from them.
const REST: Duration = Duration::from_millis(1);

/// Says so, and rests until the job is ended from outside.
///
/// # Errors
///
/// When rank 0 says nothing for [`SILENCE_MAX`], and so can't end the job any more, or the transport fails.
pub(super) fn rest(
    node: NodeId,
    transport: &mut impl Transport,
    config: &Config,
    warn: fn(&str),
) -> Result<Infallible, TransportError> {
    let silence = config.silence_patience;
    warn(&format!(
        "{node} was silent for more than {silence:?} and counts as lost: it rests until rank 0 ends the job"
    ));
    rest_within(transport, config, SILENCE_MAX)
}

fn rest_within(
    transport: &mut impl Transport,
    config: &Config,
    silence_max: Duration,
) -> Result<Infallible, TransportError> {
    let mut events = PolledEvents::default();
    let interval = config.repeat_interval();
    // Its rests are counted, and no clock read: a rank that is stopped once more has not waited meanwhile.
    let (mut silence, mut since_said) = (Duration::ZERO, interval);
    while silence < silence_max {
        if since_said >= interval {
            // Rank 0 answers whatever comes from a rank that it has given up.
            transport.send(NodeId::TRACKER, &Message::Bye)?;
            since_said = Duration::ZERO;
        }
        transport.poll(&mut events)?;
        let is_heard = events.messages.iter().any(|&(from, _)| from == NodeId::TRACKER);
        silence = if is_heard { Duration::ZERO } else { silence + REST };
        since_said += REST;
        thread::park_timeout(REST);
    }
    Err(TransportError::Silent(NodeId::TRACKER))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::transport::local;
    use crossbeam::sync::Parker;

    #[test]
    fn a_rank_that_was_given_up_rests_until_rank_0_is_silent() {
        const ANSWERS: usize = 20;
        let parkers = [Parker::new(), Parker::new()];
        let wakers = parkers.iter().map(|parker| parker.unparker().clone()).collect();
        let mut ends = local::connect(wakers);
        let (mut mine, mut tracker) = (ends.swap_remove(1), ends.swap_remove(0));
        let mut config = Config::for_segments_of(1024);
        config.silence_patience = Duration::from_millis(40);
        let answering = thread::spawn(move || {
            let mut events = PolledEvents::default();
            let mut answered = 0;
            while answered < ANSWERS {
                tracker.poll(&mut events).expect("it is well");
                for (from, message) in &events.messages {
                    assert_eq!((*from, &**message), (NodeId(1), &Message::Bye));
                    answered += 1;
                    tracker.send(NodeId(1), &Message::Lost { node: NodeId(1) }).expect("it is");
                }
                thread::park_timeout(REST);
            }
        });
        // Long beside a turn of the thread above, however busy the machine.
        let error = rest_within(&mut mine, &config, Duration::from_secs(5)).err();
        assert!(matches!(error, Some(TransportError::Silent(NodeId::TRACKER))), "{error:?}");
        answering.join().expect("so many messages came");
    }
}
