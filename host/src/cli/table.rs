//! Text for people.

use crate::escape::is_plain;

/// The rows, the first of them the heads, with their columns aligned.
pub(super) fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<_> = (0..COLUMNS).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A number of bytes, to two digits: `1.5 MiB`.
pub(super) fn size(octets: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units.iter().find(|(shift, _)| octets >= 1 << shift);
    unit.map_or_else(
        || format!("{octets} B"),
        |(shift, unit)| {
            let tenths = (u128::from(octets) * 10) >> shift;
            if tenths < 100 {
                format!("{}.{} {unit}", tenths / 10, tenths % 10)
            } else {
                format!("{} {unit}", tenths / 10)
            }
        },
    )
}

/// A time span in its largest unit: `3h`.
pub(super) fn span(seconds: u64) -> String {
    let units = [(86_400, "d"), (3600, "h"), (60, "m")];
    let unit = units.iter().find(|(length, _)| seconds >= *length);
    unit.map_or_else(
        || format!("{seconds}s"),
        |(length, unit)| format!("{}{unit}", seconds / length),
    )
}

/// The first of `count` paths and how many there are behind it, safe for a terminal.
pub(super) fn paths(first: &str, count: usize) -> String {
    let first = foreign(first);
    match count.saturating_sub(1) {
        0 => first,
        others => format!("{first} and {others} more"),
    }
}

/// The begin of `text`, in `columns` at most.
pub(super) fn begin(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let begin = text.chars().take(columns - 1);
    begin.chain(['…']).collect()
}

/// What others sent, safe for a terminal and in one cell of a table.
pub(super) fn foreign(text: &str) -> String {
    text.chars().map(|c| if is_plain(c) { c } else { '\u{fffd}' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_without_spaces_at_the_end() {
        let row = |a: &str, b: &str| [a.to_owned(), b.to_owned()];
        let rows = [row("ID", "DOMAIN"), row("12345", "x"), row("1", "")];
        assert_eq!(table(&rows), "ID     DOMAIN\n12345  x\n1\n");
    }

    #[test]
    fn sizes_and_spans_are_short() {
        let sizes = [0, 1023, 1024, 1536, 10 << 10, 50 << 20, u64::MAX].map(size);
        let expected = ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "10 KiB", "50 MiB", "16777215 TiB"];
        assert_eq!(sizes, expected);
        assert_eq!([59, 60, 7199, 86_400, 864_000].map(span), ["59s", "1m", "1h", "1d", "10d"]);
    }

    #[test]
    fn of_many_paths_the_first_is_shown() {
        for (first, count, shown) in [("", 0, ""), ("a@b", 1, "a@b"), ("a@b", 3, "a@b and 2 more")]
        {
            assert_eq!(paths(first, count), shown);
        }
    }

    #[test]
    fn a_long_text_is_shown_by_its_begin() {
        assert_eq!(begin("äbc", 3), "äbc");
        assert_eq!(begin("äbcd", 3), "äb…");
    }

    #[test]
    fn what_others_sent_cannot_drive_the_terminal() {
        assert_eq!(foreign("ann\u{1b}[2J@é\u{202e}.example"), "ann\u{fffd}[2J@é\u{fffd}.example");
    }
}
