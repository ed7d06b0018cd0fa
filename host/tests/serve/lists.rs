//! Recipients that a list says, which is fetched by HTTP or given.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::Signal;

use crate::place::{AWAY, END, Place, Server};

/// What an HTTP server answers to the head of a request.
type Answers = Arc<Mutex<Box<dyn FnMut(&str) -> String + Send>>>;

/// A primary with a web server.
struct Web {
    address: SocketAddr,
    answers: Answers,
}

impl Web {
    fn new(answers: impl FnMut(&str) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let answers: Answers = Arc::new(Mutex::new(Box::new(answers)));
        let shared = Arc::clone(&answers);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let head = head(&stream);
                let answer = shared.lock().expect("no panic")(&head);
                // Who has heard enough may have gone.
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { address, answers }
    }

    fn answers(&self, answers: impl FnMut(&str) -> String + Send + 'static) {
        *self.answers.lock().expect("no panic") = Box::new(answers);
    }

    fn hold(&self, more: &str) -> String {
        let address = self.address;
        hold(&format!("{{ urls = [\"http://{address}/s3cret/a\", \"http://{address}/b\"]{more} }}"))
    }
}

fn head(stream: &TcpStream) -> String {
    let lines = BufReader::new(stream.try_clone().expect("a second handle")).lines();
    let lines = lines.map_while(Result::ok).take_while(|line| !line.is_empty());
    lines.map(|line| line + "\n").collect()
}

fn found(body: &str) -> String {
    format!("HTTP/1.1 200 OK{END}Content-Length: {}{END}{END}{body}", body.len())
}

fn hold(recipients: &str) -> String {
    format!(
        "[hold.\"client.example\"]\nrecipients = {recipients}\ndeliver_to = \"{AWAY}\"\n\
         retry_every = \"never\"\n"
    )
}

fn import(place: &Place, arguments: &[&str], text: &str) -> (Option<i32>, String) {
    let arguments = [&["recipients", "import", "client.example"], arguments].concat();
    let mut command = place.command(&arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command starts");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8");
    (output.status.code(), text)
}

fn reply(server: &Server, local: &str) -> String {
    server.rcpt(&format!("{local}@client.example"))[..9].to_owned()
}

const UNKNOWN: &str = "550 5.1.1";
const LATER: &str = "450 4.3.2";
const TAKEN: &str = "250 2.1.5";

#[test]
fn a_list_is_fetched_and_known_while_the_primary_is_away() {
    let web = Web::new(|head| match head.starts_with("GET /s3cret/a HTTP/1.1\n") {
        true => found("info@client.example\nsales@other.example\n"),
        false => found("# aliases\nJohn.Doe@client.example\n"),
    });
    let place = Place::new(&web.hold(""));
    let server = place.serve();
    let listed = place.run_until(&["recipients", "list"], "fetched  2 ");
    assert!(listed.contains("client.example  fetched  2  "), "{listed}");
    assert!(!listed.contains("s3cret"), "{listed}");
    for (local, expected) in [
        ("info", TAKEN),
        ("john.doe+tag", TAKEN),
        ("postmaster", TAKEN),
        ("sales", UNKNOWN),
        ("info%evil.example", UNKNOWN),
    ] {
        assert_eq!(reply(&server, local), expected, "{local}");
    }
    // One vanishes, and then the primary breaks.
    web.answers(|head| match head.starts_with("GET /s3cret/a ") {
        true => found("info@client.example\nnew@client.example\nother@client.example\n"),
        false => found(""),
    });
    server.signal(Signal::HUP);
    place.run_until(&["recipients", "list", "client.example"], "fetched  3 ");
    assert_eq!(reply(&server, "new"), TAKEN);
    assert_eq!(reply(&server, "john.doe"), LATER, "it has vanished");
    web.answers(|_| format!("HTTP/1.1 500 Oops{END}Content-Length: 0{END}{END}"));
    server.signal(Signal::HUP);
    let told = server.logged("no list of recipients has come");
    assert_eq!(told["why"], "URL 1 of 2: it answers 500");
    assert!(place.try_run(&["health"]).0 == Some(0), "it is young enough");
    server.stop();

    let server = place.serve();
    assert_eq!(reply(&server, "new"), TAKEN);
    assert_eq!(reply(&server, "john.doe"), LATER);
    assert_eq!(reply(&server, "nobody"), UNKNOWN);
    let log = server.end();
    assert!(!format!("{log:?}").contains("s3cret"), "{log:?}");
}

#[test]
fn a_token_and_a_pointer_lead_to_what_an_api_has() {
    let web = Web::new(|head| {
        // As mailcow's API has it: mailboxes, and aliases.
        let is_known = head.to_ascii_lowercase().contains("\nx-api-key: k3y of ours\n");
        match (is_known, head.starts_with("GET /s3cret/a ")) {
            (false, _) => found(r#"{"type":"error","msg":"authentication failed"}"#),
            (true, true) => found(
                r#"[{"active":1,"name":"Full name","quota":3221225472,
                "username":"info@client.example"},{"username":"ann@other.example"}]"#,
            ),
            (true, false) => {
                found(r#"[{"address":"@client.example","goto":"info@client.example"}]"#)
            }
        }
    });
    let place = Place::new("");
    let token = place.path("token");
    fs::write(&token, "k3y of ours\n").expect("a file");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let more = format!(
        ", header = \"X-API-Key\", token_file = {token:?}, select = [\"/*/username\", \
         \"/*/address\"]"
    );
    place.configure(&web.hold(&more));
    assert!(!place.run(&["check"]).contains("nothing would be fetched"), "all is there");
    let server = place.serve();
    place.run_until(&["recipients", "list"], "fetched  2 ");
    assert_eq!(reply(&server, "whoever"), TAKEN);
    assert_eq!(reply(&server, "info%evil.example"), UNKNOWN);
    fs::write(&token, "another\n").expect("a file");
    server.signal(Signal::HUP);
    let told = server.logged("no list of recipients has come");
    let why = told["why"].as_str().expect("a text");
    assert!(why.starts_with("URL 1 of 2: select finds no addresses in it: "), "{why}");
    assert_eq!(reply(&server, "whoever"), TAKEN);
    let log = server.end();
    assert!(!format!("{log:?}").contains("k3y"), "{log:?}");
    fs::remove_file(&token).expect("it is ours");
    let told = place.run(&["check"]);
    let why = "hold.\"client.example\".recipients: nothing would be fetched: token_file ";
    assert!(told.contains(why) && !told.contains("s3cret"), "{told}");
}

#[test]
fn without_a_list_all_but_postmaster_come_again_and_health_is_red() {
    let web = Web::new(|_| {
        format!("HTTP/1.1 302 Found{END}Location: /elsewhere{END}Content-Length: 0{END}{END}")
    });
    let place = Place::new(&web.hold(""));
    let server = place.serve();
    server.logged("no list of recipients has come");
    assert_eq!(reply(&server, "info"), LATER);
    assert_eq!(reply(&server, "postmaster"), TAKEN);
    assert_eq!(server.logged("refused")["word"], "unverified");
    let (code, text) = place.try_run(&["health"]);
    let told = "no list of the recipients of client.example yet";
    assert!(code == Some(1) && text.contains(told) && text.contains("no redirect"), "{text}");
    let listed = place.run(&["recipients", "list"]);
    assert!(listed.contains("none       0         never"), "{listed}");
    server.stop();
}

#[test]
fn a_list_that_lacks_half_waits_for_a_person() {
    let place = Place::new(&hold("\"import\""));
    let server = place.serve();
    let (code, text) = place.try_run(&["health"]);
    assert!(code == Some(1) && text.contains("no list of the recipients"), "{text}");
    assert_eq!(reply(&server, "info"), LATER);
    let four = ["a", "b", "c", "info"].map(|local| format!("{local}@client.example\n")).concat();
    let told = import(&place, &[], &four);
    assert_eq!(told, (Some(0), "client.example has 4 address(es)\n".to_owned()));
    assert_eq!((reply(&server, "a"), reply(&server, "d")), (TAKEN.into(), UNKNOWN.into()));
    assert_eq!(place.try_run(&["health"]).0, Some(0));

    let (code, text) = import(&place, &["-"], "info@client.example\n");
    let why = "it has 1 of the 4 addresses that there were";
    assert!(code == Some(1) && text.contains(why), "{text}");
    assert_eq!(reply(&server, "a"), TAKEN);
    let (code, text) = place.try_run(&["health"]);
    let told = format!("waits, as {why}: postern recipients accept client.example ");
    let (_, sum) = text.split_once(&told).unwrap_or_else(|| panic!("{text}"));
    let sum = sum[..8].to_owned();
    assert_eq!(code, Some(1));
    server.stop();

    let server = place.serve();
    let listed = place.run(&["recipients", "list"]);
    assert!(listed.contains(&format!("another of 1 ({sum}) waits, as {why}")), "{listed}");
    let (code, text) = place.try_run(&["recipients", "accept", "client.example", "00000000"]);
    let told = format!("another list of client.example waits by now: {sum}");
    assert!(code == Some(1) && text.contains(&told), "{text}");
    let accept = ["recipients", "accept", "client.example", &sum];
    assert_eq!(place.run(&accept), "client.example has 1 address(es)\n");
    assert_eq!((reply(&server, "a"), reply(&server, "info")), (LATER.into(), TAKEN.into()));
    assert_eq!(place.try_run(&["health"]).0, Some(0));
    let (code, text) = place.try_run(&accept);
    assert!(code == Some(1) && text.contains("no list of client.example waits"), "{text}");
    server.stop();
    let server = place.serve();
    assert_eq!((reply(&server, "a"), reply(&server, "info")), (LATER.into(), TAKEN.into()));
    server.stop();
}

#[test]
fn what_is_no_list_changes_nothing() {
    let place = Place::new(&hold("\"import\""));
    let server = place.serve();
    let file = place.path("list");
    fs::write(&file, "info@client.example\n").expect("a file");
    let file = file.to_str().expect("UTF-8");
    place.run(&["recipients", "import", "client.example", file]);
    for (text, why) in [
        ("info@client.example\nsales@client.exa", "it may have been cut short"),
        ("info@client.example\nsales\n", "entry 2 is no address: \"sales\""),
        ("info@client.example\n\u{1b}[2J@client.example\n", "entry 2 is no address"),
        ("info@client.example|{SHA512-CRYPT}$6$x\n", "entry 1 is no address"),
    ] {
        let (code, told) = import(&place, &[], text);
        assert!(code == Some(1) && told.contains(why), "{text:?}: {told}");
        assert!(!told.contains('\u{1b}'), "{told:?}");
    }
    for (text, why) in [("", "no address of the domain"), ("a@other.example\n", "no address of")] {
        let (code, told) = import(&place, &[], text);
        assert!(code == Some(1) && told.contains(why), "{text:?}: {told}");
    }
    let (code, told) = place.try_run(&["recipients", "import", "client.example", "/absent"]);
    assert!(code == Some(1) && told.contains("/absent: No such file"), "{told}");
    let (code, told) = place.try_run(&["recipients", "import", "other.example", file]);
    assert!(code == Some(1) && told.contains("other.example has no list here"), "{told}");
    assert_eq!((reply(&server, "info"), reply(&server, "sales")), (TAKEN.into(), UNKNOWN.into()));
    server.stop();

    // A file that was cut short makes nobody unknown.
    let kept = place.path("spool/lists/client.example");
    let text = fs::read(&kept).expect("a file");
    fs::write(&kept, &text[..text.len() - 1]).expect("a file");
    let lost = "the list of recipients is lost: senders are told to come again until another is \
        accepted";
    let (server, told) = place.serve_after(&[lost]);
    let why = told[0]["error"].as_str().expect("a text");
    assert!(why.starts_with("its file is cut short, or was changed; it is kept in "), "{why}");
    let (code, text) = place.try_run(&["health"]);
    assert!(code == Some(1) && text.contains("client.example is lost"), "{text}");
    assert_eq!((reply(&server, "info"), reply(&server, "sales")), (LATER.into(), LATER.into()));
    let (code, text) = place.try_run(&["recipients", "import", "client.example", file]);
    assert!(code == Some(1) && text.contains("the one that there was is lost"), "{text}");
    assert_eq!(reply(&server, "sales"), LATER);
    place.run(&["recipients", "accept", "client.example"]);
    assert_eq!((reply(&server, "info"), reply(&server, "sales")), (TAKEN.into(), UNKNOWN.into()));
    server.stop();
}
