//! The whole configuration file, with its manual, made from the declarations.

use super::Config;
use super::settings::{Key, Outline, Setting, Shown};

/// The configuration file with every key, its purpose and its default. A key without a default, and
/// the example of a hold, are comments: `#key = …`.
pub fn default_file() -> String {
    let root = Config::OUTLINE.expect("the configuration is a section");
    let mut file = String::new();
    comment(&mut file, root.about);
    write_keys(&mut file, root, "");
    file
}

fn write_keys(file: &mut String, outline: &Outline, mark: &str) {
    for key in outline.keys {
        file.push('\n');
        comment(file, key.about);
        write_key(file, key, mark);
    }
}

fn write_key(file: &mut String, key: &Key, mark: &str) {
    let line = match key.shown {
        Shown::Default(text) => format!("{mark}{} = {text}\n", key.name),
        Shown::Example(text) if key.outline.is_none() => format!("#{} = {text}\n", key.name),
        Shown::Example(header) => format!("#{header}\n"),
        Shown::Section(header) => format!("{header}\n"),
    };
    file.push_str(&line);
    if let Some(section) = key.outline {
        let mark = if matches!(key.shown, Shown::Section(_)) { mark } else { "#" };
        write_keys(file, section, mark);
    }
}

fn comment(file: &mut String, lines: &[&str]) {
    for line in lines {
        file.push('#');
        file.push_str(line);
        file.push('\n');
    }
}
