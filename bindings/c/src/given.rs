//! What C gives, as Rust has it: the only place that follows its pointers.

use ottla_bridge::Error;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char};

/// More configs than this are a list without an end.
const CONFIGS_MAX: usize = 10_000;

/// # Safety
/// `text` is NULL or ends with NUL, and stays while it is used.
pub(crate) unsafe fn text<'a>(text: *const c_char, what: &str) -> Result<&'a str, Error> {
    if text.is_null() {
        return Err(Error::invalid(format!("{what} is NULL")));
    }
    // SAFETY: as of this function.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| Error::invalid(format!("{what} is not UTF-8: {}", text.to_string_lossy())))
}

/// # Safety
/// As of [`text`].
pub(crate) unsafe fn text_or(given: *const c_char, otherwise: &str) -> Result<&str, Error> {
    if given.is_null() {
        return Ok(otherwise);
    }
    // SAFETY: as of this function.
    unsafe { text(given, "an argument") }
}

/// # Safety
/// `bytes` is NULL or points to `length` bytes that stay while they are used.
pub(crate) unsafe fn bytes<'a>(bytes: *const u8, length: usize) -> Option<&'a [u8]> {
    // SAFETY: as of this function; a slice of length 0 is fine behind any pointer but NULL.
    (!bytes.is_null()).then(|| unsafe { std::slice::from_raw_parts(bytes, length) })
}

/// # Safety
/// `list` is NULL, or points to `count` values that stay while they are used.
pub(crate) unsafe fn list<'a, T>(list: *const T, count: usize, what: &str) -> Result<&'a [T], Error> {
    if count == 0 {
        return Ok(&[]);
    }
    if list.is_null() {
        return Err(Error::invalid(format!("{what} is NULL, and there are {count} of them")));
    }
    // SAFETY: as of this function.
    Ok(unsafe { std::slice::from_raw_parts(list, count) })
}

/// Names and values, ended by NULL.
///
/// # Safety
/// `configs` is NULL or such a list.
pub(crate) unsafe fn configs(configs: *const *const c_char) -> Result<BTreeMap<String, String>, Error> {
    let mut all = BTreeMap::new();
    if configs.is_null() {
        return Ok(all);
    }
    for pair in 0..CONFIGS_MAX {
        // SAFETY: the list goes on until a name is NULL; each name has a value behind it, which may be the NULL of a list
        // that ends too early.
        let (name, value) = unsafe {
            let name = *configs.add(2 * pair);
            if name.is_null() {
                return Ok(all);
            }
            (text(name, "a config's name")?, *configs.add(2 * pair + 1))
        };
        // SAFETY: it ends with NUL if it is not NULL.
        let value = unsafe { text(value, &format!("the value of {name}")) }?;
        all.insert(name.to_owned(), value.to_owned());
    }
    Err(Error::invalid("the list of configs has no NULL at its end"))
}

/// # Safety
/// `to` is NULL or a place for a value.
pub(crate) unsafe fn put<T>(to: *mut T, value: T, what: &str) -> Result<(), Error> {
    if to.is_null() {
        return Err(Error::invalid(format!("the place for {what} is NULL")));
    }
    // SAFETY: as of this function; what was there is not read.
    unsafe { to.write(value) };
    Ok(())
}

/// # Safety
/// `to` is NULL, when the text is not wanted, or a place for a pointer.
pub(crate) unsafe fn put_text(to: *mut *mut c_char, text: String) -> Result<(), Error> {
    if !to.is_null() {
        let text = CString::new(text).map_err(|_| Error::invalid("the answer has a NUL in it"))?;
        // SAFETY: as of this function.
        unsafe { to.write(text.into_raw()) };
    }
    Ok(())
}
