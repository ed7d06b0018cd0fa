//! The queues there are, by number and by the names of their domains.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::ops::Bound;

use hashbrown::HashTable;

use super::queue::Queue;
use super::table::Table;
use crate::Domain;

/// The queues.
#[derive(Debug)]
pub struct Queues {
    by_number: Table<Option<Queue>>,
    by_name: Names,
}

#[derive(Debug)]
enum Names {
    /// While the log is replayed: each record asks for a name, and nobody for the next.
    Hashed(HashTable<u32>, RandomState),
    Sorted(BTreeMap<Domain, u32>),
}

impl Queues {
    /// None yet, and the log is to be replayed.
    pub fn new() -> Self {
        let by_name = Names::Hashed(HashTable::new(), RandomState::new());
        Self { by_number: Table::default(), by_name }
    }

    /// The log was replayed.
    pub fn end_replay(&mut self) {
        let queues = self.numbers().filter_map(|number| {
            self.by_number[number].as_ref().map(|queue| (queue.name.clone(), number))
        });
        self.by_name = Names::Sorted(queues.collect());
    }

    /// The numbers that queues have, or had.
    pub fn numbers(&self) -> impl Iterator<Item = u32> + use<> {
        self.by_number.numbers()
    }

    /// The queue of this number, unless it was removed.
    pub fn get_mut(&mut self, number: u32) -> Option<&mut Queue> {
        self.by_number[number].as_mut()
    }

    /// The number of the queue of a domain.
    pub fn find(&self, name: &str) -> Option<u32> {
        match &self.by_name {
            Names::Hashed(names, hasher) => {
                let is_it = |&number: &u32| self[number].name.as_str() == name;
                names.find(hasher.hash_one(name), is_it).copied()
            }
            Names::Sorted(names) => names.get(name).copied(),
        }
    }

    /// The number of the queue of a domain, which is made when there is none.
    pub fn find_or_add(&mut self, name: &str) -> u32 {
        if let Some(number) = self.find(name) {
            return number;
        }
        let domain = Domain::new(name);
        let number = self.by_number.add(Some(Queue::new(domain.clone())));
        let Self { by_number, by_name } = self;
        match by_name {
            Names::Hashed(names, hasher) => {
                let hash_of = |&number: &u32| {
                    let queue = by_number[number].as_ref().expect("it was hashed with its name");
                    hasher.hash_one(queue.name.as_str())
                };
                names.insert_unique(hasher.hash_one(name), number, hash_of);
            }
            Names::Sorted(names) => drop(names.insert(domain, number)),
        }
        number
    }

    /// Removes a queue.
    pub fn remove(&mut self, number: u32) {
        let queue = self.by_number[number].take().expect("what has its number keeps it");
        self.by_number.remove(number);
        match &mut self.by_name {
            Names::Hashed(names, hasher) => {
                let hash = hasher.hash_one(queue.name.as_str());
                if let Ok(found) = names.find_entry(hash, |&known| known == number) {
                    found.remove();
                }
            }
            Names::Sorted(names) => drop(names.remove(&queue.name)),
        }
    }

    /// The queues from a name on, in the order of the names; none while the log is replayed.
    pub fn range(&self, from: Bound<&Domain>) -> impl Iterator<Item = &Queue> {
        let names = match &self.by_name {
            Names::Hashed(..) => None,
            Names::Sorted(names) => Some(names.range::<Domain, _>((from, Bound::Unbounded))),
        };
        names.into_iter().flatten().map(|(_, &number)| &self[number])
    }
}

impl std::ops::Index<u32> for Queues {
    type Output = Queue;

    fn index(&self, number: u32) -> &Queue {
        self.by_number[number].as_ref().expect("what has its number keeps it")
    }
}
