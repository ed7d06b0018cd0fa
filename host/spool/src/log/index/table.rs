//! Values by number, in chunks: a vector that doubled would need three times its memory for as long
//! as it is copied, and keep the index locked meanwhile.

/// Values that are allocated at once.
const CHUNK: usize = 1_024;

/// Values by number. The numbers of those that were removed are given again.
#[derive(Debug)]
pub struct Table<T> {
    values: Chunks<T>,
    free: Chunks<u32>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { values: Chunks(Vec::new()), free: Chunks(Vec::new()) }
    }
}

impl<T> std::ops::Index<u32> for Table<T> {
    type Output = T;

    fn index(&self, number: u32) -> &T {
        &self.values.0[number as usize / CHUNK][number as usize % CHUNK]
    }
}

impl<T> std::ops::IndexMut<u32> for Table<T> {
    fn index_mut(&mut self, number: u32) -> &mut T {
        &mut self.values.0[number as usize / CHUNK][number as usize % CHUNK]
    }
}

impl<T> Table<T> {
    /// Adds a value; its number.
    pub fn add(&mut self, value: T) -> u32 {
        if let Some(number) = self.free.pop() {
            self[number] = value;
            return number;
        }
        self.values.push(value);
        u32::try_from(self.values.len() - 1).expect("4 billion values do not fit in memory")
    }

    /// Gives a number free. What stands there is nobody's until another has the number.
    pub fn remove(&mut self, number: u32) {
        self.free.push(number);
    }

    /// All numbers that were ever given.
    pub fn numbers(&self) -> std::ops::Range<u32> {
        0..self.values.len() as u32
    }
}

#[derive(Debug)]
struct Chunks<T>(Vec<Vec<T>>);

impl<T> Chunks<T> {
    /// Values in it.
    fn len(&self) -> usize {
        self.0.last().map_or(0, |last| (self.0.len() - 1) * CHUNK + last.len())
    }

    fn push(&mut self, value: T) {
        if self.0.last().is_none_or(|last| last.len() == CHUNK) {
            self.0.push(Vec::with_capacity(CHUNK));
        }
        self.0.last_mut().expect("it was just pushed").push(value);
    }

    fn pop(&mut self) -> Option<T> {
        let last = self.0.last_mut()?;
        let value = last.pop();
        if last.is_empty() {
            self.0.pop();
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_given_again_and_values_stay_where_they_are() {
        let mut table = Table::default();
        let count = 3 * CHUNK as u32 + 7;
        (0..count).for_each(|value| assert_eq!(table.add(value), value));
        (0..count).step_by(2).for_each(|number| table.remove(number));
        let mut given: Vec<_> = (0..count).step_by(2).map(|_| table.add(u32::MAX)).collect();
        given.sort_unstable();
        assert!(given.into_iter().eq((0..count).step_by(2)));
        (1..count).step_by(2).for_each(|number| assert_eq!(table[number], number));
        assert_eq!((table.add(0), table.numbers()), (count, 0..count + 1));
    }
}
