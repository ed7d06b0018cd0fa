//! The password that a holder, or the smarthost, knows us by.

use std::path::Path;

use super::file;

/// Octets of a password at most: it goes through a line of 512 octets in base64.
const LENGTH_MAX: usize = 255;

/// The first line of `file`, which nobody else may read.
///
/// # Errors
/// What is wrong with the file, and what to do.
pub fn read(file: &Path) -> Result<String, String> {
    let wrong = |why: &str| format!("password_file {}: {why}", file.display());
    let text = file::read_private_text(file).map_err(|error| wrong(&error.to_string()))?;
    let password = text.lines().next().unwrap_or_default();
    match password.len() {
        0 => Err(wrong("its first line is empty: that is where the password stands")),
        1..=LENGTH_MAX if !password.chars().any(char::is_control) => Ok(password.to_owned()),
        1..=LENGTH_MAX => Err(wrong("a password has no control characters")),
        _ => Err(wrong(&format!("a password has at most {LENGTH_MAX} octets"))),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_one_line_of_a_file_of_our_own() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("password");
        let at = format!("password_file {}: ", file.display());
        let long = "x".repeat(256);
        for (text, expected) in [
            (&b"s3cret pass\n"[..], Ok("s3cret pass")),
            (b"s3cret\r\nof ann\n", Ok("s3cret")),
            (b" \xc3\xa4", Ok(" ä")),
            // As Windows' editor writes it.
            (b"\xef\xbb\xbfs3cret\r\n", Ok("s3cret")),
            (
                b"\xef\xbb\xbf\r\n",
                Err("its first line is empty: that is where the password stands"),
            ),
            (b"\nx", Err("its first line is empty: that is where the password stands")),
            (b"", Err("its first line is empty: that is where the password stands")),
            (b"a\0b", Err("a password has no control characters")),
            (b"\xff", Err("is not text in UTF-8")),
            (long.as_bytes(), Err("a password has at most 255 octets")),
        ] {
            fs::write(&file, text).expect("a file");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it is ours");
            let expected = expected.map(str::to_owned).map_err(|why| format!("{at}{why}"));
            assert_eq!(read(&file), expected);
        }
        for mode in [0o640, 0o604, 0o620, 0o666] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("it is ours");
            let why = format!("{at}others may use it (mode {mode:04o}): chmod 0600 it");
            assert_eq!(read(&file), Err(why));
        }
        assert_eq!(read(folder.path()), {
            let folder = folder.path().display();
            Err(format!("password_file {folder}: is not a regular file"))
        });
        fs::remove_file(&file).expect("it is ours");
        assert!(read(&file).is_err_and(|why| why.starts_with(&format!("{at}No such file"))));
    }
}
