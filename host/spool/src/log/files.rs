//! The segments' files, opened when they are read: however many segments there are, few
//! descriptors are held.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use super::disk::{Disk, Trouble};
use super::segment::segment_name;

/// Files that stay open.
const OPEN: usize = 64;

/// The open files, those used last at the end.
#[derive(Debug)]
pub struct Files<F>(Mutex<Vec<(u32, Arc<F>)>>);

impl<F> Default for Files<F> {
    fn default() -> Self {
        Self(Mutex::new(Vec::with_capacity(OPEN)))
    }
}

impl<F> Files<F> {
    fn open(&self) -> MutexGuard<'_, Vec<(u32, Arc<F>)>> {
        self.0.lock().expect("no holder panics")
    }

    /// The file of segment `number`. Short of descriptors, the others are closed for it.
    pub fn get<D: Disk<File = F>>(&self, disk: &D, number: u32) -> io::Result<Arc<F>> {
        let mut open = self.open();
        if let Some(at) = open.iter().position(|(known, _)| *known == number) {
            let used = open.remove(at);
            open.push(used);
        } else {
            let name = segment_name(number);
            let file = match disk.open(&name) {
                Err(error) if Trouble::of(&error) == Trouble::Busy => {
                    open.clear();
                    disk.open(&name)?
                }
                opened => opened?,
            };
            insert(&mut open, number, Arc::new(file));
        }
        Ok(open.last().expect("it was just put there").1.clone())
    }

    /// Holds a file that is open already.
    pub fn insert(&self, number: u32, file: Arc<F>) {
        insert(&mut self.open(), number, file);
    }

    /// Closes the file of a segment that was removed, so that its bytes become free.
    pub fn forget(&self, number: u32) {
        self.open().retain(|(known, _)| *known != number);
    }
}

fn insert<F>(open: &mut Vec<(u32, Arc<F>)>, number: u32, file: Arc<F>) {
    if open.len() >= OPEN {
        open.remove(0);
    }
    open.push((number, file));
}
