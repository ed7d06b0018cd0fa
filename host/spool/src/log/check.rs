//! Checking a spool down to the last byte, without changing it, even beside a running server and
//! on a file system that cannot be written.

use std::io;
use std::path::Path;

use super::disk::Disk;
use super::folder::Folder;
use super::reader::replay;
use super::report::{Finding, Report};

/// Reads the whole spool in the folder `path` and reports what a start would find, every record
/// and every body that is not what was written. Beside a running server what is not finished is
/// no finding, what is damaged or missing is one if it is found twice, and what an older version
/// wrote is one at once.
pub fn check(path: &Path) -> io::Result<Report> {
    let disk = Folder::read_only(path)?;
    let was_in_use = disk.is_in_use()?;
    let mut report = replay(&disk, true)?.report;
    if !was_in_use && !disk.is_in_use()? {
        return Ok(report);
    }
    let is_lasting = |finding: &Finding| {
        matches!(finding, Finding::Damaged(_) | Finding::Missing { .. } | Finding::Old { .. })
    };
    report.findings.retain(is_lasting);
    // Of those of an older version there may be fewer meanwhile.
    let is_old = |finding: &Finding| matches!(finding, Finding::Old { .. });
    if !report.findings.iter().all(is_old) {
        let second = replay(&disk, true)?.report.findings;
        report.findings.retain(|finding| is_old(finding) || second.contains(finding));
    }
    Ok(report)
}

/// As [`check`], on a disk that nobody uses.
pub fn check_on<D: Disk>(disk: &D) -> io::Result<Report> {
    Ok(replay(disk, true)?.report)
}
