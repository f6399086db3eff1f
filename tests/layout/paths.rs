//! Every path that a source file names, read from its tokens.
//!
//! Text goes in, a [`Source`] comes out: imports with their groups opened, paths in expressions,
//! types, attributes and macro bodies, the modules that are declared, the leading doc comment.
//! This file must never know a rule.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use std::collections::HashSet;
use std::str::FromStr;

/// A path as it is written, with groups opened and aliases dropped.
#[derive(Debug, Clone, PartialEq)]
pub struct Mention {
    /// `crate`, `self`, `super`, names, `*`; a metavariable keeps its `$`.
    pub segments: Vec<String>,
    /// Written with a leading `::`, or by `extern crate`.
    pub global: bool,
    /// In a `use` or an `extern crate`.
    pub import: bool,
    /// In a `use` or an `extern crate` that others see: `pub`, `pub(crate)` and so on.
    pub public: bool,
    /// The inline modules around it, outermost first.
    pub scope: Vec<String>,
    /// Line, from 1.
    pub line: usize,
}

/// A `mod` in a file.
#[derive(Debug)]
pub struct Module {
    pub name: String,
    /// With a body in braces.
    pub inline: bool,
    /// How many inline modules stand around it.
    pub depth: usize,
    pub line: usize,
}

/// What was read from a file.
#[derive(Debug, Default)]
pub struct Source {
    pub mentions: Vec<Mention>,
    pub modules: Vec<Module>,
    /// Names that stand for something in this crate: declared modules and imports from it.
    pub locals: HashSet<String>,
    /// The leading inner doc comment, one line a line.
    pub doc: String,
    /// Lines that bring code in from elsewhere: `#[path = …]` and `include!("…")`.
    pub elsewhere: Vec<usize>,
}

/// Words that are no start of a path although a `::` may follow.
const KEYWORDS: &[&str] = &[
    "as", "async", "await", "break", "const", "continue", "dyn", "else", "enum", "extern", "fn",
    "for", "if", "impl", "in", "let", "loop", "match", "mod", "move", "mut", "pub", "ref",
    "return", "static", "struct", "trait", "type", "unsafe", "use", "where", "while", "yield",
];

impl Source {
    /// Reads a file's text.
    ///
    /// # Errors
    /// What the lexer says, when this is not Rust.
    pub fn read(text: &str) -> Result<Self, String> {
        let stream = TokenStream::from_str(text).map_err(|error| error.to_string())?;
        let tokens: Vec<TokenTree> = stream.into_iter().collect();
        let mut reader = Reader::default();
        reader.source.doc = leading_doc(&tokens);
        reader.walk(&tokens, false);
        Ok(reader.source)
    }
}

#[derive(Default)]
struct Reader {
    source: Source,
    scope: Vec<String>,
}

impl Reader {
    fn walk(&mut self, tokens: &[TokenTree], in_attribute: bool) {
        let mut at = 0;
        while at < tokens.len() {
            at = self.step(tokens, at, in_attribute);
        }
    }

    /// Reads what begins at `at` and says where the next thing begins.
    fn step(&mut self, tokens: &[TokenTree], at: usize, in_attribute: bool) -> usize {
        let next = tokens.get(at + 1);
        match &tokens[at] {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                let body = if is_punct(next, '!') { at + 2 } else { at + 1 };
                if let Some(TokenTree::Group(group)) = tokens.get(body)
                    && group.delimiter() == Delimiter::Bracket
                {
                    self.attribute(&group.stream().into_iter().collect::<Vec<_>>());
                    return body + 1;
                }
                at + 1
            }
            TokenTree::Punct(_) if is_separator(tokens, at) => {
                self.tree(tokens, at, &Mention::new(false, &self.scope)).max(at + 2)
            }
            TokenTree::Punct(_) => at + 1,
            TokenTree::Group(group) => {
                self.walk(&group.stream().into_iter().collect::<Vec<_>>(), in_attribute);
                at + 1
            }
            TokenTree::Literal(literal) => {
                if in_attribute {
                    self.path_in_string(&literal.to_string(), literal.span().start().line);
                }
                at + 1
            }
            TokenTree::Ident(ident) => match ident.to_string().as_str() {
                "use" => {
                    let public = is_public(&tokens[..at]);
                    self.tree(
                        tokens,
                        at + 1,
                        &Mention { public, ..Mention::new(true, &self.scope) },
                    )
                }
                "extern" if is_ident(next, "crate") => self.extern_crate(tokens, at + 2),
                "include" if is_punct(next, '!') && begins_with_literal(tokens.get(at + 2)) => {
                    self.source.elsewhere.push(ident.span().start().line);
                    at + 3
                }
                "mod" => self.module(tokens, at + 1),
                word if KEYWORDS.contains(&word) => at + 1,
                _ if at > 0 && is_punct(tokens.get(at - 1), '$') && *ident != "crate" => at + 1,
                _ => self.tree(tokens, at, &Mention::new(false, &self.scope)),
            },
        }
    }

    /// An attribute other than a doc comment is code; a string in it may be a path, as serde's
    /// `with = "…"` is.
    fn attribute(&mut self, tokens: &[TokenTree]) {
        if is_ident(tokens.first(), "doc") {
            return;
        }
        let sets_path = |tokens: &[TokenTree]| {
            tokens
                .windows(2)
                .any(|pair| is_ident(pair.first(), "path") && is_punct(pair.get(1), '='))
        };
        let conditional = is_ident(tokens.first(), "cfg_attr")
            && matches!(tokens.get(1), Some(TokenTree::Group(group))
                if sets_path(&group.stream().into_iter().collect::<Vec<_>>()));
        if conditional || (is_ident(tokens.first(), "path") && sets_path(tokens)) {
            self.source.elsewhere.push(tokens[0].span().start().line);
        }
        self.walk(tokens, true);
    }

    fn path_in_string(&mut self, literal: &str, line: usize) {
        let text = literal.trim_matches(|c| matches!(c, 'r' | '#' | '"'));
        let global = text.starts_with("::");
        let segments: Vec<String> =
            text.trim_start_matches("::").split("::").map(str::to_owned).collect();
        let is_name = |segment: &String| {
            !segment.is_empty() && segment.chars().all(|c| c.is_alphanumeric() || c == '_')
        };
        if (global || segments.len() > 1) && segments.iter().all(is_name) {
            let mention = Mention::new(false, &self.scope);
            self.source.mentions.push(Mention { segments, global, line, ..mention });
        }
    }

    fn extern_crate(&mut self, tokens: &[TokenTree], at: usize) -> usize {
        if let Some(TokenTree::Ident(ident)) = tokens.get(at) {
            let name = ident.to_string();
            let itself = name == "self";
            self.source.mentions.push(Mention {
                segments: vec![if itself { "crate".to_owned() } else { name }],
                global: !itself,
                public: is_public(&tokens[..at - 2]),
                line: ident.span().start().line,
                ..Mention::new(true, &self.scope)
            });
        }
        at + 1
    }

    fn module(&mut self, tokens: &[TokenTree], at: usize) -> usize {
        let Some(TokenTree::Ident(ident)) = tokens.get(at) else { return at };
        let name = plain(&ident.to_string());
        let body = match tokens.get(at + 1) {
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => Some(group),
            _ => None,
        };
        self.source.locals.insert(name.clone());
        self.source.modules.push(Module {
            name: name.clone(),
            inline: body.is_some(),
            depth: self.scope.len(),
            line: ident.span().start().line,
        });
        let Some(group) = body else { return at + 1 };
        self.scope.push(name);
        self.walk(&group.stream().into_iter().collect::<Vec<_>>(), false);
        self.scope.pop();
        at + 2
    }

    /// Reads a path, or a tree of paths, that begins at `at` and goes on from `prefix`.
    fn tree(&mut self, tokens: &[TokenTree], mut at: usize, prefix: &Mention) -> usize {
        let mut path = prefix.clone();
        while let Some(token) = tokens.get(at) {
            if path.line == 0 {
                path.line = token.span().start().line;
            }
            match token {
                TokenTree::Punct(_) if is_separator(tokens, at) => {
                    path.global |= path.segments.is_empty();
                    at += 2;
                    continue;
                }
                TokenTree::Ident(ident) => {
                    path.segments.push(plain(&ident.to_string()));
                    at += 1;
                }
                TokenTree::Punct(punct) if punct.as_char() == '$' => {
                    let Some(TokenTree::Ident(ident)) = tokens.get(at + 1) else { break };
                    let name = ident.to_string();
                    path.segments.push(if name == "crate" { name } else { format!("${name}") });
                    at += 2;
                }
                TokenTree::Punct(punct) if punct.as_char() == '*' && path.import => {
                    path.segments.push("*".to_owned());
                    at += 1;
                }
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                    if !path.import && path.segments.is_empty() {
                        return at;
                    }
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    for item in inner.split(|token| is_punct(Some(token), ',')) {
                        let line = item.first().map_or(0, |token| token.span().start().line);
                        let import = true;
                        self.tree(item, 0, &Mention { line, import, ..path.clone() });
                    }
                    return at + 1;
                }
                _ => break,
            }
            if !is_separator(tokens, at) {
                break;
            }
        }
        let mut alias = None;
        if path.import && is_ident(tokens.get(at), "as") {
            alias = tokens.get(at + 1).map(|token| plain(&token.to_string()));
            at += 2;
        }
        self.finish(path, alias);
        at
    }

    fn finish(&mut self, mut path: Mention, alias: Option<String>) {
        // `a::{self}` imports `a`.
        if path.segments.len() > 1 && path.segments.last().is_some_and(|last| last == "self") {
            path.segments.pop();
        }
        let (Some(first), Some(last)) = (path.segments.first(), path.segments.last()) else {
            return;
        };
        if path.import && matches!(first.as_str(), "crate" | "self" | "super") {
            self.source.locals.insert(alias.unwrap_or_else(|| last.clone()));
        }
        if path.import || path.global || path.segments.len() > 1 {
            self.source.mentions.push(path);
        }
    }
}

impl Mention {
    fn new(import: bool, scope: &[String]) -> Self {
        let (segments, scope) = (Vec::new(), scope.to_vec());
        Self { segments, global: false, import, public: false, scope, line: 0 }
    }
}

/// The text of the inner doc attributes that a file begins with.
fn leading_doc(tokens: &[TokenTree]) -> String {
    let mut doc = String::new();
    for three in tokens.chunks(3) {
        let [hash, bang, TokenTree::Group(group)] = three else { break };
        let body: Vec<TokenTree> = group.stream().into_iter().collect();
        let (true, true, [name, _, TokenTree::Literal(text)]) =
            (is_punct(Some(hash), '#'), is_punct(Some(bang), '!'), body.as_slice())
        else {
            break;
        };
        if !is_ident(Some(name), "doc") {
            break;
        }
        doc.push_str(text.to_string().trim_matches('"').trim());
        doc.push('\n');
    }
    doc
}

/// A name without `r#`.
fn plain(name: &str) -> String {
    name.trim_start_matches("r#").to_owned()
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

fn is_ident(token: Option<&TokenTree>, wanted: &str) -> bool {
    matches!(token, Some(TokenTree::Ident(ident)) if ident == wanted)
}

/// Whether a `pub`, with or without a restriction, ends the tokens before an item.
fn is_public(before: &[TokenTree]) -> bool {
    match before {
        [.., public, TokenTree::Group(group)] if group.delimiter() == Delimiter::Parenthesis => {
            is_ident(Some(public), "pub")
        }
        _ => is_ident(before.last(), "pub"),
    }
}

fn begins_with_literal(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Group(group))
        if matches!(group.stream().into_iter().next(), Some(TokenTree::Literal(_))))
}

/// Whether `::` stands at `at`.
fn is_separator(tokens: &[TokenTree], at: usize) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Punct(punct))
        if punct.as_char() == ':' && punct.spacing() == Spacing::Joint)
        && is_punct(tokens.get(at + 1), ':')
}
