//! A segment as a zstd frame (RFC 8878), shorter than the segment.
//!
//! A frame comes from another rank, so that nothing in it is believed: it must be one frame, say that it has the
//! bytes of its segment, and is decompressed into room for exactly these. Their digest is checked afterwards.

use std::mem;

#[cfg(feature = "zstd")]
use zstd::zstd_safe::{CCtx, DCtx, find_frame_compressed_size, get_frame_content_size};

use crate::store::{FilledSlot, SealedSegment, VacantSlot};

// How hard zstd tries.
// 1 is the fastest level that has no sign. Higher ones find a little more and take several times as long, which
// is for data that is compressed once and kept.
#[cfg(feature = "zstd")]
const LEVEL: i32 = 1;

/// Compresses and decompresses for one thread, which keeps the memory for it.
#[derive(Default)]
pub(crate) struct FrameCodec {
    #[cfg(feature = "zstd")]
    compressor: Option<CCtx<'static>>,
    #[cfg(feature = "zstd")]
    decompressor: Option<DCtx<'static>>,
    /// A frame, while its slot takes what is in it.
    frame: Vec<u8>,
}

impl FrameCodec {
    /// Compresses a segment into a slot; none where a frame would be no shorter.
    pub(super) fn pack(
        &mut self,
        sealed: &SealedSegment,
        mut slot: VacantSlot,
    ) -> Option<SealedSegment> {
        let bytes = self.compress(sealed.bytes(), slot.bytes_mut())?;
        slot.fill(bytes).check_by(|_| true).ok()
    }

    /// Replaces a frame by what is in it; by nothing where that is not `bytes` long.
    pub(super) fn unpack(&mut self, slot: FilledSlot, bytes: usize) -> FilledSlot {
        let mut frame = mem::take(&mut self.frame);
        frame.clear();
        // No more than a frame has: this memory is counted as one slot.
        frame.reserve_exact(slot.bytes().len());
        frame.extend_from_slice(slot.bytes());
        let mut slot = slot.vacate();
        let room = slot.bytes_mut().get_mut(..bytes);
        let is_whole = room.is_some_and(|room| self.decompress(&frame, room));
        self.frame = frame;
        slot.fill(if is_whole { bytes } else { 0 })
    }
}

#[cfg(feature = "zstd")]
impl FrameCodec {
    /// Writes the frame of `plain`, and returns its length; none where that is no less than that of `plain`, or
    /// than that of `room`.
    pub(crate) fn compress(&mut self, plain: &[u8], room: &mut [u8]) -> Option<usize> {
        let shorter = plain.len().checked_sub(1)?.min(room.len());
        if self.compressor.is_none() {
            self.compressor = CCtx::try_create();
        }
        let compressor = self.compressor.as_mut()?;
        // It ends early where the room is too small.
        compressor.compress(&mut room[..shorter], plain, LEVEL).ok()
    }

    /// Writes what is in a frame; false where that is not as long as `plain`, or the bytes are not one frame.
    // Both are asked first: zstd would take several frames, and those that it skips, one behind the other.
    pub(crate) fn decompress(&mut self, frame: &[u8], plain: &mut [u8]) -> bool {
        let said = get_frame_content_size(frame).ok().flatten();
        if said != Some(plain.len() as u64) || find_frame_compressed_size(frame) != Ok(frame.len())
        {
            return false;
        }
        if self.decompressor.is_none() {
            self.decompressor = DCtx::try_create();
        }
        let Some(decompressor) = &mut self.decompressor else { return false };
        let room = plain.len();
        decompressor.decompress(plain, frame) == Ok(room)
    }
}

// Without ranks of a job nobody sends a segment.
#[cfg(not(feature = "zstd"))]
impl FrameCodec {
    fn compress(&mut self, _plain: &[u8], _room: &mut [u8]) -> Option<usize> {
        None
    }

    fn decompress(&mut self, _frame: &[u8], _plain: &mut [u8]) -> bool {
        false
    }
}

#[cfg(all(test, feature = "zstd", not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::Pool;

    /// Bytes of every kind: runs, repetitions, and noise.
    fn payload() -> impl Strategy<Value = Vec<u8>> {
        let run = (any::<u8>(), 0..9000_usize).prop_map(|(byte, count)| vec![byte; count]);
        let noise = prop::collection::vec(any::<u8>(), 0..3000);
        let repeated = (prop::collection::vec(any::<u8>(), 1..50), 0..200_usize)
            .prop_map(|(some, times)| some.repeat(times));
        let parts = prop::collection::vec(prop_oneof![run, noise, repeated], 0..6);
        parts.prop_map(|parts| parts.concat())
    }

    fn frame_of(plain: &[u8]) -> Option<Vec<u8>> {
        let mut room = vec![0; plain.len()];
        let bytes = FrameCodec::default().compress(plain, &mut room)?;
        room.truncate(bytes);
        Some(room)
    }

    fn is_taken(frame: &[u8], bytes: usize) -> bool {
        FrameCodec::default().decompress(frame, &mut vec![0; bytes])
    }

    proptest! {
        #[test]
        fn any_bytes_come_out_as_they_went_in(plain in payload()) {
            let Some(frame) = frame_of(&plain) else { return Ok(()) };
            prop_assert!(frame.len() < plain.len());
            let mut found = vec![0xaa; plain.len()];
            prop_assert!(FrameCodec::default().decompress(&frame, &mut found));
            prop_assert_eq!(found, plain);
        }

        #[test]
        fn a_frame_that_was_changed_never_panics(
            plain in payload(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
            cut in any::<prop::sample::Index>(),
        ) {
            let Some(mut frame) = frame_of(&plain) else { return Ok(()) };
            for (place, byte) in changes {
                let place = place.index(frame.len());
                frame[place] = byte;
            }
            let mut room = vec![0; plain.len() + 1];
            let (exact, beyond) = room.split_at_mut(plain.len());
            FrameCodec::default().decompress(&frame, exact);
            prop_assert_eq!(beyond[0], 0, "nothing is written beyond the segment");
            frame.truncate(cut.index(frame.len()));
            prop_assert!(!is_taken(&frame, plain.len()), "it is cut off");
        }
    }

    #[test]
    fn what_is_not_one_frame_of_the_segment_is_refused() {
        let plain = vec![7; 100_000];
        let frame = frame_of(&plain).expect("it is shorter");
        assert!(frame.len() < 100 && is_taken(&frame, plain.len()));
        // A bomb, and one that is too short.
        assert!(!is_taken(&frame, plain.len() - 1) && !is_taken(&frame, 10));
        assert!(!is_taken(&frame, plain.len() + 1) && !is_taken(&frame, 0));
        let half = frame_of(&plain[..50_000]).expect("it is shorter");
        assert!(!is_taken(&[&half[..], &half].concat(), plain.len()), "two frames");
        let skipped = [0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9];
        for (before, behind) in [(&skipped[..], &[][..]), (&[], &skipped), (&[], &[0])] {
            assert!(!is_taken(&[before, &frame, behind].concat(), plain.len()));
        }
        assert!((0..frame.len()).all(|cut| !is_taken(&frame[..cut], plain.len())));
        for garbage in [&[][..], &[0], &[0xff; 1000], &[0x28, 0xb5, 0x2f, 0xfd], &skipped] {
            assert!(!is_taken(garbage, plain.len()) && !is_taken(garbage, 1));
        }
        // A frame that says a length and has none of it, or does not say any.
        let mut said = frame.clone();
        said.truncate(9);
        assert!(!is_taken(&said, plain.len()));
    }

    #[test]
    fn noise_has_no_frame_and_one_codec_does_many() {
        let mut state = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .take(50_000)
        .collect();
        let pool = Pool::new(3, 50_000).expect("a little memory");
        let mut codec = FrameCodec::default();
        for plain in [&noise[..], &[3; 40_000], &noise[..10], &[4; 50_000], &[], &[5; 1]] {
            let mut slot = pool.take().expect("they come back");
            slot.bytes_mut()[..plain.len()].copy_from_slice(plain);
            let sealed = slot.fill(plain.len()).seal_unchecked();
            let packed = codec.pack(&sealed, pool.take().expect("they come back"));
            assert_eq!(packed.is_some(), plain.len() >= 40_000 && plain != noise);
            let Some(packed) = packed else { continue };
            let mut slot = pool.take().expect("they come back");
            slot.bytes_mut()[..packed.bytes().len()].copy_from_slice(packed.bytes());
            let slot = codec.unpack(slot.fill(packed.bytes().len()), plain.len());
            assert_eq!(slot.bytes(), plain);
            let wrong = codec.unpack(slot, 50_000);
            assert_eq!(wrong.bytes().len(), 0);
            let beyond = codec.unpack(wrong, 50_001);
            assert_eq!(beyond.bytes().len(), 0, "no slot is so long");
        }
        assert_eq!(pool.vacant(), 3);
    }
}
