//! The direction of imports in the core.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Ident, ItemMod, Path, UseTree};

use super::Source;
use super::rust::product;

/// What a module of the core may not know: `wire <- session, client <- drive`.
const FORBIDDEN: [(&str, &[&str]); 6] = [
    ("wire", &["session", "client", "drive", "envelope", "retry", "trace"]),
    ("session", &["client", "drive", "envelope", "retry"]),
    ("client", &["session", "drive", "retry"]),
    ("envelope", &["session", "client", "drive"]),
    ("retry", &["session", "client", "drive", "wire"]),
    ("trace", &["session", "client", "drive"]),
];

struct Imports<'s> {
    source: &'s Source,
    module: Vec<String>,
    forbidden: &'static [&'static str],
    found: Vec<String>,
}

impl Imports<'_> {
    /// Follows `crate`, `self` and `super` from the module that it stands in, to the name of the
    /// crate's module that a path leads to.
    fn check(&mut self, path: &[&Ident]) {
        let Some(first) = path.first() else { return };
        let mut at = match first.to_string().as_str() {
            "crate" => Vec::new(),
            "self" | "super" => self.module.clone(),
            _ => return,
        };
        for ident in path {
            match ident.to_string().as_str() {
                "crate" | "self" => {}
                "super" => drop(at.pop()),
                name => at.push(name.to_owned()),
            }
        }
        if let Some(name) = at.first().filter(|name| self.forbidden.contains(&name.as_str())) {
            let what = format!("{} may not know {name}", self.module[0]);
            self.found.push(self.source.finding(first.span().start().line, &what));
        }
    }

    fn check_tree<'t>(&mut self, tree: &'t UseTree, above: &[&'t Ident]) {
        let with = |ident: &'t Ident| [above, &[ident]].concat();
        match tree {
            UseTree::Path(path) => self.check_tree(&path.tree, &with(&path.ident)),
            UseTree::Name(name) => self.check(&with(&name.ident)),
            UseTree::Rename(rename) => self.check(&with(&rename.ident)),
            UseTree::Glob(_) => self.check(above),
            UseTree::Group(group) => {
                group.items.iter().for_each(|item| self.check_tree(item, above));
            }
        }
    }
}

impl<'ast> Visit<'ast> for Imports<'_> {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.check_tree(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast Path) {
        let idents: Vec<&Ident> = path.segments.iter().map(|segment| &segment.ident).collect();
        self.check(&idents);
        visit::visit_path(self, path);
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }
}

/// A lower layer that knows a higher one can't be read, tested or used alone.
pub fn direction(source: &Source) -> Vec<String> {
    let Some(module) = source.path.strip_prefix("core/src/") else { return Vec::new() };
    let module: Vec<String> =
        module.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    let Some((_, forbidden)) = FORBIDDEN.iter().find(|(name, _)| module[0] == *name) else {
        return Vec::new();
    };
    let mut imports = Imports { source, module, forbidden, found: Vec::new() };
    imports.visit_file(&product(source));
    imports.found
}

#[cfg(test)]
mod tests {
    use super::{Source, direction};

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
}
