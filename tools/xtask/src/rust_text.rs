//! Takes Rust source apart by lines: what is code, comment or literal, and what is built for tests only.
//! Never parses: it knows tokens and brackets, no grammar, and takes any text without failing.
//!
//! ```text
//! text      let a = "b"; // c        what stands in the file
//! code      let a =    ;             comments and literals blank
//! unquoted  let a =    ; // c        literals blank
//! ```

/// One line of Rust source in three readings.
#[derive(Debug)]
pub(crate) struct Line {
    /// As it stands in the file, without its line feed.
    pub(crate) text: String,
    /// Comments and literals are spaces.
    pub(crate) code: String,
    /// Literals are spaces, comments stand.
    pub(crate) unquoted: String,
    /// The characters outside of literals.
    pub(crate) chars_unquoted: usize,
    /// Belongs to an item under `#[cfg(test)]`.
    pub(crate) in_test: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Code,
    Comment,
    Literal,
}

/// The lines of a source file.
pub(crate) fn lines(text: &str) -> Vec<Line> {
    let chars: Vec<char> = text.chars().collect();
    let parts = parts(&chars);
    let code: Vec<char> = reading(&chars, &parts, |part| part == Part::Code);
    let unquoted: Vec<char> = reading(&chars, &parts, |part| part != Part::Literal);
    let in_test = in_test(&code);

    let mut lines = Vec::new();
    let mut start = 0;
    while start < chars.len() {
        let length = chars[start..].iter().position(|&c| c == '\n');
        let end = length.map_or(chars.len(), |length| start + length);
        let literals = parts[start..end].iter().filter(|&&p| p == Part::Literal);
        lines.push(Line {
            text: chars[start..end].iter().collect(),
            code: code[start..end].iter().collect(),
            unquoted: unquoted[start..end].iter().collect(),
            chars_unquoted: end - start - literals.count(),
            in_test: in_test[start..end].contains(&true),
        });
        start = end + 1;
    }
    lines
}

/// Whether `text` holds `name`, and not as a piece of a longer name.
pub(crate) fn names(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        let cut_before = name.starts_with(is_in_word) && before.is_some_and(is_in_word);
        let cut_after = name.ends_with(is_in_word) && after.is_some_and(is_in_word);
        !cut_before && !cut_after
    })
}

/// Whether `c` can stand within an identifier.
pub(crate) fn is_in_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn reading(chars: &[char], parts: &[Part], kept: impl Fn(Part) -> bool) -> Vec<char> {
    let pairs = chars.iter().zip(parts);
    pairs.map(|(&c, &part)| if c == '\n' || kept(part) { c } else { ' ' }).collect()
}

fn parts(chars: &[char]) -> Vec<Part> {
    let mut parts = vec![Part::Code; chars.len()];
    let mut at = 0;
    while at < chars.len() {
        let (part, end) = match (chars[at], chars.get(at + 1)) {
            ('/', Some('/')) => (Part::Comment, end_of_line(chars, at)),
            ('/', Some('*')) => (Part::Comment, end_of_block_comment(chars, at)),
            ('"', _) => (Part::Literal, end_of_string(chars, at)),
            ('\'', _) => (Part::Literal, end_of_char(chars, at)),
            ('r', Some('"' | '#')) if begins_literal(chars, at) => {
                (Part::Literal, end_of_raw_string(chars, at))
            }
            _ => (Part::Code, at + 1),
        };
        // A literal or comment that the text's end cuts off reaches to that end; an end that lies
        // at its start (a lifetime's quote, a raw name) means that it was none.
        let end = end.min(chars.len());
        if end > at {
            parts[at..end].fill(part);
        }
        at = end.max(at + 1);
    }
    parts
}

/// The `r` of a raw string may follow a `b` or `c`, and no other part of a name.
fn begins_literal(chars: &[char], at: usize) -> bool {
    let is_word = |at: Option<usize>| at.is_some_and(|at| is_in_word(chars[at]));
    let prefix = at.checked_sub(1);
    match prefix.map(|prefix| chars[prefix]) {
        Some('b' | 'c') => !is_word(at.checked_sub(2)),
        _ => !is_word(prefix),
    }
}

fn end_of_line(chars: &[char], at: usize) -> usize {
    let length = chars[at..].iter().position(|&c| c == '\n');
    length.map_or(chars.len(), |length| at + length)
}

fn end_of_block_comment(chars: &[char], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => depth += 1,
            ('*', Some('/')) => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

fn end_of_string(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

fn end_of_raw_string(chars: &[char], start: usize) -> usize {
    let hashes = chars[start + 1..].iter().take_while(|&&c| c == '#').count();
    let open = start + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return start; // a raw name such as r#type
    }
    (open + 1..chars.len())
        .filter(|&at| chars[at] == '"')
        .map(|at| at + 1..at + 1 + hashes)
        .find(|tail| chars.get(tail.clone()).is_some_and(|t| t.iter().all(|&c| c == '#')))
        .map_or(chars.len(), |tail| tail.end)
}

fn end_of_char(chars: &[char], start: usize) -> usize {
    match (chars.get(start + 1), chars.get(start + 2)) {
        (Some('\\'), _) => {
            let rest = chars.get(start + 3..).unwrap_or_default();
            let length = rest.iter().position(|&c| c == '\'');
            length.map_or(start, |length| start + 3 + length + 1)
        }
        (Some(_), Some('\'')) => start + 3,
        _ => start, // a lifetime
    }
}

/// For each character of `code` whether it belongs to an item that is built for tests only.
fn in_test(code: &[char]) -> Vec<bool> {
    let mut marks = vec![false; code.len()];
    let mut at = 0;
    while at < code.len() {
        if begins_with(&code[at..], "#![cfg(test)]") {
            marks.fill(true);
            break;
        }
        let is_attribute =
            begins_with(&code[at..], "#[cfg(test)]") || begins_with(&code[at..], "#[cfg(all(test,");
        if is_attribute {
            let end = end_of_item(code, at);
            marks[at..end].fill(true);
            at = end;
        } else {
            at += 1;
        }
    }
    marks
}

fn begins_with(chars: &[char], start: &str) -> bool {
    start.chars().count() <= chars.len() && start.chars().zip(chars).all(|(a, &b)| a == b)
}

/// Where the item ends whose attributes begin at `start`: at its `;` or at its last brace.
fn end_of_item(code: &[char], start: usize) -> usize {
    let mut depth = 0_usize;
    for (at, &c) in code.iter().enumerate().skip(start) {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && (c == ';' || c == '}') {
            return at + 1;
        }
    }
    code.len()
}

#[cfg(test)]
mod tests;
