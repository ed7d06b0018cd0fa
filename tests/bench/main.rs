//! Postern against Debian's Postfix: each in a container, each only taking mail and holding it,
//! under the same load of Postfix's `smtp-source`. Rounds alternate, so that what else the machine
//! does strikes both. Prints tables of medians and of ratios; asserts nothing. In the end Postern's
//! memory for idle connections, and how fast it hands mail on to Postfix.

mod docker;
mod drain;
mod idle;
mod server;

use server::{Cost, Server};

const ROUNDS: usize = 3;

/// A load: `sessions` at once send messages of `size` octets, one or many a connection.
#[derive(Clone, Copy)]
struct Load {
    sessions: usize,
    size: usize,
    many: bool,
}

fn main() {
    let servers = [Server::postern(), Server::postfix()];
    println!("\n| load | server | messages/s | MB/s | CPU ms/message | syncs/message |");
    println!("|---|---|---|---|---|---|");
    let mut ratios = Vec::new();
    for load in loads() {
        let [postern, postfix] = medians(&servers, load);
        print_row(load, "Postern", &postern);
        print_row(load, "Postfix", &postfix);
        let speed = postern.messages_per_second / postfix.messages_per_second;
        let cpu = postern.cpu_ms / postfix.cpu_ms;
        ratios.push(format!("| {} | {speed:.1} | {cpu:.2} |", load.name()));
    }
    println!("\n| load | messages/s, Postern to Postfix | CPU a message, Postern to Postfix |");
    println!("|---|---|---|\n{}", ratios.join("\n"));
    drop(servers);
    println!("\n{}", idle::report());
    println!("\n{}", drain::report());
}

fn loads() -> Vec<Load> {
    let small = [1, 16, 64]
        .into_iter()
        .flat_map(|sessions| [false, true].map(|many| Load { sessions, size: 8 << 10, many }));
    small.chain([Load { sessions: 16, size: 1 << 20, many: true }]).collect()
}

/// The median of every figure over the rounds, for each server.
fn medians(servers: &[Server; 2], load: Load) -> [Cost; 2] {
    let counts = [0, 1].map(|server| servers[server].count_for(load));
    let mut rounds = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for server in 0..servers.len() {
            rounds[server].push(servers[server].measure(load, counts[server]));
        }
    }
    rounds.map(|costs| Cost {
        messages_per_second: median(&costs, |cost| cost.messages_per_second),
        cpu_ms: median(&costs, |cost| cost.cpu_ms),
        syncs: costs[0].syncs.map(|_| median(&costs, |cost| cost.syncs.unwrap_or_default())),
    })
}

fn median(costs: &[Cost], figure: impl Fn(&Cost) -> f64) -> f64 {
    let mut figures: Vec<f64> = costs.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn print_row(load: Load, server: &str, cost: &Cost) {
    let Cost { messages_per_second, cpu_ms, syncs } = cost;
    let mb = messages_per_second * load.size as f64 / 1e6;
    let syncs = syncs.map_or("1".to_owned(), |syncs| format!("{syncs:.3}"));
    let name = load.name();
    println!("| {name} | {server} | {messages_per_second:.0} | {mb:.1} | {cpu_ms:.3} | {syncs} |");
}

impl Load {
    fn name(self) -> String {
        let Self { sessions, size, many } = self;
        let each = if many { "many messages each" } else { "one message each" };
        format!("{} KiB, {sessions} session(s), {each}", size >> 10)
    }
}
