//! The line that a byte of a file stands in.

/// Where each line of a text begins.
#[derive(Debug)]
pub(super) struct Lines(Vec<usize>);

impl Lines {
    /// Those of `text`, which is read once.
    pub(super) fn of(text: &str) -> Self {
        #[cfg(test)]
        tests::READ.with(|read| read.set(read.get() + text.len()));
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self(ends.map(|(end, _)| end + 1).collect())
    }

    /// The line, counted from 1, that the byte `offset` stands in.
    pub(super) fn line(&self, offset: usize) -> usize {
        1 + self.0.partition_point(|start| *start <= offset)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::path::Path;

    use super::super::Config;
    use super::*;

    thread_local! {
        /// Bytes that were searched for line ends.
        pub(super) static READ: Cell<usize> = const { Cell::new(0) };
    }

    #[test]
    fn a_byte_is_in_the_line_that_began_before_it() {
        let lines = Lines::of("ab\n\nc");
        assert_eq!([0, 2, 3, 4, 5].map(|offset| lines.line(offset)), [1, 1, 2, 3, 3]);
        assert_eq!(Lines::of("").line(0), 1);
    }

    fn domains(count: usize, keys: &str) -> String {
        (0..count).map(|n| format!("[hold.\"d{n}.example\"]\n{keys}\n")).collect()
    }

    #[test]
    fn a_file_is_searched_for_line_ends_once_whatever_it_has() {
        let sound = domains(500, "recipients = [\"info\"]\ndeliver_to = \"h.example:25\"");
        let wrong = domains(500, "recipients = 1\nchanels = 2");
        for (source, problems) in [(sound, 0), (wrong, 1500)] {
            READ.with(|read| read.set(0));
            let found = Config::parse(Path::new("postern.toml"), &source).err();
            assert_eq!(found.map_or(0, |found| found.len()), problems);
            // The texts of the defaults are TOML too, of some bytes each.
            let defaults = 500 * 100;
            let read = READ.with(Cell::get);
            assert!(read <= source.len() + defaults, "{read} for {}", source.len());
        }
    }
}
