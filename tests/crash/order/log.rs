//! The shim's log as calls.
//! Never judges them.

/// One call, from the number at which it began to the number at which it had ended.
#[derive(Clone, Debug)]
pub struct Call {
    pub begin: u64,
    pub end: u64,
    pub name: String,
    pub descriptor: i64,
    pub result: i64,
    /// Empty for sockets.
    pub path: String,
    /// The first bytes that went over a socket, those that do not print as `\x0d`.
    pub text: String,
}

/// All calls in the order in which they began.
pub fn parse(log: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = log.lines().map(parse_line).collect();
    calls.sort_by_key(|call| call.begin);
    calls
}

fn parse_line(line: &str) -> Call {
    let fields: Vec<&str> = line.split('\t').collect();
    let [begin, end, _thread, name, descriptor, _offset, _length, result, path, text] = fields[..]
    else {
        panic!("not a line of the shim: {line:?}");
    };
    Call {
        begin: begin.parse().unwrap(),
        end: end.parse().unwrap(),
        name: name.to_owned(),
        descriptor: descriptor.parse().unwrap(),
        result: result.parse().unwrap(),
        path: path.to_owned(),
        text: text.to_owned(),
    }
}
