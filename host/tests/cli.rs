//! The `postern` command as a person and a script meet it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

const SOUND: &str = r#"
hostname = "mx2.provider.example"
[hold."client.example"]
recipients = ["info"]
deliver_to = "mail.client.example:25"
etrn_from = ["2001:db8::/48"]
"#;

fn postern(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_postern"))
        .arg("--config")
        .arg(folder.join("postern.toml"))
        .args(arguments)
        .env_remove("POSTERN_LOG")
        .output()
        .expect("the command starts")
}

/// Its exit code, standard output and standard error.
fn run(configuration: &str, arguments: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("postern.toml"), configuration).expect("a file");
    let output = postern(folder.path(), arguments);
    let place = format!("{}/", folder.path().display());
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8").replace(&place, "");
    (output.status.code().expect("an exit code"), text(output.stdout), text(output.stderr))
}

#[test]
fn a_sound_configuration_passes_the_check() {
    let (code, out, err) = run(SOUND, &["check"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(out, "postern.toml: no errors, 1 domain(s) held\n");
    let (code, out, _) = run(SOUND, &["check", "--json"]);
    assert_eq!((code, out.as_str()), (0, "{\"errors\":[],\"warnings\":[]}\n"));
}

#[test]
fn what_hurts_is_said_and_is_no_error() {
    let careless = SOUND.replace("[\"info\"]", "\"any\"");
    let (code, out, _) = run(&careless, &["check"]);
    assert_eq!(code, 0);
    let expected = "warning: postern.toml: hold.\"client.example\".recipients: is \"any\": spam";
    assert!(out.starts_with(expected), "{out}");
}

#[test]
fn a_maildir_is_looked_at_before_mail_waits_for_it() {
    let mail = tempfile::tempdir().expect("a folder");
    let path = mail.path().display().to_string();
    let source = SOUND.replace("mail.client.example:25", &format!("maildir:{path}"));
    let (code, out, _) = run(&source, &["check"]);
    let expected = format!(
        "warning: postern.toml: hold.\"client.example\".deliver_to: mail would wait: opening \
         {path}/tmp: No such file or directory (os error 2)\n"
    );
    assert!(code == 0 && out.starts_with(&expected), "{out}");
    let each = source.replace(&path, &format!("{path}/{{user}}"));
    for sub in ["tmp", "new", "cur"] {
        fs::create_dir(mail.path().join(sub)).expect("a folder");
    }
    for source in [source, each] {
        let (_, out, _) = run(&source, &["check"]);
        assert_eq!(out, "postern.toml: no errors, 1 domain(s) held\n");
    }
}

#[test]
fn the_accounts_are_looked_at_where_anybody_may_log_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("accounts");
    let source = SOUND.replace("[\"2001:db8::/48\"]", "[\"authenticated\"]");
    let source = format!("{source}[receive]\ntls = \"self-signed\"\n[accounts]\nfile = {file:?}\n");
    let warned = || {
        let (code, out, _) = run(&source, &["check"]);
        assert_eq!(code, 0);
        let mut lines: Vec<_> = out.lines().map(str::to_owned).collect();
        assert!(lines.pop().is_some_and(|line| line.ends_with("1 domain(s) held")), "{out}");
        let said = "warning: postern.toml: accounts.file: ";
        let warnings =
            lines.iter().map(|line| line.strip_prefix(said).expect("of that").to_owned());
        warnings.collect::<Vec<_>>().join("\n")
    };
    let none = "is not there: nobody can authenticate before postern account add";
    assert_eq!(warned(), none);
    let keys = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
        WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
        wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
    let accounts =
        format!("postern accounts 1\nann client.example,elsewhere.example {keys}\nend\n");
    fs::write(&file, &accounts).expect("a file");
    fs::set_permissions(&file, Permissions::from_mode(0o640)).expect("it is ours");
    let open = "others may use it (mode 0640), and so guess passwords or log in: chmod 0600 it";
    assert_eq!(warned(), format!("{open}\nann has elsewhere.example, which is not held"));
    fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("it is ours");
    fs::write(&file, accounts.replace(",elsewhere.example", "")).expect("it is ours");
    assert_eq!(warned(), "");
    fs::write(&file, accounts.replace("end\n", "")).expect("it is ours");
    let torn = "nobody can authenticate: its last line is not \"end\": it is not whole";
    assert_eq!(warned(), torn);
    let submits = source.replace("etrn_from = [\"authenticated\"]\n", "");
    for (place, is_told) in [("listen", true), ("listen_tls", true), ("trusted", false)] {
        let place = match place {
            "trusted" => "trusted = [\"10.7.7.0/24\"]".to_owned(),
            place => format!("{place} = [\"127.0.0.1:0\"]"),
        };
        let (_, out, _) = run(&format!("{submits}[submission]\n{place}\n"), &["check"]);
        assert_eq!(out.contains(torn), is_told, "{place}: {out}");
    }
}

#[test]
fn every_error_is_said_once_and_the_exit_code_is_2() {
    let wrong = SOUND.replace("hostname", "hostnam").replace("[\"info\"]", "\"all\"");
    let expected = "postern.toml:2: hostnam: unknown key; did you mean \"hostname\"?\n\
        postern.toml:4: hold.\"client.example\".recipients: expected a list of addresses or \
        local parts such as [\"info\", \"sales\"], the absolute path of a file with one a line, \
        \"ask\", \"import\", \"any\" or a table with urls, found \"all\"\n";
    for arguments in [["check"].as_slice(), &["serve"], &["spool", "check"]] {
        let (code, out, err) = run(&wrong, arguments);
        assert_eq!((code, out.as_str(), err.as_str()), (2, "", expected), "{arguments:?}");
    }
    let (code, out, err) = run(&wrong, &["check", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, err.as_str()), (2, ""));
    assert_eq!(answer["errors"][1]["line"], 4);
    assert_eq!(answer["errors"][1]["key"], "hold.\"client.example\".recipients");
}

#[test]
fn a_question_to_a_server_needs_its_socket_only() {
    let wrong = "recipients = 7\n[control]\nlisten = \"/nonexistent/c\"\nhostnam = 1\n";
    for arguments in [["queue", "list"].as_slice(), &["health"]] {
        let (code, _, err) = run(&wrong.replace("hostnam = 1\n", ""), arguments);
        assert_eq!(code, 1, "{arguments:?}");
        assert!(err.starts_with("postern: no server answers at /nonexistent/c: "), "{err}");
        let (code, _, err) = run(wrong, arguments);
        let expected = "postern.toml:4: control.hostnam: unknown key; known are listen\n";
        assert_eq!((code, err.as_str()), (2, expected), "{arguments:?}");
    }
}

#[test]
fn a_certificate_that_cannot_serve_is_an_error() {
    let files = "{ certificate = \"/nonexistent/c.pem\", key = \"/nonexistent/k.pem\" }";
    let (code, out, err) = run(&format!("{SOUND}[receive]\ntls = {files}\n"), &["check"]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.starts_with("postern.toml: receive.tls: /nonexistent/c.pem: "), "{err}");
}

#[test]
fn the_default_file_passes_the_check() {
    let (code, file, _) = run("", &["config", "default"]);
    assert_eq!(code, 0);
    assert!(file.contains("\nchannels = 100\n"), "{file}");
    let (code, _, err) = run(&file, &["check"]);
    assert_eq!((code, err.as_str()), (0, ""));
}

#[test]
fn a_question_without_a_server_says_where_it_looked() {
    let configuration = format!("{SOUND}\n[control]\nlisten = \"/nonexistent/control\"\n");
    let expected = "postern: no server answers at /nonexistent/control: No such file or directory \
        (os error 2); is `postern serve` running with this configuration?\n";
    for arguments in [["health"].as_slice(), &["queue", "list"]] {
        let (code, out, err) = run(&configuration, arguments);
        assert_eq!((code, out.as_str(), err.as_str()), (1, "", expected), "{arguments:?}");
    }
}

#[test]
fn wrong_usage_is_told_from_a_problem() {
    for arguments in [["queue", "release"].as_slice(), &["queue", "show", "7"], &["serv"]] {
        let (code, _, err) = run(SOUND, arguments);
        assert_eq!(code, 2, "{arguments:?}");
        assert!(err.starts_with("error: "), "{err}");
    }
    let (code, out, _) = run("", &["version", "--json"]);
    assert_eq!((code, out), (0, format!("{{\"version\":\"{}\"}}\n", env!("CARGO_PKG_VERSION"))));
}
