//! Rules that read Rust.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, File, Item};

use super::Source;

/// Lines of a function at most: what can be seen whole.
pub const MAX_FUNCTION_LINES: usize = 70;

/// Parses a source. Panics with its path if it is not Rust.
pub(super) fn parse(source: &Source) -> File {
    syn::parse_file(&source.text)
        .unwrap_or_else(|fault| panic!("{}:{}: {fault}", source.path, fault.span().start().line))
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let name = attribute.path();
        let cfg_test = |list: &syn::MetaList| list.tokens.to_string() == "test";
        name.is_ident("test")
            || name.is_ident("cfg") && attribute.meta.require_list().is_ok_and(cfg_test)
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// What is built into the product: the file without its tests.
pub(super) fn product(source: &Source) -> File {
    let mut file = parse(source);
    file.items.retain(|item| !source.is_test() && !is_for_tests(attributes(item)));
    file
}

/// What is built for tests only.
fn test_part(source: &Source) -> TokenStream {
    if source.is_test() {
        return parse(source).into_token_stream();
    }
    let items = parse(source).items.into_iter();
    items.filter(|item| is_for_tests(attributes(item))).map(Item::into_token_stream).collect()
}

struct FunctionLengths<'s> {
    source: &'s Source,
    found: Vec<String>,
}

impl FunctionLengths<'_> {
    fn measure(&mut self, signature: Span, body: Span) {
        let (start, end) = (signature.start().line, body.end().line);
        if end - start + 1 > MAX_FUNCTION_LINES {
            self.found.push(self.source.finding(start, "a function over 70 lines"));
        }
    }
}

impl<'ast> Visit<'ast> for FunctionLengths<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.measure(function.sig.span(), function.block.span());
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.measure(function.sig.span(), function.block.span());
        visit::visit_impl_item_fn(self, function);
    }
}

/// A function that can't be seen whole can't be read whole.
pub fn long_functions(source: &Source) -> Vec<String> {
    let mut lengths = FunctionLengths { source, found: Vec::new() };
    lengths.visit_file(&parse(source));
    lengths.found
}

/// A token with the two before it, as text: enough to see `time :: sleep` or `' static`.
pub(super) struct Word {
    pub(super) before: [String; 2],
    pub(super) text: String,
    line: usize,
}

fn words(tokens: TokenStream) -> Vec<Word> {
    fn flatten(tokens: TokenStream, flat: &mut Vec<(String, usize)>) {
        for tree in tokens {
            match tree {
                TokenTree::Group(group) => flatten(group.stream(), flat),
                other => flat.push((other.to_string(), other.span().start().line)),
            }
        }
    }
    let mut flat = Vec::new();
    flatten(tokens, &mut flat);
    let text = |place: Option<usize>| {
        place.and_then(|place| flat.get(place)).map_or(String::new(), |(text, _)| text.clone())
    };
    let word = |(place, (word, line)): (usize, &(String, usize))| Word {
        before: [text(place.checked_sub(2)), text(place.checked_sub(1))],
        text: word.clone(),
        line: *line,
    };
    flat.iter().enumerate().map(word).collect()
}

pub(super) fn matching(
    source: &Source,
    tokens: TokenStream,
    is_bad: impl Fn(&Word) -> bool,
) -> Vec<String> {
    let bad = words(tokens).into_iter().filter(is_bad);
    bad.map(|word| source.finding(word.line, &format!("`{}`", word.text))).collect()
}

/// The core runs without an operating system, an allocator, globals and dynamic dispatch, and only
/// `drive.rs` may wait.
pub fn core_purity(source: &Source) -> Vec<String> {
    let waits = source.path == "core/src/drive.rs" || source.path.starts_with("core/src/drive/");
    matching(source, product(source).into_token_stream(), |word| match word.text.as_str() {
        "std" | "alloc" | "unsafe" | "dyn" | "println" | "eprintln" | "tracing" | "log" => true,
        "async" | "await" => !waits,
        "static" => word.before[1] != "'",
        _ => false,
    })
}

struct PanicPaths<'s> {
    source: &'s Source,
    found: Vec<String>,
}

impl<'ast> Visit<'ast> for PanicPaths<'_> {
    /// A constant panics where it is compiled.
    fn visit_item_const(&mut self, _: &'ast syn::ItemConst) {}

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        const PANICS: [&str; 7] =
            ["panic", "unreachable", "assert", "assert_eq", "assert_ne", "todo", "unimplemented"];
        if PANICS.iter().any(|name| call.path.is_ident(name)) {
            self.found.push(self.source.finding(call.span().start().line, "may panic"));
        }
    }

    fn visit_expr_index(&mut self, index: &'ast syn::ExprIndex) {
        self.found.push(self.source.finding(index.span().start().line, "indexing"));
        visit::visit_expr_index(self, index);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if call.method == "unwrap" || call.method == "expect" {
            self.found.push(self.source.finding(call.span().start().line, "may panic"));
        }
        visit::visit_expr_method_call(self, call);
    }
}

/// A device has nobody to read a panic; the footprint test proves it for what is linked.
pub fn core_panics(source: &Source) -> Vec<String> {
    let mut paths = PanicPaths { source, found: Vec::new() };
    paths.visit_file(&product(source));
    paths.found
}

/// `250 …` or `b"250-…"`.
fn is_reply_text(literal: &str) -> bool {
    let text = literal.trim_start_matches(['b', 'r', '#']);
    let Some(text) = text.strip_prefix('"') else { return false };
    let code = text.get(..3).is_some_and(|code| code.bytes().all(|octet| octet.is_ascii_digit()));
    code && text.starts_with(['2', '3', '4', '5']) && text[3..].starts_with([' ', '-'])
}

/// Reply text has one home, where all of it can be read and tested.
pub fn reply_text(source: &Source) -> Vec<String> {
    let tokens = product(source).into_token_stream();
    matching(source, tokens, |word| is_reply_text(&word.text))
}

/// A carrier that writes SMTP itself is a second implementation of it.
pub fn smtp_syntax(source: &Source) -> Vec<String> {
    let line_end = |literal: &str| literal.contains('"') && literal.contains("\\r\\n");
    let tokens = product(source).into_token_stream();
    matching(source, tokens, |word| is_reply_text(&word.text) || line_end(&word.text))
}

/// A test that sleeps is slow where it passes and fails where the machine is slower.
pub fn sleeping_tests(source: &Source) -> Vec<String> {
    matching(source, test_part(source), |word| {
        let sleeps = matches!(word.text.as_str(), "sleep" | "sleep_until");
        sleeps && word.before.iter().all(|before| before == ":")
    })
}

/// A fixed port is taken when the test runs twice.
pub fn fixed_ports(source: &Source) -> Vec<String> {
    const HOSTS: [&str; 4] = ["127.0.0.1:", "localhost:", "[::1]:", "0.0.0.0:"];
    let fixed = |literal: &str, host: &str| {
        let mut behind = literal.split(host).skip(1);
        behind.any(|port| port.starts_with(|digit: char| ('1'..='9').contains(&digit)))
    };
    matching(source, test_part(source), |word| {
        word.text.contains('"') && HOSTS.iter().any(|host| fixed(&word.text, host))
    })
}

/// A file that no `mod` names is not built: it rots.
pub fn dead_files(sources: &[Source]) -> Vec<String> {
    let declares = |parent: &str, name: &str| {
        let source = sources.iter().find(|source| source.path == parent);
        source.is_some_and(|source| {
            parse(source).items.iter().any(|item| matches!(item, Item::Mod(m) if m.ident == name))
        })
    };
    let is_dead = |source: &&Source| {
        let Some((folder, module)) = source.path.split_once("/src/") else { return false };
        let module = module.trim_end_matches(".rs");
        let (above, name) = module.rsplit_once('/').unwrap_or(("", module));
        let parents = match above {
            "" => vec![format!("{folder}/src/lib.rs"), format!("{folder}/src/main.rs")],
            above => vec![format!("{folder}/src/{above}.rs")],
        };
        let is_root = above.is_empty() && matches!(name, "lib" | "main");
        !is_root && !parents.iter().any(|path| declares(path, name))
    };
    let rust = sources.iter().filter(|source| source.is_rust());
    rust.filter(is_dead).map(|source| source.finding(1, "no `mod` names this file")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(rule: fn(&Source) -> Vec<String>, path: &str, text: &str) -> usize {
        rule(&Source::new(path, text)).len()
    }

    #[test]
    fn functions() {
        let text = |lines: usize| format!("fn f() {{\n{}}}\n", "    g();\n".repeat(lines));
        assert_eq!(found(long_functions, "a.rs", &text(68)), 0);
        assert_eq!(found(long_functions, "a.rs", &text(69)), 1);
        let method = format!("impl A {{ {} }}", text(69));
        assert_eq!(found(long_functions, "a.rs", &method), 1);
    }

    #[test]
    fn purity() {
        let core = |text| found(core_purity, "core/src/a.rs", text);
        assert_eq!(core("fn f(a: &'static str) -> u8 { 1 }"), 0);
        assert_eq!(core("/// Not std, not async.\nfn f() { g(\"std\") }"), 0);
        assert_eq!(core("#[cfg(test)] mod tests { use std::vec::Vec; }"), 0);
        for bad in [
            "use std::vec::Vec;",
            "extern crate alloc;",
            "async fn f() {}",
            "fn f() { unsafe { g() } }",
            "fn f(a: &dyn B) {}",
            "static COUNT: u8 = 0;",
            "fn f() { println!(\"x\") }",
            "macro_rules! m { () => { std::mem::drop(1) } }",
        ] {
            assert_eq!(core(bad), 1, "{bad}");
        }
        assert_eq!(found(core_purity, "core/src/drive.rs", "async fn f() {}"), 0);
    }

    #[test]
    fn panics() {
        let core = |text| found(core_panics, "core/src/a.rs", text);
        assert_eq!(core("fn f(a: &[u8]) -> Option<&u8> { a.get(1) }"), 0);
        assert_eq!(core("#[cfg(test)] mod tests { fn f() { g().unwrap() } }"), 0);
        assert_eq!(core("fn f(a: &[u8]) -> u8 { a[1] }"), 1);
        assert_eq!(core("fn f() { g().unwrap(); h().expect(\"reason\") }"), 2);
        assert_eq!(core("fn f() { assert!(true); match () { () => unreachable!() } }"), 2);
        assert_eq!(core("const A: u8 = match b() { Some(b) => b, None => panic!() };"), 0);
    }

    #[test]
    fn replies_and_line_ends() {
        let reply = |text| found(reply_text, "core/src/a.rs", text);
        assert_eq!(reply("const A: &str = \"2500 mails\"; const B: u16 = 250;"), 0);
        assert_eq!(reply("const A: &[u8] = b\"250 ok\"; const B: &str = \"354-x\";"), 2);
        let host = |text| found(smtp_syntax, "host/src/a.rs", text);
        assert_eq!(host("const A: &str = \"a\\n\";"), 0);
        assert_eq!(host("const A: &[u8] = b\"QUIT\\r\\n\"; const B: &str = \"550 no\";"), 2);
    }

    #[test]
    fn tests_that_sleep_or_fix_a_port() {
        let sleeps = |path, text| found(sleeping_tests, path, text);
        let sleep = ["fn f() { std::thread::sl", "eep(d) }"].concat();
        assert_eq!(sleeps("tests/a.rs", &sleep), 1);
        let until = ["async fn f() { tokio::time::sl", "eep_until(at).await }"].concat();
        assert_eq!(sleeps("tests/a.rs", &until), 1);
        assert_eq!(sleeps("host/src/a.rs", &sleep), 0);
        let in_tests = format!("#[cfg(test)] mod tests {{ {sleep} }}");
        assert_eq!(sleeps("host/src/a.rs", &in_tests), 1);
        assert_eq!(sleeps("tests/a.rs", "fn f() { cat.sleep() }"), 0);
        let ports = |text: &str| found(fixed_ports, "tests/a.rs", text);
        assert_eq!(ports("fn f() { bind(\"127.0.0.1:0\") }"), 0);
        assert_eq!(ports(&["fn f() { bind(\"127.0.0.1:", "2525\") }"].concat()), 1);
    }

    #[test]
    fn files_that_nobody_names() {
        let tree = |lib: &str| {
            [Source::new("core/src/lib.rs", lib), Source::new("core/src/a.rs", "mod b;")]
                .into_iter()
                .chain([Source::new("core/src/a/b.rs", "")])
                .collect::<Vec<_>>()
        };
        assert_eq!(dead_files(&tree("mod a;")).len(), 0);
        assert_eq!(dead_files(&tree("")), ["core/src/a.rs:1: no `mod` names this file"]);
    }
}
