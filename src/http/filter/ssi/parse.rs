//! The language of SSI as it stands in a page: text, and commands `<!--#name key="value" … -->`, cut anywhere.
//!
//! Sans-io. Knows no command. Start at [`Parser::next`].

use super::super::super::log::Text;

/// Longest name of a command, and of a parameter.
const NAME_BYTES_MAX: usize = 32;

/// Parameters that one command may have.
pub const PARAMS_MAX: usize = 16;

/// What a command begins with.
const OPENING: &[u8] = b"<!--#";

/// What was found behind some text.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing: more bytes will tell.
    More,
    /// A command is complete.
    Command,
    /// Something that is no command is over. Holds the log's words.
    Malformed(String),
}

/// What the next byte is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Text,
    /// So many bytes of the opening were seen.
    Opening(usize),
    BeforeName,
    Name,
    BeforeKey,
    Key,
    AfterKey,
    BeforeValue,
    /// Inside these quotes.
    Value(u8),
    /// Behind a backslash inside these quotes.
    Escaped(u8),
    AfterValue,
    /// So many bytes of the end were seen.
    End(u8),
    /// In what is no command; so many bytes of the end were seen.
    Lost(u8),
}

/// Parameters of a command: names and values, in order.
pub type Params = Vec<(Vec<u8>, Vec<u8>)>;

/// Where a page has come to.
#[derive(Debug)]
pub struct Parser {
    state: State,
    /// Longest value.
    value_max: usize,
    name: Vec<u8>,
    params: Vec<(Vec<u8>, Vec<u8>)>,
    complaint: String,
}

impl Parser {
    /// A page's beginning.
    #[must_use]
    pub fn new(value_max: usize) -> Self {
        Self {
            state: State::Text,
            value_max,
            name: Vec::new(),
            params: Vec::new(),
            complaint: String::new(),
        }
    }

    /// Name and parameters of the command that was found.
    #[must_use]
    pub fn take_command(&mut self) -> (Vec<u8>, Params) {
        (
            std::mem::take(&mut self.name),
            std::mem::take(&mut self.params),
        )
    }

    /// Reads on until something is found. Text is appended to `text`; the count of bytes that were taken comes back.
    pub fn next(&mut self, input: &[u8], text: &mut Vec<u8>) -> (usize, Event) {
        let mut at = 0;
        while at < input.len() {
            if self.state == State::Text {
                let rest = &input[at..];
                let len = memchr::memchr(OPENING[0], rest).unwrap_or(rest.len());
                text.extend_from_slice(&rest[..len]);
                at += len;
                if len < rest.len() {
                    self.state = State::Opening(1);
                    at += 1;
                }
                continue;
            }
            let byte = input[at];
            if let State::Opening(seen) = self.state
                && byte != OPENING[seen]
            {
                // The byte itself may open a command.
                text.extend_from_slice(&OPENING[..seen]);
                self.state = State::Text;
                continue;
            }
            at += 1;
            if let Some(event) = self.step(byte) {
                self.state = State::Text;
                return (at, event);
            }
        }
        (at, Event::More)
    }

    /// The page is over: what could have become a command is text.
    pub fn end(&mut self, text: &mut Vec<u8>) {
        if let State::Opening(seen) = self.state {
            text.extend_from_slice(&OPENING[..seen]);
        }
        self.state = State::Text;
    }

    /// Takes one byte of a command.
    fn step(&mut self, byte: u8) -> Option<Event> {
        let blank = matches!(byte, b' ' | b'\r' | b'\n' | b'\t');
        self.state = match self.state {
            State::Text => State::Text,
            State::Opening(seen) if seen + 1 < OPENING.len() => State::Opening(seen + 1),
            State::Opening(_) => State::BeforeName,
            State::BeforeName | State::BeforeKey | State::AfterKey | State::BeforeValue
                if blank =>
            {
                self.state
            }
            State::BeforeName => {
                self.name.clear();
                self.params.clear();
                self.name.push(byte);
                State::Name
            }
            State::Name if blank => State::BeforeKey,
            State::Name | State::BeforeKey | State::AfterValue if byte == b'-' => State::End(1),
            State::Name => self.name_byte(byte),
            State::BeforeKey => {
                // One too many is kept, to be complained about.
                self.params.truncate(PARAMS_MAX);
                self.params.push((vec![byte], Vec::new()));
                State::Key
            }
            State::Key if blank => State::AfterKey,
            State::Key | State::AfterKey if byte == b'=' => State::BeforeValue,
            State::Key if byte != b'-' => self.key_byte(byte),
            State::Key | State::AfterKey => self.unexpected(byte, "after"),
            State::BeforeValue if matches!(byte, b'"' | b'\'') => State::Value(byte),
            State::BeforeValue => self.unexpected(byte, "before value of"),
            State::Value(quote) if byte == quote => State::AfterValue,
            State::Value(quote) if byte == b'\\' => self.value_byte(byte, State::Escaped(quote)),
            State::Value(quote) | State::Escaped(quote) => {
                self.value_byte(byte, State::Value(quote))
            }
            State::AfterValue if blank => State::BeforeKey,
            State::AfterValue => {
                let (key, value) = self.param();
                self.lose(format!(
                    "unexpected \"{}\" symbol after \"{}\" value of \"{}\" parameter in \"{}\" SSI command",
                    Text(&[byte]),
                    Text(value),
                    Text(key),
                    Text(&self.name)
                ))
            }
            State::End(1) if byte == b'-' => State::End(2),
            State::End(2) if byte == b'>' => return Some(Event::Command),
            State::End(_) => self.lose(format!(
                "unexpected \"{}\" symbol in \"{}\" SSI command",
                Text(&[byte]),
                Text(&self.name)
            )),
            State::Lost(2) if byte == b'>' => {
                return Some(Event::Malformed(std::mem::take(&mut self.complaint)));
            }
            State::Lost(seen @ 0..=1) if byte == b'-' => State::Lost(seen + 1),
            State::Lost(_) => State::Lost(0),
        };
        None
    }

    /// The parameter that is being read.
    fn param(&self) -> (&[u8], &[u8]) {
        match self.params.last() {
            Some((key, value)) => (key, value),
            None => (b"", b""),
        }
    }

    fn name_byte(&mut self, byte: u8) -> State {
        if self.name.len() == NAME_BYTES_MAX {
            let text = format!(
                "the \"{}{}...\" SSI command is too long",
                Text(&self.name),
                Text(&[byte])
            );
            return self.lose(text);
        }
        self.name.push(byte);
        State::Name
    }

    fn key_byte(&mut self, byte: u8) -> State {
        if self.param().0.len() == NAME_BYTES_MAX {
            let text = format!(
                "too long \"{}{}...\" parameter in \"{}\" SSI command",
                Text(self.param().0),
                Text(&[byte]),
                Text(&self.name)
            );
            return self.lose(text);
        }
        if let Some((key, _)) = self.params.last_mut() {
            key.push(byte);
        }
        State::Key
    }

    fn value_byte(&mut self, byte: u8, then: State) -> State {
        let (key, value) = self.param();
        if value.len() >= self.value_max {
            let text = format!(
                "too long \"{}{}...\" value of \"{}\" parameter in \"{}\" SSI command",
                Text(value),
                Text(&[byte]),
                Text(key),
                Text(&self.name)
            );
            return self.lose(text);
        }
        if let Some((_, value)) = self.params.last_mut() {
            value.push(byte);
        }
        then
    }

    fn unexpected(&mut self, byte: u8, place: &str) -> State {
        let text = format!(
            "unexpected \"{}\" symbol {place} \"{}\" parameter in \"{}\" SSI command",
            Text(&[byte]),
            Text(self.param().0),
            Text(&self.name)
        );
        match self.lose(text) {
            State::Lost(_) if byte == b'-' => State::Lost(1),
            other => other,
        }
    }

    /// What follows until the end is no command.
    fn lose(&mut self, complaint: String) -> State {
        self.complaint = complaint;
        State::Lost(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a page in pieces; commands come out as `[name key=value …]`, what is none as `[!]`.
    fn read(page: &[u8], step: usize) -> String {
        let mut parser = Parser::new(20);
        let mut out = Vec::new();
        for piece in page.chunks(step) {
            let mut at = 0;
            while at < piece.len() {
                let (taken, event) = parser.next(&piece[at..], &mut out);
                at += taken;
                match event {
                    Event::More => assert_eq!(at, piece.len()),
                    Event::Malformed(text) => {
                        assert!(!text.is_empty());
                        out.extend_from_slice(b"[!]");
                    }
                    Event::Command => {
                        let (name, params) = parser.take_command();
                        out.push(b'[');
                        out.extend_from_slice(&name);
                        for (key, value) in params {
                            out.push(b' ');
                            out.extend_from_slice(&key);
                            out.push(b'=');
                            out.extend_from_slice(&value);
                        }
                        out.push(b']');
                    }
                }
            }
        }
        parser.end(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn the_cut_makes_no_difference() {
        for (page, want) in [
            ("plain", "plain"),
            ("a<!--#echo var=\"x\" -->b", "a[echo var=x]b"),
            (
                "<!--# echo\tvar = 'x' default=\"y z\"-->",
                "[echo var=x default=y z]",
            ),
            ("<!--#endif-->", "[endif]"),
            ("<!--#endif -->", "[endif]"),
            ("<<!<!-<!--<!--#x -->", "<<!<!-<!--[x]"),
            ("<!-- comment -->", "<!-- comment -->"),
            ("end<", "end<"),
            ("end<!--", "end<!--"),
            ("end<!--#echo", "end"),
            (r#"<!--#x a="\"b\\" -->"#, r#"[x a=\"b\\]"#),
            ("<!--#x a-b=\"c\" -->d", "[!]d"),
            ("<!--#x a \"c\" -->d", "[!]d"),
            ("<!--#x a=c -->d", "[!]d"),
            ("<!--#x a=\"c\"d -->e", "[!]e"),
            ("<!--#x -a -->e", "[!]e"),
            ("<!--#x --a -->e", "[!]e"),
            ("<!--#x a=\"123456789012345678901\" -->e", "[!]e"),
            (
                "<!--#x a=\"12345678901234567890\" -->e",
                "[x a=12345678901234567890]e",
            ),
            ("<!--#x23456789012345678901234567890123 -->e", "[!]e"),
            ("<!--#a -- -->e", "[!]e"),
            ("<!--#a- -->e", "[!]e"),
        ] {
            for step in 1..=page.len() {
                assert_eq!(read(page.as_bytes(), step), want, "{page} by {step}");
            }
        }
    }

    #[test]
    fn parameters_are_bounded() {
        let page = format!("<!--#x {}-->", "a=\"b\" ".repeat(100));
        let mut parser = Parser::new(20);
        let (_, event) = parser.next(page.as_bytes(), &mut Vec::new());
        assert_eq!(event, Event::Command);
        assert_eq!(parser.take_command().1.len(), PARAMS_MAX + 1);
    }
}
