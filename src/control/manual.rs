//! The command line described: as a manual page and as completions for shells, both made of what is parsed.
//!
//! nginx's options come out of the table in [`cli`], the commands out of clap's description. Start at [`page`] and
//! [`completions`].

use std::fmt::Write as _;

use clap::{Arg, Command, ValueEnum};

use super::cli;
use super::identity::{Identity, NGINX_VERSION};

/// A shell that completes words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU Bash.
    Bash,
    /// Z shell.
    Zsh,
    /// fish.
    Fish,
}

/// An option or a positional argument of a command.
struct Word {
    /// `-X` and `--method`, as far as there are; empty for a positional argument.
    names: Vec<String>,
    /// What follows, unless it is a switch.
    value: Option<String>,
    /// One sentence.
    help: String,
    /// The words that may follow.
    choices: Vec<String>,
    /// May be given again.
    again: bool,
}

fn words(command: &Command) -> Vec<Word> {
    let shown =
        |arg: &&Arg| !arg.is_hide_set() && arg.get_id() != "help" && arg.get_id() != "version";
    command.get_arguments().filter(shown).map(word).collect()
}

fn word(arg: &Arg) -> Word {
    let short = arg.get_short().map(|c| format!("-{c}"));
    let long = arg.get_long().map(|l| format!("--{l}"));
    let takes = arg.get_action().takes_values();
    let names = arg.get_value_names().map(|names| names.join(" "));
    let choices = arg
        .get_possible_values()
        .into_iter()
        .map(|v| v.get_name().to_owned());
    Word {
        names: short.into_iter().chain(long).collect(),
        value: takes.then(|| {
            names.map_or_else(
                || arg.get_id().as_str().to_uppercase(),
                |n| n.to_uppercase(),
            )
        }),
        help: help(arg.get_help().map(ToString::to_string)),
        choices: if takes { choices.collect() } else { Vec::new() },
        again: arg.get_num_args().is_some_and(|n| n.max_values() > 1)
            || matches!(arg.get_action(), clap::ArgAction::Append),
    }
}

/// The first sentence, without its end.
fn help(text: Option<String>) -> String {
    let text = text.unwrap_or_default();
    text.trim_end_matches('.').to_owned()
}

fn about(command: &Command) -> String {
    help(command.get_about().map(ToString::to_string))
}

fn commands(line: &Command) -> impl Iterator<Item = &Command> {
    line.get_subcommands().filter(|c| c.get_name() != "help")
}

/// Text for a manual page: what roff would take for its own is escaped.
fn roff(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            '\'' => out.push_str("\\(aq"),
            '`' => out.push_str("\\(ga"),
            '^' => out.push_str("\\(ha"),
            '~' => out.push_str("\\(ti"),
            '…' => out.push_str("..."),
            '–' => out.push_str("\\(en"),
            c => out.push(c),
        }
    }
    if out.starts_with('.') {
        out.insert_str(0, "\\&");
    }
    out
}

/// Words between back-quotes are bold.
fn prose(text: &str) -> String {
    let parts = text.split('`').enumerate().map(|(i, part)| match i % 2 {
        1 => format!("\\fB{}\\fR", roff(part)),
        _ => roff(part),
    });
    let line: String = parts.collect();
    match line.starts_with(['.', '\'']) {
        true => format!("\\&{line}"),
        false => line,
    }
}

/// `ringx(8)`.
#[must_use]
pub fn page(line: &Command) -> String {
    let paths = Identity::Ringx.paths();
    let mut out = format!(
        ".\\\" Made by \"ringx man\".\n.TH RINGX 8 \"\" \"ringx {}\" \"System Administration\"\n.SH NAME\nringx \\- {}\n.SH SYNOPSIS\n",
        env!("CARGO_PKG_VERSION"),
        prose(&about(line).to_lowercase()),
    );
    out.push_str(".B ringx\n");
    for row in cli::OPTIONS {
        let _ = match row.value {
            Some(value) => writeln!(out, ".RB [ \\-{} \" \\fI{}\\fR\" ]", row.letter, value),
            None => writeln!(out, ".RB [ \\-{} ]", row.letter),
        };
    }
    out.push_str(".br\n.B ringx\n.I command\n.RI [ argument \" ...]\"\n.SH DESCRIPTION\n");
    let _ = writeln!(
        out,
        "\\fBringx\\fR is an HTTP reverse proxy that runs an nginx.conf unchanged, on a thread for each core over io_uring.\n\
         Without a command its options are those of nginx, and it behaves as nginx {NGINX_VERSION} does.\n\
         Without \\fBworker_processes\\fR there is a thread for each core, and it stays in the foreground unless \\fBdaemon on\\fR is written.\n\
         Started through a link with the name \\fBnginx\\fR it takes nginx\\(aqs command line and nothing else, with nginx\\(aqs defaults."
    );
    out.push_str(".SH OPTIONS\n");
    for row in cli::OPTIONS {
        let also = if row.letter == 'h' {
            ", \\fB\\-?\\fR"
        } else {
            ""
        };
        let value = row
            .value
            .map_or_else(String::new, |v| format!(" \\fI{v}\\fR"));
        let _ = writeln!(
            out,
            ".TP\n\\fB\\-{}\\fR{also}{value}\n{}.",
            row.letter,
            prose(&capital(row.about))
        );
    }
    out.push_str(".SH COMMANDS\n");
    for command in commands(line) {
        section(&mut out, command, "");
    }
    files(&mut out, paths.files, paths.pid);
    out
}

fn section(out: &mut String, command: &Command, before: &str) {
    let name = format!("{before}{}", command.get_name());
    let list = words(command);
    let mut head = format!(".SS \"ringx {}\"\n", roff(&name));
    let _ = writeln!(head, "{}.", prose(&about(command)));
    out.push_str(&head);
    for word in &list {
        let names: Vec<String> = word
            .names
            .iter()
            .map(|n| format!("\\fB{}\\fR", roff(n)))
            .collect();
        let value = word
            .value
            .as_deref()
            .map_or_else(String::new, |v| format!("\\fI{}\\fR", roff(v)));
        let gap = if names.is_empty() || value.is_empty() {
            ""
        } else {
            " "
        };
        let again = if word.again { " ..." } else { "" };
        let _ = writeln!(
            out,
            ".TP\n{}{gap}{value}{again}\n{}.",
            names.join(", "),
            prose(&word.help)
        );
        // A long list is told by an option of the command itself.
        if !word.choices.is_empty() && word.choices.len() <= 8 {
            let choices: Vec<String> = word
                .choices
                .iter()
                .map(|c| format!("\\fB{}\\fR", roff(c)))
                .collect();
            let _ = writeln!(out, "One of {}.", choices.join(", "));
        }
    }
    for inner in commands(command) {
        section(out, inner, &format!("{name} "));
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

fn files(out: &mut String, conf: &[&str], pid: &str) {
    out.push_str(".SH SIGNALS\n");
    for (signals, what) in [
        ("TERM, INT", "stops at once"),
        ("QUIT", "stops when open requests have ended"),
        (
            "HUP",
            "reads the configuration again; when it is refused, the old one stays",
        ),
        ("USR1", "opens the logs again"),
        (
            "USR2",
            "starts the program anew beside this one, on the same sockets",
        ),
        ("WINCH", "lets workers end when their requests have ended"),
    ] {
        let _ = writeln!(out, ".TP\n\\fB{signals}\\fR\n{}.", prose(&capital(what)));
    }
    out.push_str(".SH FILES\n");
    for file in conf {
        let _ = writeln!(
            out,
            ".TP\n\\fI{}\\fR\nThe configuration, when none is named.",
            roff(file)
        );
    }
    let _ = writeln!(
        out,
        ".TP\n\\fI{}\\fR\nThe process, for \\fB\\-s\\fR.",
        roff(pid)
    );
    out.push_str(
        ".SH EXIT STATUS\n0 when all went well, 1 when it did not. Commands also know 2 for wrong use and 3 for a configuration that is \
         not good; \\fBringx check\\fR exits with 1 for findings and 2 for what cannot be loaded.\n.SH SEE ALSO\n\
         Every directive and every rule of \\fBringx check\\fR is listed in the files DIRECTIVES.md and CHECKS.md of the documentation.\n",
    );
}

/// What a shell reads to complete words.
#[must_use]
pub fn completions(line: &Command, shell: Shell) -> String {
    match shell {
        Shell::Bash => bash(line),
        Shell::Zsh => zsh(line),
        Shell::Fish => fish(line),
    }
}

/// Each command with its full name.
fn all<'c>(line: &'c Command, before: &str, out: &mut Vec<(String, &'c Command)>) {
    for command in commands(line) {
        let name = format!("{before}{}", command.get_name());
        out.push((name.clone(), command));
        all(command, &format!("{name} "), out);
    }
}

fn every(line: &Command) -> Vec<(String, &Command)> {
    let mut out = Vec::new();
    all(line, "", &mut out);
    out
}

fn letters() -> Vec<String> {
    cli::OPTIONS
        .iter()
        .map(|r| format!("-{}", r.letter))
        .collect()
}

/// What may follow the name of a command.
fn following(command: &Command) -> Vec<String> {
    let options = words(command).into_iter().flat_map(|w| w.names);
    let inner = commands(command).map(|c| c.get_name().to_owned());
    let list = words(command)
        .into_iter()
        .filter(|w| w.names.is_empty())
        .flat_map(|w| w.choices);
    inner
        .chain(list)
        .chain(options)
        .chain(["--help".to_owned()])
        .collect()
}

fn bash(line: &Command) -> String {
    let names: Vec<&str> = commands(line).map(Command::get_name).collect();
    let mut out = String::from(
        "# Completions of ringx for bash, made by \"ringx completions bash\".\n\
         _ringx() {\n    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command= words= i\n\
         \x20   for ((i = 1; i < COMP_CWORD; i++)); do\n        case ${COMP_WORDS[i]} in\n            -*) ;;\n\
         \x20           *) command=\"${command:+$command }${COMP_WORDS[i]}\" ;;\n        esac\n    done\n\
         \x20   case \"$command\" in\n",
    );
    let list = every(line);
    // The longest names first: "set peer" before "set".
    for (name, command) in list.iter().rev() {
        let _ = writeln!(out, "        \"{name}\"*)\n            case \"$prev\" in");
        for word in words(command)
            .iter()
            .filter(|w| !w.names.is_empty() && w.value.is_some())
        {
            let complete = match word.choices.is_empty() {
                true => "compgen -f -- \"$cur\"".to_owned(),
                false => format!("compgen -W \"{}\" -- \"$cur\"", word.choices.join(" ")),
            };
            let _ = writeln!(
                out,
                "                {}) mapfile -t COMPREPLY < <({complete}); return ;;",
                word.names.join("|")
            );
        }
        let _ = writeln!(
            out,
            "            esac\n            words=\"{}\"\n            ;;",
            following(command).join(" ")
        );
    }
    let signals = cli::OPTIONS.iter().find(|r| !r.words.is_empty());
    let _ = writeln!(
        out,
        "        *)\n            case \"$prev\" in\n                -{}) mapfile -t COMPREPLY < <(compgen -W \"{}\" -- \"$cur\"); return ;;\n\
         \x20               -c|-e|-p) mapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); return ;;\n            esac\n            \
         words=\"{} {}\"\n            ;;\n    esac",
        signals.map_or('s', |r| r.letter),
        signals.map_or_else(String::new, |r| r.words.join(" ")),
        names.join(" "),
        letters().join(" ")
    );
    out.push_str(
        "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n    if [[ $cur != -* && -n $command ]]; then\n        local files\n\
         \x20       mapfile -t files < <(compgen -f -- \"$cur\")\n        COMPREPLY+=(\"${files[@]}\")\n    fi\n}\ncomplete -o filenames -F _ringx ringx\n",
    );
    out
}

/// Text inside single quotes of zsh's descriptions.
fn zsh_text(text: &str) -> String {
    text.replace('\'', "'\\''")
        .replace(['[', ']'], "")
        .replace(':', "\\:")
        .replace('`', "")
}

fn zsh_value(word: &Word) -> String {
    let Some(value) = &word.value else {
        return String::new();
    };
    let what = match word.choices.is_empty() {
        true => "_files".to_owned(),
        false => format!("({})", word.choices.join(" ")),
    };
    format!(":{}:{what}", zsh_text(&value.to_lowercase()))
}

fn zsh(line: &Command) -> String {
    let mut out = String::from(
        "#compdef ringx\n# Completions of ringx for zsh, made by \"ringx completions zsh\".\n_ringx() {\n    local context state line\n    typeset -A opt_args\n    _arguments -C -S \\\n",
    );
    for row in cli::OPTIONS {
        let value = match (row.value, row.words) {
            (None, _) => String::new(),
            (Some(value), []) => format!(":{value}:_files"),
            (Some(value), words) => format!(":{value}:({})", words.join(" ")),
        };
        let _ = writeln!(
            out,
            "        '-{}[{}]{value}' \\",
            row.letter,
            zsh_text(row.about)
        );
    }
    out.push_str("        '1:command:->command' '*::argument:->argument'\n    case $state in\n        command)\n            local -a commands=(\n");
    for command in commands(line) {
        let _ = writeln!(
            out,
            "                '{}:{}'",
            command.get_name(),
            zsh_text(&about(command))
        );
    }
    out.push_str("            )\n            _describe command commands\n            ;;\n        argument)\n            case $line[1] in\n");
    for command in commands(line) {
        let _ = write!(out, "                {}) _arguments -S", command.get_name());
        for word in words(command) {
            let star = if word.again { "*" } else { "" };
            let value = zsh_value(&word);
            for name in &word.names {
                let _ = write!(
                    out,
                    " \\\n                    '{star}{name}[{}]{value}'",
                    zsh_text(&word.help)
                );
            }
            if word.names.is_empty() {
                let which = if word.again { "*" } else { "" };
                let _ = write!(out, " \\\n                    '{which}{value}'");
            }
        }
        let inner: Vec<&str> = commands(command).map(Command::get_name).collect();
        if !inner.is_empty() {
            let _ = write!(
                out,
                " \\\n                    '1:what:({})' '*:argument:_files'",
                inner.join(" ")
            );
        }
        out.push_str(" ;;\n");
    }
    out.push_str("            esac\n            ;;\n    esac\n}\n_ringx \"$@\"\n");
    out
}

/// Text inside single quotes of fish.
fn fish_text(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('\'', "\\'")
        .replace('`', "")
}

fn fish(line: &Command) -> String {
    let names: Vec<&str> = commands(line).map(Command::get_name).collect();
    let none = format!("not __fish_seen_subcommand_from {}", names.join(" "));
    let mut out =
        String::from("# Completions of ringx for fish, made by \"ringx completions fish\".\n");
    for row in cli::OPTIONS {
        let value = match (row.value, row.words) {
            (None, _) => String::new(),
            (Some(_), []) => " -r".to_owned(),
            (Some(_), words) => format!(" -x -a '{}'", words.join(" ")),
        };
        let _ = writeln!(
            out,
            "complete -c ringx -n '{none}' -o {}{value} -d '{}'",
            row.letter,
            fish_text(row.about)
        );
    }
    for command in commands(line) {
        let name = command.get_name();
        let seen = format!("__fish_seen_subcommand_from {name}");
        let _ = writeln!(
            out,
            "complete -c ringx -n '{none}' -f -a {name} -d '{}'",
            fish_text(&about(command))
        );
        for inner in commands(command) {
            let _ = writeln!(
                out,
                "complete -c ringx -n '{seen}' -f -a {} -d '{}'",
                inner.get_name(),
                fish_text(&about(inner))
            );
        }
        for word in words(command) {
            let mut flags = String::new();
            for option in &word.names {
                let flag = match option.strip_prefix("--") {
                    Some(long) => format!(" -l {long}"),
                    None => format!(" -s {}", option.trim_start_matches('-')),
                };
                flags.push_str(&flag);
            }
            let value = match (&word.value, word.choices.is_empty()) {
                (None, _) => String::new(),
                (Some(_), true) if word.names.is_empty() => " -F".to_owned(),
                (Some(_), true) => " -r".to_owned(),
                (Some(_), false) => format!(" -x -a '{}'", word.choices.join(" ")),
            };
            let _ = writeln!(
                out,
                "complete -c ringx -n '{seen}'{flags}{value} -d '{}'",
                fish_text(&word.help)
            );
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::commands::described;

    /// `RINGX_UPDATE_DOCS=1 cargo test --lib documentation` writes them anew.
    #[test]
    fn documentation_of_the_command_line_is_written() {
        let line = described();
        for (path, text) in [
            ("docs/ringx.8", page(&line)),
            (
                "scripts/completions/ringx.bash",
                completions(&line, Shell::Bash),
            ),
            ("scripts/completions/_ringx", completions(&line, Shell::Zsh)),
            (
                "scripts/completions/ringx.fish",
                completions(&line, Shell::Fish),
            ),
        ] {
            let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
            if std::env::var_os("RINGX_UPDATE_DOCS").is_some() {
                std::fs::create_dir_all(file.parent().expect("below the root")).expect("folder");
                std::fs::write(&file, &text).expect("write");
            }
            let written = std::fs::read_to_string(&file).unwrap_or_default();
            assert!(
                written == text,
                "{path} is old; RINGX_UPDATE_DOCS=1 cargo test --lib documentation writes it anew"
            );
        }
    }

    #[test]
    fn everything_that_is_parsed_is_described() {
        let line = described();
        let (page, fish) = (page(&line), completions(&line, Shell::Fish));
        let (bash, zsh) = (
            completions(&line, Shell::Bash),
            completions(&line, Shell::Zsh),
        );
        for row in cli::OPTIONS {
            assert!(
                page.contains(&format!(".TP\n\\fB\\-{}\\fR", row.letter)),
                "{}",
                row.letter
            );
            assert!(
                bash.contains(&format!(" -{}", row.letter))
                    && zsh.contains(&format!("'-{}[", row.letter))
            );
            assert!(fish.contains(&format!(" -o {}", row.letter)));
        }
        for (name, command) in every(&line) {
            assert!(
                page.contains(&format!(".SS \"ringx {}\"", roff(&name))),
                "{name}"
            );
            assert!(!about(command).is_empty(), "{name} is explained");
            for option in words(command).iter().flat_map(|w| &w.names) {
                assert!(
                    page.contains(&roff(option)) && bash.contains(option),
                    "{name} {option}"
                );
            }
        }
        for command in commands(&line) {
            let name = command.get_name();
            assert!(
                zsh.contains(&format!("'{name}:")) && fish.contains(&format!("-a {name} ")),
                "{name}"
            );
        }
    }

    #[test]
    fn text_is_not_taken_for_requests_of_roff() {
        assert_eq!(
            prose("`.a` 'b' -c \\"),
            "\\fB\\&.a\\fR \\(aqb\\(aq \\-c \\e"
        );
        assert_eq!(prose(".so x"), "\\&.so x");
    }
}
