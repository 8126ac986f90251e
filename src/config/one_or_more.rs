//! A field of a plan that is a value, or a list of values to try one after the other.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, IntoDeserializer as _, SeqAccess, Visitor};

/// What the lists of a plan may give together.
// Each is a run or more: at a millisecond a run, 10 s for one repetition of all.
pub(crate) const COMBINATIONS_MAX: usize = 10_000;

/// Lists that give more than [`COMBINATIONS_MAX`] together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its lists give {0} combinations: use 1 to {COMBINATIONS_MAX}")]
pub(crate) struct TooMany(pub(crate) usize);

/// At least one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sweep<T>(Vec<T>);

impl<T> Sweep<T> {
    /// The values, in the order of the plan.
    pub(crate) fn values(&self) -> &[T] {
        &self.0
    }
}

impl<T> From<T> for Sweep<T> {
    fn from(value: T) -> Self {
        Self(vec![value])
    }
}

/// Each of `all` with each of the values set; as they are where the plan names none.
///
/// # Errors
///
/// More than [`COMBINATIONS_MAX`] would follow.
pub(crate) fn spread<A: Clone, T: Clone>(
    all: Vec<A>,
    sweep: Option<&Sweep<T>>,
    set: impl Fn(&mut A, T),
) -> Result<Vec<A>, TooMany> {
    let Some(sweep) = sweep else {
        return Ok(all);
    };
    let combinations = all.len().saturating_mul(sweep.values().len());
    if combinations > COMBINATIONS_MAX {
        return Err(TooMany(combinations));
    }
    let each = |one: A| {
        let set = &set;
        sweep.values().iter().map(move |value| {
            let mut one = one.clone();
            set(&mut one, value.clone());
            one
        })
    };
    Ok(all.into_iter().flat_map(each).collect())
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Sweep<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrMore(PhantomData))
    }
}

struct OneOrMore<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMore<T> {
    type Value = Sweep<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or a list of values")
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Sweep<T>, E> {
        T::deserialize(value.into_deserializer()).map(Sweep::from)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Sweep<T>, E> {
        T::deserialize(value.into_deserializer()).map(Sweep::from)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Sweep<T>, E> {
        T::deserialize(value.into_deserializer()).map(Sweep::from)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Sweep<T>, A::Error> {
        let values = Vec::deserialize(SeqAccessDeserializer::new(list))?;
        if values.is_empty() {
            return Err(de::Error::custom("a list of values to try names at least one"));
        }
        Ok(Sweep(values))
    }
}
