//! Reading JSON: a small tree of values, for programs that look at what the server tells. Start at [`Value::parse`].

/// How deep values may be nested.
const DEPTH_MAX: usize = 64;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number; whole ones are exact up to 2^53.
    Number(f64),
    /// A string; what is no Unicode was replaced.
    Text(String),
    /// An array.
    List(Vec<Self>),
    /// An object, in the order in which it was written.
    Object(Vec<(String, Self)>),
}

impl Value {
    /// Reads a whole text; none when it is no JSON.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut from = Reader { rest: text };
        let value = from.value(DEPTH_MAX)?;
        from.space();
        from.rest.is_empty().then_some(value)
    }

    /// A member of an object.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members
                .iter()
                .find(|(each, _)| each == name)
                .map(|(_, value)| value),
            _ => None,
        }
    }

    /// The entries of an array; nothing for other values.
    #[must_use]
    pub fn list(&self) -> &[Self] {
        match self {
            Self::List(list) => list,
            _ => &[],
        }
    }

    /// The members of an object; nothing for other values.
    #[must_use]
    pub fn members(&self) -> &[(String, Self)] {
        match self {
            Self::Object(members) => members,
            _ => &[],
        }
    }

    /// A number member of an object; 0 when there is none.
    #[must_use]
    pub fn number(&self, name: &str) -> f64 {
        match self.get(name) {
            Some(Self::Number(number)) => *number,
            _ => 0.0,
        }
    }

    /// A string member of an object; empty when there is none.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        match self.get(name) {
            Some(Self::Text(text)) => text,
            _ => "",
        }
    }

    /// Whether a member of an object is `true`.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        self.get(name) == Some(&Self::Bool(true))
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn space(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(word)?;
        Some(())
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        let depth = depth.checked_sub(1)?;
        self.space();
        match self.rest.first()? {
            b'n' => self.word(b"null").map(|()| Value::Null),
            b't' => self.word(b"true").map(|()| Value::Bool(true)),
            b'f' => self.word(b"false").map(|()| Value::Bool(false)),
            b'"' => self.string().map(Value::Text),
            b'[' => self.array(depth),
            b'{' => self.object(depth),
            _ => self.number(),
        }
    }

    fn number(&mut self) -> Option<Value> {
        let is_part = |b: &u8| b.is_ascii_digit() || b"+-.eE".contains(b);
        let length = self.rest.iter().take_while(|b| is_part(b)).count();
        let (number, rest) = self.rest.split_at(length);
        self.rest = rest;
        let number: f64 = std::str::from_utf8(number).ok()?.parse().ok()?;
        number.is_finite().then_some(Value::Number(number))
    }

    fn array(&mut self, depth: usize) -> Option<Value> {
        self.word(b"[")?;
        let mut list = Vec::new();
        self.space();
        if self.word(b"]").is_some() {
            return Some(Value::List(list));
        }
        loop {
            list.push(self.value(depth)?);
            self.space();
            if self.word(b"]").is_some() {
                return Some(Value::List(list));
            }
            self.word(b",")?;
        }
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        self.word(b"{")?;
        let mut members = Vec::new();
        self.space();
        if self.word(b"}").is_some() {
            return Some(Value::Object(members));
        }
        loop {
            self.space();
            let name = self.string()?;
            self.space();
            self.word(b":")?;
            members.push((name, self.value(depth)?));
            self.space();
            if self.word(b"}").is_some() {
                return Some(Value::Object(members));
            }
            self.word(b",")?;
        }
    }

    fn string(&mut self) -> Option<String> {
        self.word(b"\"")?;
        let mut bytes = Vec::new();
        loop {
            let end = memchr::memchr2(b'"', b'\\', self.rest)?;
            bytes.extend_from_slice(&self.rest[..end]);
            let mark = self.rest[end];
            self.rest = &self.rest[end + 1..];
            if mark == b'"' {
                return Some(String::from_utf8_lossy(&bytes).into_owned());
            }
            let (&escape, rest) = self.rest.split_first()?;
            self.rest = rest;
            match escape {
                b'n' => bytes.push(b'\n'),
                b't' => bytes.push(b'\t'),
                b'r' => bytes.push(b'\r'),
                b'b' => bytes.push(8),
                b'f' => bytes.push(12),
                b'u' => {
                    let c = self.unicode()?;
                    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
                b'"' | b'\\' | b'/' => bytes.push(escape),
                _ => return None,
            }
        }
    }

    fn unicode(&mut self) -> Option<char> {
        let first = self.four()?;
        if !(0xD800..0xDC00).contains(&first) {
            return Some(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        self.word(b"\\u")?;
        let second = self.four()?;
        let low = second.checked_sub(0xDC00).filter(|low| *low < 0x400)?;
        char::from_u32(0x10000 + ((first - 0xD800) << 10) + low)
    }

    fn four(&mut self) -> Option<u32> {
        let (digits, rest) = self.rest.split_at_checked(4)?;
        self.rest = rest;
        let digits = std::str::from_utf8(digits).ok()?;
        u32::from_str_radix(digits, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read() {
        let text = br#" {"a": [1, -2.5e1, true, null], "b": "x\"\u00e9\ud83d\ude00\n", "c": {}, "d": []} "#;
        let value = Value::parse(text).expect("JSON");
        let list = value.get("a").expect("a").list();
        assert_eq!(list[1], Value::Number(-25.0));
        assert_eq!((&list[2], &list[3]), (&Value::Bool(true), &Value::Null));
        assert_eq!(value.text("b"), "x\"\u{e9}\u{1f600}\n");
        assert_eq!(value.get("c").expect("c").members().len(), 0);
        assert_eq!((value.number("zz"), value.text("a")), (0.0, ""));
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let deep = [b"[".repeat(DEPTH_MAX + 1), b"]".repeat(DEPTH_MAX + 1)].concat();
        for text in [
            &b""[..],
            b"{",
            b"[1,]",
            b"{\"a\"}",
            b"{a:1}",
            b"\"",
            b"\"\\x\"",
            b"\"\\ud800\"",
            b"1 2",
            b"nul",
            b"1e999",
            &deep,
        ] {
            assert_eq!(Value::parse(text), None, "{}", text.escape_ascii());
        }
    }
}
