//! Several texts searched for at once, letters of either case alike, in a stream that is cut anywhere.
//!
//! A window as long as the shortest text slides over the bytes; a table says how far it may jump. Knows no
//! replacement. Start at [`Needles::find`].

/// The longest jump of the window.
const SHIFT_MAX: usize = 255;

/// Texts to search for, in the order in which they win.
#[derive(Clone, Debug)]
pub struct Needles {
    /// In lower case, none of them empty.
    texts: Vec<Box<[u8]>>,
    /// Length of the shortest.
    min: usize,
    /// How far to go on when this byte ends the window.
    shift: [u8; 256],
    /// Indices of the texts, those together that have the same byte where the window ends.
    sorted: Vec<u16>,
    /// Where in `sorted` the texts of a byte begin.
    begins: Box<[u16; 257]>,
}

/// What a search brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Text `index` stands at `start`.
    Text {
        /// First byte.
        start: usize,
        /// Which one.
        index: usize,
    },
    /// From here on it may be one, or not: more bytes will tell.
    Perhaps(usize),
    /// Nothing, whatever follows.
    Nothing,
}

/// How bytes compare with the beginning of a text.
#[derive(PartialEq, Eq)]
enum Likeness {
    No,
    Begins,
    Whole,
}

impl Needles {
    /// Prepares a search. Texts must not be empty; none at all, or more than 255, give nothing.
    #[must_use]
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let texts: Vec<Box<[u8]>> = texts
            .into_iter()
            .map(|text| text.to_ascii_lowercase().into())
            .collect();
        let min = texts.iter().map(|text| text.len()).min()?;
        if min == 0 || texts.len() > SHIFT_MAX {
            return None;
        }
        let mut shift = [min.min(SHIFT_MAX) as u8; 256];
        for text in &texts {
            for (back, &byte) in text[..min].iter().rev().enumerate().take(SHIFT_MAX) {
                let known = &mut shift[usize::from(byte)];
                *known = (*known).min(back as u8);
            }
        }
        let mut sorted: Vec<u16> = (0..texts.len() as u16).collect();
        sorted.sort_by_key(|&index| texts[usize::from(index)][min - 1]);
        let mut begins = Box::new([0; 257]);
        for byte in 0..=256 {
            let before = |&index: &u16| usize::from(texts[usize::from(index)][min - 1]) < byte;
            begins[byte] = sorted.partition_point(before) as u16;
        }
        Some(Self {
            texts,
            min,
            shift,
            sorted,
            begins,
        })
    }

    /// How many texts there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.texts.len()
    }

    /// Length of a text.
    #[must_use]
    pub fn length(&self, index: usize) -> usize {
        self.texts[index].len()
    }

    /// Finds the first text in `data[from..]`; of several at one place the one that was named first. Texts that
    /// `skipped` names are not looked for. A text that may still come true hides those named after it.
    pub fn find(&self, data: &[u8], from: usize, skipped: impl Fn(usize) -> bool) -> Found {
        let mut start = from;
        while let Some(&last) = data.get(start + self.min - 1) {
            let byte = usize::from(last.to_ascii_lowercase());
            let shift = self.shift[byte];
            if shift > 0 {
                start += usize::from(shift);
                continue;
            }
            let group = usize::from(self.begins[byte])..usize::from(self.begins[byte + 1]);
            for &index in &self.sorted[group] {
                let index = usize::from(index);
                match compare(&data[start..], &self.texts[index]) {
                    _ if skipped(index) => {}
                    Likeness::No => {}
                    Likeness::Begins => return Found::Perhaps(start),
                    Likeness::Whole => return Found::Text { start, index },
                }
            }
            start += 1;
        }
        for start in start..data.len() {
            let rest = &data[start..];
            let begins = |index: usize, text: &[u8]| {
                compare(rest, text) == Likeness::Begins && !skipped(index)
            };
            let mut texts = self.texts.iter().enumerate();
            if texts.any(|(index, text)| begins(index, text)) {
                return Found::Perhaps(start);
            }
        }
        Found::Nothing
    }
}

fn compare(data: &[u8], text: &[u8]) -> Likeness {
    let len = data.len().min(text.len());
    if !data[..len].eq_ignore_ascii_case(&text[..len]) {
        Likeness::No
    } else if len < text.len() {
        Likeness::Begins
    } else {
        Likeness::Whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needles(texts: &[&str]) -> Needles {
        Needles::new(texts.iter().map(|text| text.as_bytes())).expect("texts")
    }

    #[test]
    fn the_first_place_wins_then_the_first_text() {
        for (texts, data, want) in [
            (&["b"][..], "aab", Found::Text { start: 2, index: 0 }),
            (&["cd", "b"], "abcd", Found::Text { start: 1, index: 1 }),
            (&["ab", "abc"], "xabc", Found::Text { start: 1, index: 0 }),
            (&["abc", "ab"], "xabc", Found::Text { start: 1, index: 0 }),
            (&["abc", "ab"], "xab", Found::Perhaps(1)),
            (&["ABC"], "xAbC", Found::Text { start: 1, index: 0 }),
            (&["abc"], "xxxx", Found::Nothing),
            (&["abc"], "xxxa", Found::Perhaps(3)),
            (&["aab"], "aaab", Found::Text { start: 1, index: 0 }),
            (&["abc"], "", Found::Nothing),
            (&["\u{e9}"], "\u{c9}", Found::Nothing),
        ] {
            let got = needles(texts).find(data.as_bytes(), 0, |_| false);
            assert_eq!(got, want, "{texts:?} in {data}");
        }
        let got = needles(&["a", "b"]).find(b"ab", 0, |index| index == 0);
        assert_eq!(got, Found::Text { start: 1, index: 1 });
        assert!(Needles::new([&b"a"[..], b""]).is_none());
        assert!(Needles::new([]).is_none());
    }

    #[test]
    fn jumps_pass_over_nothing() {
        // Every search agrees with one that compares at each place.
        let sets: [&[&str]; 4] = [&["aba"], &["ab", "bba"], &["aabb", "bab"], &["b", "aaa"]];
        for set in sets {
            let needles = needles(set);
            for bits in 0..1u32 << 10 {
                let data: Vec<u8> = (0..10).map(|i| b'a' + (bits >> i & 1) as u8).collect();
                let naive = (0..data.len()).find_map(|start| {
                    set.iter().enumerate().find_map(|(index, text)| {
                        match compare(&data[start..], text.as_bytes()) {
                            Likeness::No => None,
                            Likeness::Begins => Some(Found::Perhaps(start)),
                            Likeness::Whole => Some(Found::Text { start, index }),
                        }
                    })
                });
                let got = needles.find(&data, 0, |_| false);
                assert_eq!(got, naive.unwrap_or(Found::Nothing), "{set:?} {bits:b}");
            }
        }
    }
}
