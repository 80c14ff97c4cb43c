//! nginx's command line, read by hand because its options may be glued (`-tc file`).
//!
//! Owns the grammar and its error texts; knows nothing of what the options do. Start at [`parse`].

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// What `-s` asks a running server to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Fast stop.
    Stop,
    /// Graceful stop.
    Quit,
    /// Open the log files again.
    Reopen,
    /// Read the configuration again.
    Reload,
}

/// The options of one command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `-h`, `-?`.
    pub help: bool,
    /// `-v`, and implied by `-h` and `-V`.
    pub version: bool,
    /// `-V`.
    pub configure: bool,
    /// `-t`, and implied by `-T`.
    pub test: bool,
    /// `-T`.
    pub dump: bool,
    /// `-q`.
    pub quiet: bool,
    /// `-p`.
    pub prefix: Option<PathBuf>,
    /// `-e`; the word `stderr` stays as it is.
    pub error_log: Option<PathBuf>,
    /// `-c`.
    pub file: Option<PathBuf>,
    /// `-g`.
    pub globals: Option<Vec<u8>>,
    /// `-s`.
    pub order: Option<Order>,
}

/// One of nginx's options, for those who explain them.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its letter; `h` may be written as `?`.
    pub letter: char,
    /// What follows, in a word; none for a switch.
    pub value: Option<&'static str>,
    /// What it does, in a few words.
    pub about: &'static str,
    /// The words that may follow, where they are few.
    pub words: &'static [&'static str],
}

const fn switch(letter: char, about: &'static str) -> Row {
    Row {
        letter,
        value: None,
        about,
        words: &[],
    }
}

const fn valued(letter: char, value: &'static str, about: &'static str) -> Row {
    Row {
        letter,
        value: Some(value),
        about,
        words: &[],
    }
}

/// Every option, in the order of the help text.
pub const OPTIONS: &[Row] = &[
    switch('h', "this help"),
    switch('v', "show version and exit"),
    switch('V', "show version and what is built in, then exit"),
    switch('t', "test configuration and exit"),
    switch('T', "test configuration, dump it and exit"),
    switch('q', "with -t or -T, print errors only"),
    Row {
        words: &["stop", "quit", "reopen", "reload"],
        ..valued(
            's',
            "signal",
            "tell the running server to stop, quit, reopen or reload",
        )
    },
    valued('p', "prefix", "prefix of relative paths"),
    valued(
        'e',
        "filename",
        "error log until the configuration names one",
    ),
    valued('c', "filename", "configuration file"),
    valued(
        'g',
        "directives",
        "global directives in addition to those of the file",
    ),
];

/// Reads the arguments after the program's name. The error is nginx's text without its `nginx: `.
pub fn parse(args: &[OsString]) -> Result<Options, String> {
    let mut options = Options::default();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let bytes = arg.as_bytes();
        if bytes.first() != Some(&b'-') {
            return Err(format!("invalid option: \"{}\"", arg.to_string_lossy()));
        }
        letters(&mut options, &bytes[1..], &mut rest)?;
    }
    Ok(options)
}

/// One argument's letters; an option with a value takes the rest of the word, or else the next word.
fn letters<'a>(
    options: &mut Options,
    word: &[u8],
    rest: &mut impl Iterator<Item = &'a OsString>,
) -> Result<(), String> {
    for (at, letter) in word.iter().enumerate() {
        let mut value = |wants: &str| -> Result<OsString, String> {
            let glued = &word[at + 1..];
            if !glued.is_empty() {
                return Ok(OsStr::from_bytes(glued).to_owned());
            }
            let next = rest.next().cloned();
            next.ok_or_else(|| format!("option \"-{}\" requires {wants}", char::from(*letter)))
        };
        match letter {
            b'?' | b'h' => (options.version, options.help) = (true, true),
            b'v' => options.version = true,
            b'V' => (options.version, options.configure) = (true, true),
            b't' => options.test = true,
            b'T' => (options.test, options.dump) = (true, true),
            b'q' => options.quiet = true,
            b'p' => options.prefix = Some(value("directory name")?.into()),
            b'e' => options.error_log = Some(value("file name")?.into()),
            b'c' => options.file = Some(value("file name")?.into()),
            b'g' => options.globals = Some(value("parameter")?.into_vec()),
            b's' => options.order = Some(order(&value("parameter")?)?),
            other => return Err(format!("invalid option: \"{}\"", char::from(*other))),
        }
        if b"pecgs".contains(letter) {
            break;
        }
    }
    Ok(())
}

fn order(word: &OsStr) -> Result<Order, String> {
    match word.as_bytes() {
        b"stop" => Ok(Order::Stop),
        b"quit" => Ok(Order::Quit),
        b"reopen" => Ok(Order::Reopen),
        b"reload" => Ok(Order::Reload),
        _ => Err(format!("invalid option: \"-s {}\"", word.to_string_lossy())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Options, String> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        parse(&words)
    }

    #[test]
    fn options_may_be_glued_or_apart() {
        let want = Options {
            test: true,
            file: Some("f".into()),
            ..Options::default()
        };
        for words in [
            &["-tc", "f"][..],
            &["-tcf"],
            &["-t", "-c", "f"],
            &["-t", "-cf"],
            &["-cf", "-t"],
        ] {
            assert_eq!(read(words).as_ref(), Ok(&want), "{words:?}");
        }
    }

    /// The table and the reader know the same letters, values and words.
    #[test]
    fn the_table_is_what_is_read() {
        for letter in (b'!'..=b'~').map(char::from).filter(|l| *l != '?') {
            let word = format!("-{letter}");
            let row = OPTIONS.iter().find(|r| r.letter == letter);
            let alone = read(&[&word]);
            match row.map(|r| r.value) {
                None => assert!(alone.is_err_and(|e| e.contains("invalid option")), "{word}"),
                Some(None) => assert!(alone.is_ok(), "{word}"),
                Some(Some(_)) => assert!(alone.is_err_and(|e| e.contains("requires")), "{word}"),
            }
            for value in row.map_or(&[][..], |r| r.words) {
                assert!(read(&[&word, value]).is_ok(), "{word} {value}");
            }
        }
    }

    #[test]
    fn each_option_lands_in_its_field() {
        let got = read(&[
            "-p",
            "/srv/",
            "-e",
            "stderr",
            "-g",
            "daemon off;",
            "-s",
            "reload",
            "-qT",
        ])
        .expect("valid");
        assert_eq!(got.prefix, Some("/srv/".into()));
        assert_eq!(got.error_log, Some("stderr".into()));
        assert_eq!(got.globals.as_deref(), Some(&b"daemon off;"[..]));
        assert_eq!(got.order, Some(Order::Reload));
        assert!(got.quiet && got.test && got.dump && !got.version);
        let got = read(&["-V"]).expect("valid");
        assert!(got.version && got.configure && !got.help);
        let got = read(&["-h?"]).expect("valid");
        assert!(got.version && got.help);
    }

    #[test]
    fn errors_read_as_nginx_says_them() {
        for (words, want) in [
            (&["-z"][..], "invalid option: \"z\""),
            (&["-tz"], "invalid option: \"z\""),
            (&["start"], "invalid option: \"start\""),
            (&[""], "invalid option: \"\""),
            (&["-s", "foo"], "invalid option: \"-s foo\""),
            (&["-sfoo"], "invalid option: \"-s foo\""),
            (&["-c"], "option \"-c\" requires file name"),
            (&["-e"], "option \"-e\" requires file name"),
            (&["-p"], "option \"-p\" requires directory name"),
            (&["-g"], "option \"-g\" requires parameter"),
            (&["-s"], "option \"-s\" requires parameter"),
        ] {
            assert_eq!(read(words), Err(want.to_owned()), "{words:?}");
        }
    }

    #[test]
    fn a_lone_dash_is_no_option_and_no_error() {
        assert_eq!(read(&["-"]), Ok(Options::default()));
    }
}
