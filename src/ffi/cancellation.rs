//! `pthread_cancel` of a thread in a call waits until the call returns: it would unwind through code that
//! cannot be unwound so, and leave locks held.

/// This thread is not cancelled, until dropped.
pub(super) struct NotCancelled(State);

#[cfg(target_os = "linux")]
type State = std::ffi::c_int;

#[cfg(target_os = "linux")]
unsafe extern "C" {
    safe fn pthread_setcancelstate(state: State, before: &mut State) -> State;
}

#[cfg(target_os = "linux")]
impl NotCancelled {
    pub fn begin() -> Self {
        const PTHREAD_CANCEL_DISABLE: State = 1;
        let mut before = 0;
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &mut before);
        NotCancelled(before)
    }
}

#[cfg(target_os = "linux")]
impl Drop for NotCancelled {
    fn drop(&mut self) {
        pthread_setcancelstate(self.0, &mut 0);
    }
}

#[cfg(not(target_os = "linux"))]
type State = ();

#[cfg(not(target_os = "linux"))]
impl NotCancelled {
    pub fn begin() -> Self {
        NotCancelled(())
    }
}
