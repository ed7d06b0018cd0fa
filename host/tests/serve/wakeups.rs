//! Hosts that show that they are there, otherwise than by ETRN.

use crate::place::{AWAY, Place, Talk, hold};

/// A holder of mail for a host that is there, with the rest of the domain's table.
fn holder(host: &str, rest: &str) -> Place {
    Place::new(&(hold(host, "[\"info\"]") + rest))
}

#[test]
fn a_connection_from_where_a_host_is_releases_its_mail() {
    let client = Place::new(&hold(AWAY, "[\"info\"]"));
    let home = client.serve();
    let rest = "release_on_connect = [\"127.0.0.0/28\"]\n";
    let holder = holder(&home.address.to_string(), rest);
    let server = holder.serve();
    server.send("info@client.example");
    assert_eq!(holder.queue().len(), 1, "it came over a connection that began before");
    drop(Talk::with(server.address));
    assert_eq!(server.logged("released")["trigger"], "connection");
    assert_eq!(home.logged("accepted")["to"], "info@client.example");
    server.stop();
    home.stop();
}

#[test]
fn a_hook_of_a_link_releases_mail() {
    let client = Place::new(&hold(AWAY, "[\"info\"]"));
    let home = client.serve();
    let holder = holder(&home.address.to_string(), "");
    let server = holder.serve();
    server.send("info@client.example");
    let said = holder.run(&["link-up", "client.example"]);
    assert_eq!(said, "client.example: 1 message(s) released, 0 already on their way\n");
    home.logged("accepted");
    server.stop();
    home.stop();
}
