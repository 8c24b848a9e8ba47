//! `user_data`: what callbacks are called with.

use std::ffi::c_void;

/// Called with the `user_data` of a callback once nothing calls it with that any more, exactly once: when
/// another callback took its place, or its handle was closed, before that call returns if no callback is
/// at work then, else after the last one; also when the function that was given both fails. It may come
/// from any thread. In a child of fork, where closing does nothing, it is not called.
///
/// It may call every function but those of the handle that it belonged to. No C++ exception may leave it.
///
/// @param user the `user_data`
pub type fes_on_destroy = Option<unsafe extern "C" fn(user: *mut c_void)>;

/// The `user` pointer of a callback, which is destroyed when this is dropped. The caller promises that it
/// may be used by another thread.
pub(super) struct UserData {
    user: *mut c_void,
    destroy: fes_on_destroy,
}

unsafe impl Send for UserData {}
unsafe impl Sync for UserData {}

impl UserData {
    pub fn new(user: *mut c_void, destroy: fes_on_destroy) -> Self {
        UserData { user, destroy }
    }

    pub fn get(&self) -> *mut c_void {
        self.user
    }
}

impl Drop for UserData {
    fn drop(&mut self) {
        if let Some(destroy) = self.destroy {
            unsafe { destroy(self.user) };
        }
    }
}
