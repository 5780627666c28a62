//! How numbers of milliseconds and switches stand in the options. JavaScript rounds durations to whole numbers.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use serde_json::Value;

use crate::clock;

fn is_off(given: &Value) -> bool {
    matches!(given, Value::Null | Value::Bool(false))
}

/// `#[serde(with)]` for a [`Duration`] that is always there.
pub(super) mod always {
    use super::{Deserialize, Deserializer, Duration, Serializer, clock};

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }

    pub(in crate::config) fn serialize<S: Serializer>(
        duration: &Duration,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_u64(clock::millis(*duration))
    }
}

/// `#[serde(with)]` for a [`Duration`] that `false`, `0` or `null` switches off.
pub(super) mod or_off {
    use super::{Deserialize, Deserializer, Duration, Error, Serializer, Value, clock, is_off};

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        let given = Value::deserialize(from)?;
        if is_off(&given) {
            return Ok(None);
        }
        let millis = given
            .as_u64()
            .ok_or_else(|| D::Error::custom("expected milliseconds or false"))?;
        Ok(Some(Duration::from_millis(millis)).filter(|each| !each.is_zero()))
    }

    #[allow(clippy::ref_option, reason = "serde names the signature")]
    pub(in crate::config) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => to.serialize_u64(clock::millis(*duration)),
            None => to.serialize_bool(false),
        }
    }
}

/// `#[serde(with)]` for a group of options that `false` switches off and `true` leaves at its defaults.
pub(super) mod switch {
    use serde::de::DeserializeOwned;

    use super::{Deserialize, Deserializer, Error, Serialize, Serializer, Value, is_off};

    pub(in crate::config) fn deserialize<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
    where
        D: Deserializer<'de>,
        T: DeserializeOwned + Default,
    {
        let given = Value::deserialize(from)?;
        if is_off(&given) {
            return Ok(None);
        }
        if given == Value::Bool(true) {
            return Ok(Some(T::default()));
        }
        serde_json::from_value(given)
            .map(Some)
            .map_err(D::Error::custom)
    }

    #[allow(clippy::ref_option, reason = "serde names the signature")]
    pub(in crate::config) fn serialize<S: Serializer, T: Serialize>(
        group: &Option<T>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match group {
            Some(group) => group.serialize(to),
            None => to.serialize_bool(false),
        }
    }
}

/// `#[serde(deserialize_with)]` that tells an absent option (`None`, by default) from `null` (`Some(None)`).
pub(super) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}
