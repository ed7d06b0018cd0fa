//! Mail over AppleTalk: the cable is the loopback interface, and all tests are on it.

use std::io::Write;
use std::process::{Output, Stdio};

use postern::appletalk::Ports;
use postern::appletalk::cable::{Cable, Event};
use postern::appletalk::link::Link as Either;
use postern::appletalk::ltoudp::Link;
use postern_core::appletalk::adsp::End;
use postern_core::appletalk::nbp::{Function, Name, Packet};
use postern_core::appletalk::{Address, ddp};
use postern_spool::clock::Clock;
use prometheus_client::metrics::counter::Counter;

use tokio::time::timeout;

use crate::place::{AWAY, PATIENCE, Place, hold};

/// A place whose server is called `name` on the cable.
fn on_the_cable(name: &str, keys: &str) -> Place {
    let place = Place::new("");
    let section = format!(
        "{keys}[receive.appletalk]\ninterface = \"lo\"\nchannels = 1\n\
         names = [\"{name}:SMTP\", \"{name}:Mail\"]\n"
    );
    place.configure_with(&section, &hold(AWAY, "[\"info\"]"));
    place
}

/// A name that no other run of the tests has.
fn unique() -> String {
    format!("test {:08x}", fastrand::u32(..))
}

fn send(place: &Place, name: &str, to: &str) -> Output {
    let server = format!("{name}:SMTP");
    let arguments = ["appletalk", "send", "--server", &server, "--from", "mac@a.example"];
    let mut command = place.command(&arguments);
    command.args(["--to", to]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the command starts");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(b"Subject: hello\n\n.\nHello over AppleTalk!\n").expect("it reads");
    drop(input);
    child.wait_with_output().expect("it ends")
}

#[test]
fn a_mailer_finds_the_server_and_its_mail_is_held() {
    let name = unique();
    let place = on_the_cable(&name, "");
    let file = place.path("postern.toml");
    let text = std::fs::read_to_string(&file).expect("a file");
    std::fs::write(&file, text + "[relay]\nsmarthost = \"127.0.0.1:1\"\n").expect("a file");
    let server = place.serve();
    server.logged("an AppleTalk name is ours");
    server.logged("an AppleTalk name is ours");

    let found = place.run(&["appletalk", "lookup", &format!("{}:=", name.to_uppercase())]);
    let lines: Vec<&str> = found.lines().collect();
    assert_eq!(lines.len(), 2, "{found}");
    assert!(lines[0].ends_with(&format!("{name}:Mail@*")), "{found}");
    let node = lines[0].split(':').next().expect("an address");
    let echoed = place.run(&["appletalk", "echo", node]);
    assert_eq!(echoed.lines().count(), 4, "{echoed}");

    let sent = send(&place, &name, "info@client.example");
    let said = String::from_utf8(sent.stdout).expect("UTF-8");
    assert!(sent.status.success() && said.contains(": 250 2.0.0 Held as "), "{said}");
    let accepted = server.logged("accepted");
    let client = accepted["client"].as_str().expect("a client");
    assert!(client.starts_with("appletalk:0."), "{client}");
    let held = place.queue();
    assert_eq!(held[0]["reverse_path"], "mac@a.example");

    // The channel is free again, and it is no relay, though there is one for others.
    let sent = send(&place, &name, "info@elsewhere.example");
    let said = String::from_utf8(sent.stdout).expect("UTF-8");
    assert!(!sent.status.success() && said.contains(": 550 5.7.1 "), "{said}");
    assert_eq!(server.logged("refused")["word"], "relay");
    server.stop();

    let folder = place.path("export");
    place.run(&["spool", "export", folder.to_str().expect("UTF-8")]);
    let id = held[0]["id"].as_str().expect("an id");
    let message = std::fs::read_to_string(folder.join(format!("{id}.eml"))).expect("the message");
    assert!(message.contains("(AppleTalk network 0 node "), "{message}");
    assert!(message.ends_with("\r\n\r\n.\r\nHello over AppleTalk!\r\n"), "{message}");
}

/// The old manual's way: whoever is on the cable is one of us.
#[test]
fn mailers_on_the_cable_submit_where_they_may() {
    let name = unique();
    let place = Place::new("");
    let cable = format!(
        "[receive.appletalk]\ninterface = \"lo\"\nsubmission = true\nnames = [\"{name}:SMTP\"]\n"
    );
    let rest = "[relay]\nsmarthost = \"127.0.0.1:1\"\n";
    place.configure_with(&cable, &format!("{rest}{}", hold(AWAY, "[\"info\"]")));
    let checked = place.run(&["check"]);
    assert!(checked.contains("whoever is on lo may send to anybody over AppleTalk"), "{checked}");
    let server = place.serve();
    server.logged("an AppleTalk name is ours");
    let sent = send(&place, &name, "bob@far.example");
    let said = String::from_utf8(sent.stdout).expect("UTF-8");
    assert!(sent.status.success() && said.contains(": 250 2.0.0 Held as "), "{said}");
    assert_eq!(place.queue()[0]["domain"], "far.example");
    let said = server.say(&["EHLO a.example", "MAIL FROM:<>", "RCPT TO:<bob@far.example>"]);
    assert!(said[2].starts_with("550 5.7.1 "), "not over TCP: {said:?}");
    server.stop();
}

#[test]
fn a_cable_of_no_interface_is_an_error_at_the_start_and_one_without_channels_is_none() {
    let place = on_the_cable("nobody", "");
    let file = place.path("postern.toml");
    let text = std::fs::read_to_string(&file).expect("a file").replace("\"lo\"", "\"none7\"");
    std::fs::write(&file, &text).expect("a file");
    let output = place.command(&["serve"]).output().expect("the command starts");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("receive.appletalk.interface \"none7\": "), "{said}");
    std::fs::write(&file, text.replace("channels = 1", "channels = 0")).expect("a file");
    place.serve().stop();
}

/// A node on the cable that asks for connections.
struct Mac {
    cable: Cable<'static>,
    ports: Ports,
    clock: Clock,
}

impl Mac {
    async fn new() -> Self {
        let link = Link::open("lo", Counter::default()).expect("a loopback interface");
        let (ports, clock) = (Ports::new(fastrand::u8(128..=253), 2), Clock::system());
        let mut cable = Cable::new(Either::LToUdp(link), &mut [], ports.clone(), clock.clone());
        cable.settle().await.expect("the cable works");
        Self { cable, ports, clock }
    }

    async fn find(&mut self, name: &str) -> Address {
        let pattern = format!("{name}:SMTP");
        let pattern = Name::new(pattern.as_bytes()).expect("a name");
        loop {
            self.cable.look_up(&pattern).await;
            let until = self.clock.instant().after(std::time::Duration::from_millis(500));
            while let Some(event) = self.cable.next_until(until).await.expect("the cable works") {
                let Event::Datagram { kind: ddp::NBP, data, .. } = event else { continue };
                let packet = Packet::parse(&data).filter(|p| p.function == Function::Reply);
                if let Some(tuple) = packet.and_then(|packet| packet.tuples().next()) {
                    return tuple.address;
                }
            }
        }
    }

    /// What becomes of a connection to `peer`.
    async fn open(&mut self, peer: Address) -> Result<postern::appletalk::Stream, End> {
        let mut stream = self.ports.open(peer, self.clock.instant()).expect("a channel");
        let opened = async { stream.opened().await.map(|()| stream) };
        self.run(opened).await
    }

    async fn run<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                stepped = self.cable.step() => drop(stepped.expect("the cable works")),
            }
        }
    }
}

/// Nothing listens on TCP: this network is there whatever becomes of the link.
#[tokio::test]
async fn one_more_than_there_are_channels_is_denied_until_one_is_free() {
    let name = unique();
    let place = on_the_cable(&name, "listener = \"off\"\n");
    let mut server =
        place.command(&["serve"]).stderr(Stdio::null()).spawn().expect("the server starts");
    let mut mac = Mac::new().await;
    let peer = timeout(PATIENCE, mac.find(&name)).await.expect("it is on the cable");
    let first = mac.open(peer).await.expect("it is free");
    assert_eq!(mac.open(peer).await.err(), Some(End::Denied));
    drop(first);
    while mac.open(peer).await.err() == Some(End::Denied) {}
    server.kill().expect("it runs");
    server.wait().expect("it ends");
}

/// Unicast from anywhere would else be an open door: the kernel gives it to the same socket.
#[tokio::test]
async fn what_does_not_come_by_the_group_is_dropped_and_counted() {
    const THEIRS: [u8; 7] = [0xff, 0xfe, 0x51, 0xa7, 0, 0, 0];
    let strangers = Counter::default();
    let ours = Link::open("lo", strangers.clone()).expect("a loopback interface");
    let other = Link::open("lo", Counter::default()).expect("a loopback interface");
    let mut has_heard = false;
    // The sockets of one port share what is unicast, by its source: one of the first hits ours.
    while strangers.get() == 0 || !has_heard {
        let stranger = std::net::UdpSocket::bind(("127.0.0.1", 0)).expect("a free port");
        let forged = [&[0, 0, 0, 1], &THEIRS[..]].concat();
        stranger.send_to(&forged, ("127.0.0.1", 1954)).expect("it is sent");
        other.send(&THEIRS[..6]).await;
        while !has_heard || strangers.get() == 0 {
            let waited = std::time::Duration::from_millis(50);
            let Ok(frame) = tokio::time::timeout(waited, ours.receive()).await else { break };
            let (octets, length) = frame.expect("the socket works");
            assert_ne!(octets[..length], THEIRS, "a stranger's");
            has_heard |= octets[..length] == THEIRS[..6];
        }
    }
}

/// The kernel gives a socket what comes for a group that another has joined, too: in a network
/// namespace of its own, which needs no rights here, and has another interface.
#[test]
fn what_comes_by_another_interface_is_dropped_and_counted() {
    const INSIDE: &str = "POSTERN_TEST_IN_A_NAMESPACE";
    const NAME: &str = "appletalk::what_comes_by_another_interface_is_dropped_and_counted";
    if std::env::var_os(INSIDE).is_none() {
        let set_up = "ip link set lo up; ip link add e0 type veth peer name e1; \
            ip address add 192.0.2.1/24 dev e0; ip link set e1 up; ip link set e0 up; \
            exec \"$0\" --exact \"$1\"";
        let mut command = std::process::Command::new("unshare");
        command.args(["-rn", "sh", "-ec", set_up]).arg(std::env::current_exe().expect("a path"));
        let output = command.arg(NAME).env(INSIDE, "yes").output().expect("unshare");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let strangers = Counter::default();
        let ours = Link::open("lo", strangers.clone()).expect("a loopback interface");
        let elsewhere = Link::open("e0", Counter::default()).expect("an interface");
        while strangers.get() == 0 {
            elsewhere.send(&[0xff, 0xfe, 0x51, 0xa7]).await;
            let waited = std::time::Duration::from_millis(50);
            assert!(timeout(waited, ours.receive()).await.is_err(), "it came by e0");
        }
        let here = Link::open("lo", Counter::default()).expect("a loopback interface");
        here.send(&[0xff, 0xfe, 0x51]).await;
        let heard = timeout(PATIENCE, ours.receive()).await.expect("it is on the cable");
        assert_eq!(heard.expect("the socket works").1, 3);
    });
}

/// Two ends of a cable in a network namespace of their own, which needs no rights here: a mailer at
/// the one finds the server at the other, and its message is held.
#[test]
fn an_ethernet_is_a_cable_too() {
    let place = Place::new("");
    let (spool, control) = (place.path("spool"), place.path("control"));
    let text = format!(
        "hostname = \"mx2.provider.example\"\n[receive]\nlisten = []\n[receive.appletalk]\n\
         link = \"ethertalk\"\ninterface = \"e0\"\nnames = [\"ether:SMTP\"]\n\
         [spool]\npath = {spool:?}\n[control]\nlisten = {control:?}\n{}",
        hold(AWAY, "[\"info\"]")
    );
    std::fs::write(place.path("postern.toml"), text).expect("a file");
    let mut command = std::process::Command::new("unshare");
    command.args(["-rn", "sh", "-ec", ETHERNET]).env("postern", env!("CARGO_BIN_EXE_postern"));
    let output = command.current_dir(place.path("")).output().expect("unshare");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("ether:SMTP@*"), "{said}");
    assert!(said.contains(": 250 2.0.0 Held as "), "{said}");
    let warned = "may not hear what is for all nodes: ip maddress add 09:00:07:ff:ff:ff dev e0";
    assert!(said.contains(warned), "{said}");
    assert_eq!(said.matches("\"message\":\"accepted\"").count(), 1, "{said}");
    let network = said.split("\"client\":\"appletalk:").nth(1).expect("a client");
    let network: u32 = network.split('.').next().and_then(|it| it.parse().ok()).expect("one");
    assert!((0xff00..0xffff).contains(&network), "in the startup range: {network}");
}

/// The server at one end; what is at the other asks until it is there.
const ETHERNET: &str = "\
    ip link add e0 type veth peer name e1\n\
    ip link set e0 up\n\
    ip link set e1 up\n\
    $postern --config postern.toml serve &\n\
    server=$!\n\
    on='--interface e1 --ethertalk'\n\
    tries=0\n\
    until $postern appletalk lookup ether:SMTP $on; do\n\
        tries=$((tries + 1)); [ $tries -lt 15 ]\n\
    done\n\
    printf 'Subject: x\\n\\nhello\\n' | $postern appletalk send --server ether:SMTP $on \\\n\
        --from mac@a.example --to info@client.example\n\
    kill $server\n\
    wait $server\n";
