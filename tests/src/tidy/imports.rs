//! The direction of imports in the core, and circles of imports in any crate.

use std::collections::{BTreeMap, BTreeSet};

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Ident, ItemMod, Path, UseTree};

use super::Source;
use super::rust::product;

/// What a module of the core may not know: `wire <- session, client <- drive`.
const FORBIDDEN: [(&str, &[&str]); 9] = [
    ("appletalk", &["session", "client", "drive", "envelope", "retry", "trace"]),
    ("wire", &["session", "client", "drive", "envelope", "retry", "trace", "appletalk"]),
    ("session", &["client", "drive", "envelope", "retry", "appletalk"]),
    ("client", &["session", "drive", "retry", "appletalk"]),
    ("envelope", &["session", "client", "drive"]),
    ("retry", &["session", "client", "drive", "wire"]),
    ("ladder", &["session", "client", "drive", "wire", "envelope"]),
    ("agenda", &["session", "client", "drive", "wire", "envelope"]),
    ("trace", &["session", "client", "drive"]),
];

/// The path of a module or an item, from the root of its crate.
type Name = Vec<String>;

/// A path within the crate, written in some module.
struct Import {
    /// The module that it is written in.
    from: Name,
    /// The path from the root of the crate.
    to: Name,
    /// The name that a `use` gives to it.
    alias: Option<String>,
    line: usize,
}

/// Gathers the paths of a file, each as if it led into the crate: what is outside names no module
/// of it. Paths in a macro's arguments, and names that come by a glob, are not seen.
struct Imports {
    module: Name,
    found: Vec<Import>,
}

impl Imports {
    /// The imports of what is built into the product of a file of `folder`.
    fn of(source: &Source, folder: &str) -> Vec<Import> {
        let mut imports = Self { module: module(source, folder), found: Vec::new() };
        imports.visit_file(&product(source));
        imports.found
    }

    fn add(&mut self, path: &[&Ident], alias: Option<String>) {
        let Some(first) = path.first() else { return };
        let mut to = if *first == "crate" { Vec::new() } else { self.module.clone() };
        for ident in path {
            match ident.to_string().as_str() {
                "crate" | "self" => {}
                "super" => drop(to.pop()),
                name => to.push(name.to_owned()),
            }
        }
        let line = first.span().start().line;
        self.found.push(Import { from: self.module.clone(), to, alias, line });
    }

    fn add_tree<'t>(&mut self, tree: &'t UseTree, above: &[&'t Ident]) {
        let with = |ident: &'t Ident| [above, &[ident]].concat();
        match tree {
            UseTree::Path(path) => self.add_tree(&path.tree, &with(&path.ident)),
            UseTree::Name(name) => {
                // `use a::b::{self}` names b.
                let named = if name.ident == "self" { above.last() } else { Some(&&name.ident) };
                self.add(&with(&name.ident), named.map(ToString::to_string));
            }
            UseTree::Rename(rename) => {
                self.add(&with(&rename.ident), Some(rename.rename.to_string()));
            }
            UseTree::Glob(_) => self.add(above, None),
            UseTree::Group(group) => {
                group.items.iter().for_each(|item| self.add_tree(item, above));
            }
        }
    }
}

impl<'ast> Visit<'ast> for Imports {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_tree(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast Path) {
        let idents: Vec<&Ident> = path.segments.iter().map(|segment| &segment.ident).collect();
        self.add(&idents, None);
        visit::visit_path(self, path);
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }
}

/// The module that a file of the crate in `folder` (`core/src/`) is; empty for its root.
fn module(source: &Source, folder: &str) -> Name {
    let path = source.path.strip_prefix(folder).unwrap_or(&source.path);
    match path.trim_end_matches(".rs") {
        "lib" | "main" => Vec::new(),
        module => module.split('/').map(str::to_owned).collect(),
    }
}

/// A lower layer that knows a higher one can't be read, tested or used alone.
pub fn direction(source: &Source) -> Vec<String> {
    let module = module(source, "core/src/");
    let forbidden = FORBIDDEN.iter().find(|(name, _)| module.first().is_some_and(|m| m == name));
    let Some((name, forbidden)) = forbidden else { return Vec::new() };
    let imports = Imports::of(source, "core/src/").into_iter();
    imports
        .filter_map(|import| {
            let known = import.to.first().filter(|known| forbidden.contains(&known.as_str()))?;
            Some(source.finding(import.line, &format!("{name} may not know {known}")))
        })
        .collect()
}

/// The modules of a crate.
struct Crate {
    modules: BTreeSet<Name>,
    /// What the `use`s of each module call what.
    aliases: BTreeMap<Name, BTreeMap<String, Name>>,
}

impl Crate {
    /// The module that has what `path` names, through re-exports: `crate::Out` is in `wire::out`
    /// when the root says `pub use wire::out::Out`.
    fn home(&self, path: &[String]) -> Name {
        // As many re-exports in a row as anybody writes; a circle of them ends here.
        const STEPS: usize = 8;
        let mut path = path.to_vec();
        for _ in 0..STEPS {
            let home = self.longest_module(&path);
            let next = path.get(home.len()).and_then(|name| self.aliases.get(&home)?.get(name));
            let Some(next) = next else { return home };
            path = [next.as_slice(), &path[home.len() + 1..]].concat();
        }
        self.longest_module(&path)
    }

    fn longest_module(&self, path: &[String]) -> Name {
        let is_module = |length: &usize| self.modules.contains(&path[..*length]);
        let length = (1..=path.len()).rev().find(is_module).unwrap_or(0);
        path[..length].to_vec()
    }
}

/// Modules that import each other in a circle are one module in several files: none of them can be
/// read, tested or changed without the others. Each is compared with its siblings; what is below a
/// module counts as a part of it. A parent and its child may know each other.
pub fn circles(sources: &[Source], folder: &str) -> Vec<String> {
    let files: Vec<&Source> = sources
        .iter()
        .filter(|source| source.is_rust() && source.path.starts_with(folder))
        .filter(|source| !source.is_test())
        .collect();
    let imports: Vec<(&Source, Import)> = files
        .iter()
        .flat_map(|source| Imports::of(source, folder).into_iter().map(|import| (*source, import)))
        .collect();
    let modules: BTreeSet<Name> = files.iter().map(|source| module(source, folder)).collect();
    let mut aliases = BTreeMap::<Name, BTreeMap<String, Name>>::new();
    for (_, import) in &imports {
        if let Some(alias) = &import.alias {
            let named = aliases.entry(import.from.clone()).or_default();
            named.insert(alias.clone(), import.to.clone());
        }
    }
    let krate = Crate { modules, aliases };
    // Where a sibling first imports another.
    let mut edges = BTreeMap::<(Name, Name), String>::new();
    for (source, import) in &imports {
        let (from, to) = (krate.home(&import.from), krate.home(&import.to));
        let common = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
        if let (Some(one), Some(other)) = (from.get(..=common), to.get(..=common)) {
            let what = format!("{} imports {}", one.join("::"), other.join("::"));
            let finding = || source.finding(import.line, &what);
            edges.entry((one.to_vec(), other.to_vec())).or_insert_with(finding);
        }
    }
    in_circles(&edges)
}

/// The edges from which a way leads back to where they begin.
fn in_circles(edges: &BTreeMap<(Name, Name), String>) -> Vec<String> {
    let leads = |from: &Name, to: &Name| {
        let (mut seen, mut open) = (BTreeSet::from([from]), vec![from]);
        while let Some(at) = open.pop() {
            let next = edges.keys().filter(|(one, _)| one == at).map(|(_, other)| other);
            open.extend(next.filter(|other| seen.insert(other)));
        }
        seen.contains(to)
    };
    let circular = edges.iter().filter(|((from, to), _)| leads(to, from));
    circular.map(|(_, finding)| format!("{finding}, in a circle")).collect()
}

#[cfg(test)]
mod tests {
    use super::{Source, circles, direction};

    fn found(path: &str, text: &str) -> usize {
        direction(&Source::new(path, text)).len()
    }

    #[test]
    fn lower_layers_do_not_know_higher_ones() {
        assert_eq!(found("core/src/session/a.rs", "use crate::wire::Out; use super::b;"), 0);
        assert_eq!(found("core/src/drive.rs", "use crate::session::Session;"), 0);
        for bad in [
            "use crate::session::Session;",
            "use crate::{time, session::{Session, Step}};",
            "use super::super::client as c;",
            "fn f() { crate::drive::serve() }",
            "mod inner { use super::super::super::session::*; }",
        ] {
            assert_ne!(found("core/src/wire/a.rs", bad), 0, "{bad}");
        }
        assert_eq!(found("core/src/wire.rs", "use super::session::Step;"), 1);
        assert_eq!(found("core/src/client.rs", "use crate::session::Step;"), 1);
        let test = "#[cfg(test)] mod tests { use crate::session::Step; }";
        assert_eq!(found("core/src/wire/a.rs", test), 0);
    }

    /// The circles in a crate of these files.
    fn circles_in(files: &[(&str, &str)]) -> Vec<String> {
        let source = |(path, text): &(&str, &str)| Source::new(&format!("x/src/{path}"), text);
        circles(&files.iter().map(source).collect::<Vec<_>>(), "x/src/")
    }

    #[test]
    fn modules_that_import_each_other_are_found() {
        let a = ("a.rs", "use crate::b::B;");
        assert_eq!(circles_in(&[a, ("b.rs", "use std::fmt; struct B;")]), [""; 0]);
        assert_eq!(
            circles_in(&[a, ("b.rs", "\nuse super::a::A;")]),
            ["x/src/a.rs:1: a imports b, in a circle", "x/src/b.rs:2: b imports a, in a circle",]
        );
        let far = [a, ("b.rs", "fn f() { crate::c::g() }"), ("c.rs", "use crate::a;")];
        assert_eq!(circles_in(&far).len(), 3);
        let test = ("b.rs", "#[cfg(test)] mod tests { use crate::a::A; }");
        assert_eq!(circles_in(&[a, test]), [""; 0]);
        // A way into a circle is none.
        assert_eq!(
            circles_in(&[a, ("b.rs", "use crate::c::C;"), ("c.rs", "use crate::b;")]).len(),
            2
        );
    }

    #[test]
    fn circles_are_seen_through_names_that_another_module_passes_on() {
        let b = ("b.rs", "use crate::A;");
        let through = |root| circles_in(&[("lib.rs", root), ("a.rs", "use crate::b;"), b]).len();
        assert_eq!(through("pub use a::A;"), 2);
        assert_eq!(through("pub use self::c::{self, D as A}; pub use a::C;"), 0);
        assert_eq!(through("pub use a::{self as d}; pub use d::A;"), 2);
        let endless = [("a.rs", "pub use crate::b::X;"), ("b.rs", "pub use crate::a::X;")];
        assert_eq!(circles_in(&endless).len(), 2);
    }

    #[test]
    fn siblings_are_compared_and_parents_are_not() {
        let parent = [("a.rs", "use b::B; struct A;"), ("a/b.rs", "use super::A;")];
        assert_eq!(circles_in(&parent), [""; 0]);
        let siblings = [("a/b.rs", "use super::c::C;"), ("a/c.rs", "use super::b::B;")];
        assert_eq!(circles_in(&siblings).len(), 2);
        // What is below a module is a part of it.
        let cousins =
            [("a/b.rs", "use crate::c::C;"), ("c.rs", "use crate::a::b::B;"), ("a.rs", "")];
        let found = circles_in(&cousins);
        assert_eq!(
            found.first().map(String::as_str),
            Some("x/src/a/b.rs:1: a imports c, in a circle")
        );
    }
}
