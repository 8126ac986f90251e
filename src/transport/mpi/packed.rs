//! Short segments: several share a message (message coalescing), since a message costs more than their bytes.
//!
//! The holder copies them into a buffer, one behind the other, and the receiver copies them out into their
//! slots. They come through the receives that are posted for messages, so that they need no tag, and MPI
//! never writes into their slots: a slot is vacant again as soon as nobody expects its segment.

use std::collections::VecDeque;

use mpi::topology::Rank;

use super::place_table::PlaceTable;
use crate::config::{FRAGMENT_LOG2_LEAST, PACKED_MESSAGE_MAX, PACKED_SLOT_MAX, REQUEST_TAGS};
use crate::manifest::{NodeId, SegmentId};
use crate::protocol::{PostedReceives, RequestedSegment};
use crate::store::VacantSlot;
use crate::transport::{Completion, TransportError};

// What a message of segments begins with. No other message does: `postcard` begins with the number of the
// kind, a varint, and a first byte of 128 or more would be one of more than 127 kinds.
const MARK: u8 = 0xfe;

// Bytes before those of each segment: the tag that its receiver requested it with, its number, and its
// length, little endian.
const HEADER_BYTES: usize = size_of::<u16>() + size_of::<u32>() + size_of::<u16>();

// A message with one segment would only cost two copies more.
const _: () = assert!(2 * (HEADER_BYTES + PACKED_SLOT_MAX) < PACKED_MESSAGE_MAX);

/// Whether a segment comes packed into a slot of so many bytes.
pub(super) fn is_packed(slot_bytes: usize) -> bool {
    slot_bytes <= PACKED_SLOT_MAX
}

/// The packed segments of a message; none of another message.
pub(super) fn packed_in(message: &[u8]) -> Option<PackedSegments<'_>> {
    let (&mark, rest) = message.split_first()?;
    (mark == MARK).then_some(PackedSegments { rest })
}

/// The segments of a message, in order. One that is cut off is an error, and the last.
#[derive(Debug)]
pub(super) struct PackedSegments<'a> {
    rest: &'a [u8],
}

/// A segment within a message.
#[derive(Debug, PartialEq)]
pub(super) struct PackedSegment<'a> {
    tag: u16,
    pub(super) segment: SegmentId,
    bytes: &'a [u8],
}

/// A message that ends within a segment.
#[derive(Debug, PartialEq)]
pub(super) struct CutOff;

impl<'a> Iterator for PackedSegments<'a> {
    type Item = Result<PackedSegment<'a>, CutOff>;

    fn next(&mut self) -> Option<Self::Item> {
        let message = std::mem::take(&mut self.rest);
        if message.is_empty() {
            return None;
        }
        let split = message.split_first_chunk::<HEADER_BYTES>().and_then(|(header, rest)| {
            let &[t0, t1, s0, s1, s2, s3, l0, l1] = header;
            let (bytes, rest) = rest.split_at_checked(u16::from_le_bytes([l0, l1]).into())?;
            self.rest = rest;
            let segment = SegmentId(u32::from_le_bytes([s0, s1, s2, s3]));
            Some(PackedSegment { tag: u16::from_le_bytes([t0, t1]), segment, bytes })
        });
        Some(split.ok_or(CutOff))
    }
}

/// A message that is filled.
#[derive(Debug)]
pub(super) struct PackedMessage {
    pub(super) to: NodeId,
    pub(super) rank: Rank,
    pub(super) buffer: Box<[u8]>,
    pub(super) len: usize,
}

/// Messages that are filled, at most one for each receiver.
#[derive(Debug, Default)]
pub(super) struct Packing {
    open: Vec<PackedMessage>,
}

impl Packing {
    /// Adds a segment to the message for its receiver; returns the one that has no room for it, to be sent.
    /// `buffer` gives the memory of a new one.
    pub(super) fn add(
        &mut self,
        (to, rank): (NodeId, Rank),
        requested: RequestedSegment,
        bytes: &[u8],
        buffer: impl FnOnce() -> Box<[u8]>,
    ) -> Result<Option<PackedMessage>, TransportError> {
        let RequestedSegment { segment, posted: PostedReceives { tag, slot_bytes, .. }, .. } =
            requested;
        let len = u16::try_from(bytes.len()).ok().filter(|&len| u32::from(len) <= slot_bytes);
        let too_long = TransportError::Slot { to, segment, slot_bytes, bytes: bytes.len() };
        let len = len.ok_or(too_long)?;
        let place = self.open.iter().position(|message| message.to == to);
        let mut full = None;
        let message = match place {
            Some(place) if self.open[place].has_room(bytes.len()) => &mut self.open[place],
            full_one => {
                full = full_one.map(|place| self.open.swap_remove(place));
                let mut buffer = buffer();
                buffer[0] = MARK;
                self.open.push(PackedMessage { to, rank, buffer, len: 1 });
                self.open.last_mut().expect("it was just added")
            }
        };
        let [t0, t1] = tag.to_le_bytes();
        let [s0, s1, s2, s3] = segment.0.to_le_bytes();
        let [l0, l1] = len.to_le_bytes();
        message.write(&[t0, t1, s0, s1, s2, s3, l0, l1]);
        message.write(bytes);
        Ok(full)
    }

    /// A message to be sent, as it is.
    pub(super) fn take(&mut self) -> Option<PackedMessage> {
        self.open.pop()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

impl PackedMessage {
    fn has_room(&self, bytes: usize) -> bool {
        self.len + HEADER_BYTES + bytes <= PACKED_MESSAGE_MAX
    }

    fn write(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        self.buffer[self.len..end].copy_from_slice(bytes);
        self.len = end;
    }
}

/// A segment that is expected packed. Its place in the table is its tag.
#[derive(Debug)]
struct AwaitedSegment {
    from: NodeId,
    rank: Rank,
    segment: SegmentId,
    slot_bytes: u32,
    slot: VacantSlot,
}

/// All segments that are expected packed.
#[derive(Debug)]
pub(super) struct Unpacking {
    awaited: PlaceTable<AwaitedSegment>,
    /// Those that no request has named yet, in order: the first is mostly the one that is sought.
    unnamed: VecDeque<u16>,
    forgotten: Vec<VacantSlot>,
}

impl Unpacking {
    pub(super) fn new() -> Self {
        let (awaited, unnamed, forgotten) = (PlaceTable::new(), VecDeque::new(), Vec::new());
        Self { awaited, unnamed, forgotten }
    }

    pub(super) fn expect(
        &mut self,
        (from, rank): (NodeId, Rank),
        segment: SegmentId,
        mut slot: VacantSlot,
    ) -> Result<(), TransportError> {
        let tag = u16::try_from(self.awaited.next_place()).ok().filter(|&tag| tag < REQUEST_TAGS);
        let pending = self.awaited.len();
        let tag = tag.ok_or(TransportError::NoTag { from, segment, pending })?;
        let slot_bytes = u32::try_from(slot.bytes_mut().len()).unwrap_or(u32::MAX);
        self.awaited.insert(AwaitedSegment { from, rank, segment, slot_bytes, slot });
        self.unnamed.push_back(tag);
        Ok(())
    }

    /// What a request says of a segment; none if it is not expected packed.
    pub(super) fn name(&mut self, from: NodeId, segment: SegmentId) -> Option<PostedReceives> {
        let Self { awaited, unnamed, .. } = self;
        let mut named = unnamed.iter().enumerate().filter_map(|(at, &tag)| {
            let found = awaited.find_mut(tag.into()).filter(|one| one.is(from, segment))?;
            Some((at, tag, found.slot_bytes))
        });
        let (at, tag, slot_bytes) = named.next()?;
        unnamed.remove(at);
        Some(PostedReceives { tag, fragment_log2: FRAGMENT_LOG2_LEAST, slot_bytes })
    }

    /// Takes a slot back; false if the segment is not expected packed.
    pub(super) fn forget(&mut self, from: NodeId, segment: SegmentId) -> bool {
        let place = self.awaited.position(|one| one.is(from, segment));
        let Some(place) = place else { return false };
        self.unnamed.retain(|&tag| usize::from(tag) != place);
        self.forgotten.extend(self.awaited.remove(place).map(|one| one.slot));
        true
    }

    /// Slots of segments that were forgotten since the last call.
    pub(super) fn forgotten(&mut self) -> impl Iterator<Item = Completion> {
        self.forgotten.drain(..).map(|slot| Completion::Forgotten { slot })
    }

    /// Copies the segments of a message of `rank`, which is `sender`, into their slots.
    pub(super) fn take_in(
        &mut self,
        (sender, rank): (NodeId, Rank),
        message: PackedSegments<'_>,
        completions: &mut Vec<Completion>,
    ) -> Result<(), TransportError> {
        for packed in message {
            let packed = packed.ok().filter(|packed| packed.tag < REQUEST_TAGS);
            let PackedSegment { tag, segment, bytes } =
                packed.ok_or(TransportError::Packed { from: sender })?;
            let place = usize::from(tag);
            let awaited = self.awaited.find_mut(place);
            // A holder that was given up may still send what it was asked for before.
            if awaited.is_none_or(|one| (one.rank, one.segment) != (rank, segment)) {
                continue;
            }
            let Some(AwaitedSegment { from, mut slot, .. }) = self.awaited.remove(place) else {
                continue;
            };
            let room = slot.bytes_mut().get_mut(..bytes.len());
            room.ok_or(TransportError::TooLong { from })?.copy_from_slice(bytes);
            completions.push(Completion::Arrived { from, segment, slot: slot.fill(bytes.len()) });
        }
        Ok(())
    }
}

impl AwaitedSegment {
    fn is(&self, from: NodeId, segment: SegmentId) -> bool {
        self.from == from && self.segment == segment
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::config::MESSAGE_BYTES_MAX;
    use crate::protocol::{Message, codec};
    use crate::store::Store;

    const SENDER: (NodeId, Rank) = (NodeId(3), 4);

    fn expecting(segments: u32, slot_bytes: usize) -> Unpacking {
        let mut store = Store::new(segments as usize, slot_bytes).expect("a little memory");
        let mut unpacking = Unpacking::new();
        for segment in (0..segments).map(SegmentId) {
            let slot = store.take().expect("one for each");
            unpacking.expect(SENDER, segment, slot).expect("there are tags");
        }
        unpacking
    }

    fn requested(unpacking: &mut Unpacking, segment: u32) -> RequestedSegment {
        let posted = unpacking.name(SENDER.0, SegmentId(segment)).expect("it is expected");
        RequestedSegment { posted, ..SegmentId(segment).into() }
    }

    fn pack(packing: &mut Packing, requested: RequestedSegment, bytes: &[u8]) -> Vec<Vec<u8>> {
        let buffer = || vec![0; MESSAGE_BYTES_MAX].into();
        let full = packing.add((NodeId(1), 1), requested, bytes, buffer).expect("it fits");
        full.into_iter().map(|message| message.buffer[..message.len].to_vec()).collect()
    }

    fn left(packing: &mut Packing) -> Vec<Vec<u8>> {
        let taken = std::iter::from_fn(|| packing.take());
        taken.map(|message| message.buffer[..message.len].to_vec()).collect()
    }

    fn unpack(
        unpacking: &mut Unpacking,
        sender: (NodeId, Rank),
        message: &[u8],
    ) -> Result<Vec<(u32, Vec<u8>)>, String> {
        let mut completions = Vec::new();
        let message = packed_in(message).expect("it is marked");
        unpacking.take_in(sender, message, &mut completions).map_err(|error| error.to_string())?;
        let arrived = completions.into_iter().map(|completion| match completion {
            Completion::Arrived { segment, slot, .. } => (segment.0, slot.bytes().to_vec()),
            other @ (Completion::Sent { .. } | Completion::Forgotten { .. }) => panic!("{other:?}"),
        });
        Ok(arrived.collect())
    }

    #[test]
    fn segments_of_any_short_length_share_as_few_messages_as_they_fit_into() {
        for slot_bytes in [0, 1, 64, 333, 1024, PACKED_SLOT_MAX] {
            let mut unpacking = expecting(100, slot_bytes);
            let (mut packing, mut messages) = (Packing::default(), Vec::new());
            let bytes_of = |segment: u32| {
                let len = slot_bytes - (segment as usize % 7).min(slot_bytes);
                vec![segment.to_le_bytes()[0]; len]
            };
            for segment in 0..100 {
                let requested = requested(&mut unpacking, segment);
                messages.extend(pack(&mut packing, requested, &bytes_of(segment)));
            }
            messages.extend(left(&mut packing));
            assert!(packing.is_empty() && left(&mut packing).is_empty());
            let each = PACKED_MESSAGE_MAX / (HEADER_BYTES + slot_bytes);
            assert!(messages.len() <= 100_usize.div_ceil(each), "{slot_bytes}: {}", messages.len());
            assert!(messages.iter().all(|message| message.len() <= PACKED_MESSAGE_MAX));
            let arrived = messages
                .iter()
                .flat_map(|message| unpack(&mut unpacking, SENDER, message).expect("it is whole"));
            let arrived: Vec<_> = arrived.collect();
            let expected: Vec<_> = (0..100).map(|segment| (segment, bytes_of(segment))).collect();
            assert_eq!(arrived, expected);
        }
    }

    #[test]
    fn messages_for_several_receivers_fill_side_by_side() {
        let mut unpacking = expecting(6, 64);
        let mut packing = Packing::default();
        for segment in 0..6 {
            let (to, requested) = (segment % 2, requested(&mut unpacking, segment));
            let rank = Rank::try_from(to).expect("it is small");
            let buffer = || vec![0; MESSAGE_BYTES_MAX].into();
            let full = packing.add((NodeId(to), rank), requested, &[7; 64], buffer);
            assert!(full.expect("it fits").is_none());
        }
        let messages = left(&mut packing);
        assert_eq!(messages.len(), 2);
        for message in messages {
            assert_eq!(unpack(&mut unpacking, SENDER, &message).expect("it is whole").len(), 3);
        }
    }

    #[test]
    fn a_segment_longer_than_the_slot_of_its_receiver_is_an_error() {
        let mut unpacking = expecting(1, 64);
        let requested = requested(&mut unpacking, 0);
        let buffer = || vec![0; MESSAGE_BYTES_MAX].into();
        let added = Packing::default().add((NodeId(1), 1), requested, &[0; 65], buffer);
        let error = added.expect_err("it is too long").to_string();
        assert_eq!(error, "rank 1 requested segment 0 for a slot of 64 bytes, and it has 65");
    }

    /// A header, and bytes behind it.
    fn message(tag: u16, segment: u32, len: u16, bytes: &[u8]) -> Vec<u8> {
        let (tag, segment, len) = (tag.to_le_bytes(), segment.to_le_bytes(), len.to_le_bytes());
        [&[MARK], &tag[..], &segment, &len, bytes].concat()
    }

    #[test]
    fn what_cannot_be_is_an_error_that_names_its_sender() {
        let cut_off = "rank 3 sent packed segments of which one is cut off or has no tag";
        let too_long = "rank 3 sent a message or segment that is longer than any";
        for (bytes, expected) in [
            (message(0, 0, 5, b"abcd"), cut_off),
            (message(0, 0, u16::MAX, b"abcd"), cut_off),
            (message(0, 0, 4, b"abcd!"), cut_off),
            (message(0, 0, 4, b"abcd")[..6].to_vec(), cut_off),
            (message(REQUEST_TAGS, 0, 4, b"abcd"), cut_off),
            (message(u16::MAX, u32::MAX, 4, b"abcd"), cut_off),
            (message(0, 0, 65, &[0; 65]), too_long),
        ] {
            let mut unpacking = expecting(2, 64);
            assert_eq!([0, 1].map(|segment| requested(&mut unpacking, segment).posted.tag), [0, 1]);
            assert_eq!(unpack(&mut unpacking, SENDER, &bytes), Err(expected.to_owned()));
        }
    }

    #[test]
    fn what_nobody_expects_is_dropped() {
        let mut unpacking = expecting(3, 64);
        let requested = requested(&mut unpacking, 1);
        assert!(
            unpacking.forget(SENDER.0, SegmentId(2)) && unpacking.forget(SENDER.0, SegmentId(0))
        );
        assert!(!unpacking.forget(SENDER.0, SegmentId(0)), "it is forgotten");
        assert!(!unpacking.forget(NodeId(9), SegmentId(1)), "it comes from another");
        assert_eq!((unpacking.forgotten().count(), unpacking.forgotten().count()), (2, 0));
        let tag = requested.posted.tag;
        for stray in [
            message(0, 0, 2, b"ab"),
            message(2, 2, 2, b"ab"),
            message(tag, 0, 2, b"ab"),
            message(tag + 7, 1, 2, b"ab"),
            vec![MARK],
        ] {
            assert_eq!(unpack(&mut unpacking, SENDER, &stray), Ok(Vec::new()), "{stray:?}");
        }
        let mut both = message(tag, 1, 2, b"ab");
        assert_eq!(unpack(&mut unpacking, (NodeId(9), 9), &both), Ok(Vec::new()), "another rank");
        both.extend(&message(tag, 1, 2, b"cd")[1..]);
        let arrived = unpack(&mut unpacking, SENDER, &both);
        assert_eq!(arrived, Ok(vec![(1, b"ab".to_vec())]), "the second one comes to nothing");
    }

    #[test]
    fn tags_are_bounded_and_used_again() {
        let mut unpacking = expecting(u32::from(REQUEST_TAGS), 1);
        let mut store = Store::new(2, 1).expect("a little memory");
        let slots = [store.take(), store.take()].map(|slot| slot.expect("two"));
        let next = SegmentId(REQUEST_TAGS.into());
        let expected = slots.map(|slot| {
            let expected = unpacking.expect(SENDER, next, slot).map_err(|error| error.to_string());
            unpacking.forget(SENDER.0, SegmentId(5));
            expected
        });
        let error = "no tag is left for segment 4096 from rank 3: 4096 requests are pending";
        assert_eq!(expected[0], Err(error.to_owned()));
        assert_eq!(expected[1], Ok(()));
        assert_eq!(unpacking.name(SENDER.0, next).map(|posted| posted.tag), Some(5));
    }

    #[test]
    fn no_other_message_begins_like_one_of_segments() {
        let segment = SegmentId(u32::MAX);
        let last_kind = Message::Coming { segment };
        let mut buffer = [0; 16];
        let bytes = codec::encode(&last_kind, &mut buffer).expect("it is short");
        assert!(bytes[0] < 0x80 && packed_in(bytes).is_none() && packed_in(&[]).is_none());
        assert!(codec::decode(&message(0, 0, 0, b"")).is_err());
    }
}
