//! The memory of a connection that says nothing.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::server::Server;

const CONNECTIONS: usize = 10_000;

/// Opens connections, says EHLO on each, tells when all were answered, and keeps them open.
const CLIENT: &str = r#"
import resource, socket, sys, time
count, server = int(sys.argv[1]), sys.argv[2]
resource.setrlimit(resource.RLIMIT_NOFILE, (count + 100, count + 100))
connections = []
for _ in range(count):
    connection = socket.create_connection((server, 25))
    connection.recv(1000)
    connection.sendall(b"EHLO mail.sender.example\r\n")
    connection.recv(4000)
    connections.append(connection)
print("open", flush=True)
sys.stdin.read()
"#;

/// Measures Postern, in a fresh process.
pub fn report() -> String {
    let server = Server::postern();
    let before = server.container().anonymous_memory();
    let (count, address) = (CONNECTIONS.to_string(), server.address());
    let client = ["exec", "-i", server.source().id(), "python3", "-c", CLIENT, &count, &address];
    let mut client = Command::new("docker")
        .args(client)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("docker is installed");
    let mut line = String::new();
    let output = client.stdout.take().expect("the output is piped");
    BufReader::new(output).read_line(&mut line).expect("the pipe can be read");
    assert_eq!(line, "open\n", "not all connections were greeted");
    let each = (server.container().anonymous_memory() - before) / CONNECTIONS as f64;
    drop(client.stdin.take());
    client.wait().expect("the client ends with its input");
    format!("{CONNECTIONS} idle connections: {each:.0} octets of user-space memory each")
}
