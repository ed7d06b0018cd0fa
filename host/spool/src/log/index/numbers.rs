//! Counts of items.

/// How many items there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Those of which a recipient waits, the claimed included.
    pub waiting: u32,
    /// Those that a turn has claimed.
    pub claimed: u32,
    /// Those of which no recipient waits, or that cannot be read.
    pub kept: u32,
    /// Those that a person holds back.
    pub held: u32,
    /// Those that cannot be read.
    pub damaged: u32,
    /// Bytes of their bodies.
    pub body_bytes: u64,
}

impl Numbers {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.waiting == 0 && self.kept == 0
    }

    /// The sum of both.
    pub fn add(&mut self, other: Self) {
        self.waiting += other.waiting;
        self.claimed += other.claimed;
        self.kept += other.kept;
        self.held += other.held;
        self.damaged += other.damaged;
        self.body_bytes += other.body_bytes;
    }

    /// The difference.
    pub fn subtract(&mut self, other: Self) {
        self.waiting -= other.waiting;
        self.claimed -= other.claimed;
        self.kept -= other.kept;
        self.held -= other.held;
        self.damaged -= other.damaged;
        self.body_bytes -= other.body_bytes;
    }
}
