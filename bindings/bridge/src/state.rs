//! What the process has: the table of handles and the runtime, one of each per process id.
//!
//! A fork copies memory but no threads, so that a child that used its parent's runtime or took one of its locks would hang.
//! A child therefore finds a state of its own here; a handle says which state it is of, and one of the parent's is refused
//! with a sentence. What the parent had is never dropped in the child.

use crate::error::{Error, Kind};
use crate::ops::Object;
use crate::runtime::Runtime;
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock, Weak};

/// A process that is the child of a child … of the one that loaded the library, so many times over, is refused.
const STATES: usize = 32;
const INDEX_BITS: u32 = 24;
const GENERATION_BITS: u32 = 24;

static ALL: [OnceLock<State>; STATES] = [const { OnceLock::new() }; STATES];

/// Names an object. Below 2^53, so that it is exact in a double; never 0, and never used again after the object is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle(pub u64);

impl Handle {
    fn new(state: usize, generation: u32, index: usize) -> Handle {
        let high = (state as u64) << (GENERATION_BITS + INDEX_BITS);
        Handle(high | u64::from(generation) << INDEX_BITS | index as u64)
    }

    fn parts(self) -> (usize, u32, usize) {
        let generation = (self.0 >> INDEX_BITS) & ((1 << GENERATION_BITS) - 1);
        let index = self.0 & ((1 << INDEX_BITS) - 1);
        ((self.0 >> (GENERATION_BITS + INDEX_BITS)) as usize, generation as u32, index as usize)
    }
}

#[derive(Debug)]
pub(crate) struct State {
    number: usize,
    pub(crate) pid: u32,
    slots: Mutex<Slots>,
    runtime: Mutex<Weak<Runtime>>,
}

#[derive(Debug, Default)]
struct Slots {
    all: Vec<Slot>,
    free: Vec<usize>,
}

#[derive(Debug)]
struct Slot {
    /// Of the object that is in it or will be next; from 1 on.
    generation: u32,
    object: Option<Object>,
}

/// This process's state.
pub(crate) fn state() -> Result<&'static State, Error> {
    let pid = std::process::id();
    for (number, cell) in ALL.iter().enumerate() {
        let state = cell.get_or_init(|| State { number, pid, slots: Mutex::default(), runtime: Mutex::default() });
        if state.pid == pid {
            return Ok(state);
        }
    }
    Err(Error::new(Kind::Forked, format!("processes were forked from one another more than {STATES} deep")))
}

impl State {
    /// The runtime of this process, started if nothing runs on one.
    pub(crate) fn runtime(&self) -> Result<Arc<Runtime>, Error> {
        let mut shared = self.runtime.lock();
        if let Some(runtime) = shared.upgrade() {
            return Ok(runtime);
        }
        let runtime = Arc::new(Runtime::start(self.pid)?);
        *shared = Arc::downgrade(&runtime);
        Ok(runtime)
    }

    /// Puts an object into the table; `make` is told its handle.
    pub(crate) fn insert(&self, make: impl FnOnce(Handle) -> Object) -> Result<Handle, Error> {
        let mut slots = self.slots.lock();
        let index = match slots.free.pop() {
            Some(index) => index,
            None if slots.all.len() >> INDEX_BITS != 0 => {
                return Err(Error::new(Kind::Internal, "more objects are open than handles can name; close some"));
            }
            None => {
                slots.all.push(Slot { generation: 1, object: None });
                slots.all.len() - 1
            }
        };
        let handle = Handle::new(self.number, slots.all[index].generation, index);
        slots.all[index].object = Some(make(handle));
        Ok(handle)
    }

    /// Takes an object out; its handle names nothing from now on.
    fn remove(&self, handle: Handle) -> Option<Object> {
        let (_, generation, index) = handle.parts();
        let mut slots = self.slots.lock();
        let slot = slots.all.get_mut(index).filter(|slot| slot.generation == generation)?;
        let object = slot.object.take()?;
        // A slot whose generations are used up is left empty rather than begun again.
        if slot.generation + 1 < 1 << GENERATION_BITS {
            slot.generation += 1;
            slots.free.push(index);
        }
        Some(object)
    }

    /// The objects that `wanted` is true of, taken out.
    fn remove_all(&self, wanted: impl Fn(&Object) -> bool) -> Vec<Object> {
        let found: Vec<Handle> = {
            let slots = self.slots.lock();
            let all = slots.all.iter().enumerate();
            all.filter(|(_, slot)| slot.object.as_ref().is_some_and(&wanted))
                .map(|(index, slot)| Handle::new(self.number, slot.generation, index))
                .collect()
        };
        found.into_iter().filter_map(|handle| self.remove(handle)).collect()
    }
}

/// The object, and the state it is in.
pub(crate) fn find(handle: Handle) -> Result<Object, Error> {
    let state = state()?;
    let (number, generation, index) = handle.parts();
    if number != state.number {
        return Err(foreign(number));
    }
    let slots = state.slots.lock();
    let slot = slots.all.get(index).filter(|slot| slot.generation == generation);
    slot.and_then(|slot| slot.object.clone()).ok_or_else(Error::closed)
}

/// Takes the object out of the table; those that hang on it too. Closing what is closed is no error.
pub(crate) fn take(handle: Handle) -> Result<Vec<Object>, Error> {
    let state = state()?;
    let (number, ..) = handle.parts();
    if number != state.number {
        return Err(foreign(number));
    }
    let mut taken: Vec<Object> = state.remove(handle).into_iter().collect();
    if let Some(Object::Queue(queue)) = taken.first() {
        let queue = queue.clone();
        taken.extend(state.remove_all(|object| object.queue().is_some_and(|of| Arc::ptr_eq(of, &queue))));
    }
    Ok(taken)
}

fn foreign(number: usize) -> Error {
    let made_in = ALL.get(number).and_then(OnceLock::get);
    match made_in {
        Some(state) => Error::new(
            Kind::Forked,
            format!(
                "this client or broker was made in process {}, and its threads stayed there when this process was forked from it; \
                 make it anew after the fork",
                state.pid
            ),
        ),
        None => Error::closed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Queue;

    #[test]
    fn a_handle_is_not_given_twice_and_names_nothing_after_it_was_taken() {
        let state = state().expect("the first process");
        let make =
            || state.insert(|handle| Object::Queue(Queue::new(handle).expect("a queue"))).expect("there is room");
        let first = make();
        assert!(find(first).is_ok());
        assert_eq!(take(first).expect("this process").len(), 1);
        assert_eq!(find(first).expect_err("taken").kind, Kind::Closed);
        assert!(take(first).expect("this process").is_empty());
        let second = make();
        assert_ne!(first, second);
        assert!(first.0 != 0 && second.0 < 1 << 53);
        assert_eq!(find(first).expect_err("taken").kind, Kind::Closed);
        take(second).expect("this process");
    }

    #[test]
    fn a_handle_of_another_process_is_refused_with_a_sentence() {
        let state = state().expect("the first process");
        let (_, generation, index) =
            state.insert(|handle| Object::Queue(Queue::new(handle).expect("a queue"))).expect("there is room").parts();
        let number = (state.number + 1) % STATES;
        ALL[number].get_or_init(|| State { number, pid: 1, slots: Mutex::default(), runtime: Mutex::default() });
        let error = find(Handle::new(number, generation, index)).expect_err("of process 1");
        assert_eq!(error.kind, Kind::Forked);
        assert!(error.message.contains("process 1") && error.message.contains("fork"), "{error}");
    }

    #[test]
    fn any_number_is_taken_for_a_handle_without_harm() {
        for number in [0, 1, u64::MAX, 1 << 63, 1 << 52, (1 << 24) - 1, 7 << 48] {
            assert!(find(Handle(number)).is_err());
            assert!(take(Handle(number)).map_or(true, |taken| taken.is_empty()));
        }
    }
}
