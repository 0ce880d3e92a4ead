//! Typed values out of a dictionary, blamed on their place if they are something else.
use plist::{Dictionary, Value};

use crate::ProfileError;
use crate::import::draft::Draft;

/// A dictionary and where it stands in the file. One that is absent has no keys.
#[derive(Clone)]
pub(super) struct Entry<'v> {
    pub(super) key: String,
    pub(super) dictionary: Option<&'v Dictionary>,
}

impl<'v> Entry<'v> {
    pub(super) fn path(&self, key: &str) -> String {
        if self.key.is_empty() { key.to_owned() } else { format!("{}.{key}", self.key) }
    }

    pub(super) fn value(&self, key: &str) -> Option<&'v Value> {
        self.dictionary?.get(key)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    pub(super) fn entry(&self, key: &str) -> Self {
        Self { key: self.path(key), dictionary: self.value(key).and_then(Value::as_dictionary) }
    }

    /// The text under a key, unless it is empty.
    pub(super) fn text(&self, draft: &Draft, key: &str) -> Result<Option<&'v str>, ProfileError> {
        match self.value(key) {
            None => Ok(None),
            Some(value) => match value.as_string() {
                Some(text) => Ok(Some(text).filter(|text| !text.is_empty())),
                None => Err(draft.wrong(&self.path(key), "wrong type; allowed: a string")),
            },
        }
    }

    /// A number, or a truth value as 0 or 1: both are in use.
    pub(super) fn number(&self, draft: &Draft, key: &str) -> Result<Option<u64>, ProfileError> {
        match self.value(key) {
            None => Ok(None),
            Some(value) => match value.as_unsigned_integer().or_else(|| value.as_boolean().map(u64::from)) {
                Some(number) => Ok(Some(number)),
                None => Err(draft.wrong(&self.path(key), "wrong type; allowed: a number")),
            },
        }
    }

    pub(super) fn flag(&self, draft: &Draft, key: &str) -> Result<bool, ProfileError> {
        Ok(self.number(draft, key)?.is_some_and(|n| n != 0))
    }

    /// The texts of a list.
    pub(super) fn list(&self, key: &str) -> Vec<String> {
        let items = self.value(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        items.iter().filter_map(Value::as_string).map(str::to_owned).collect()
    }

    /// Data, or text taken as bytes.
    pub(super) fn bytes(&self, key: &str) -> Option<&'v [u8]> {
        let value = self.value(key)?;
        value.as_data().or_else(|| value.as_string().map(str::as_bytes))
    }
}
