//! The difference of two texts as a unified diff, line by line. Start at [`unified`].

use std::fmt::Write as _;

/// Unchanged lines around a change.
const CONTEXT: usize = 3;
/// Lines that are compared with each other at most; what is longer is shown as one change.
const LINES_MAX: usize = 2_000;

/// One line of the result: unchanged, gone or new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Same,
    Old,
    New,
}

/// The diff of a file; empty when nothing differs.
pub(super) fn unified(name: &str, old: &[u8], new: &[u8]) -> String {
    let (old, new) = (String::from_utf8_lossy(old), String::from_utf8_lossy(new));
    let (old, new): (Vec<&str>, Vec<&str>) = (
        old.split_inclusive('\n').collect(),
        new.split_inclusive('\n').collect(),
    );
    let steps = steps(&old, &new);
    if steps.iter().all(|s| *s == Line::Same) {
        return String::new();
    }
    let mut out = format!("--- {name}\n+++ {name}\n");
    let mut at = 0;
    let (mut a, mut b) = (0, 0);
    while at < steps.len() {
        if steps[at] == Line::Same {
            (at, a, b) = (at + 1, a + 1, b + 1);
            continue;
        }
        // From here on there is a change; it takes in all that are near.
        let lead = CONTEXT.min(a).min(b);
        let mut end = at;
        let mut same = 0;
        for (i, step) in steps.iter().enumerate().skip(at) {
            same = if *step == Line::Same { same + 1 } else { 0 };
            if same > 2 * CONTEXT {
                break;
            }
            if *step != Line::Same {
                end = i + 1;
            }
        }
        let tail = CONTEXT.min(steps.len() - end);
        hunk(
            &mut out,
            (&old, &new),
            (a - lead, b - lead),
            &steps[at - lead..end + tail],
        );
        for step in &steps[at..end] {
            a += usize::from(*step != Line::New);
            b += usize::from(*step != Line::Old);
        }
        at = end;
    }
    out
}

fn hunk(out: &mut String, (old, new): (&[&str], &[&str]), (a, b): (usize, usize), steps: &[Line]) {
    let olds = steps.iter().filter(|s| **s != Line::New).count();
    let news = steps.iter().filter(|s| **s != Line::Old).count();
    // An empty side is named by the line before it.
    let from = |at: usize, count: usize| if count == 0 { at } else { at + 1 };
    let _ = writeln!(
        out,
        "@@ -{},{olds} +{},{news} @@",
        from(a, olds),
        from(b, news)
    );
    let (mut a, mut b) = (a, b);
    for step in steps {
        let (mark, line) = match step {
            Line::Same => (' ', old[a]),
            Line::Old => ('-', old[a]),
            Line::New => ('+', new[b]),
        };
        out.push(mark);
        out.push_str(line);
        if !line.ends_with('\n') {
            out.push_str("\n\\ No newline at end of file\n");
        }
        a += usize::from(*step != Line::New);
        b += usize::from(*step != Line::Old);
    }
}

/// The longest common subsequence, between the lines that both begin and end with.
fn steps(old: &[&str], new: &[&str]) -> Vec<Line> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let tail = old[head..]
        .iter()
        .rev()
        .zip(new[head..].iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let (a, b) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    let mut out = vec![Line::Same; head];
    if a.len() > LINES_MAX || b.len() > LINES_MAX {
        out.extend(vec![Line::Old; a.len()]);
        out.extend(vec![Line::New; b.len()]);
    } else {
        // lengths[i][j]: of what is common to a[i..] and b[j..].
        let mut lengths = vec![vec![0u32; b.len() + 1]; a.len() + 1];
        for i in (0..a.len()).rev() {
            for j in (0..b.len()).rev() {
                lengths[i][j] = match a[i] == b[j] {
                    true => lengths[i + 1][j + 1] + 1,
                    false => lengths[i + 1][j].max(lengths[i][j + 1]),
                };
            }
        }
        let (mut i, mut j) = (0, 0);
        while i < a.len() || j < b.len() {
            if i < a.len() && j < b.len() && a[i] == b[j] {
                out.push(Line::Same);
                (i, j) = (i + 1, j + 1);
            } else if j == b.len() || (i < a.len() && lengths[i + 1][j] >= lengths[i][j + 1]) {
                out.push(Line::Old);
                i += 1;
            } else {
                out.push(Line::New);
                j += 1;
            }
        }
    }
    out.extend(vec![Line::Same; tail]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_changes_share_a_hunk_and_far_ones_do_not() {
        let lines = |marks: &[(usize, &str)]| -> String {
            (0..30)
                .map(|n| match marks.iter().find(|(at, _)| *at == n) {
                    Some((_, text)) => (*text).to_owned(),
                    None => format!("{n}\n"),
                })
                .collect()
        };
        let old = lines(&[]);
        assert_eq!(unified("f", old.as_bytes(), old.as_bytes()), "");
        let new = lines(&[(2, "x\n"), (4, ""), (25, "25\ny\n")]);
        let want = "--- f\n+++ f\n@@ -1,8 +1,7 @@\n 0\n 1\n-2\n+x\n 3\n-4\n 5\n 6\n 7\n@@ -24,6 +23,7 @@\n 23\n 24\n 25\n+y\n 26\n 27\n 28\n";
        assert_eq!(unified("f", old.as_bytes(), new.as_bytes()), want);
        assert_eq!(
            unified("f", b"a", b"a\nb\n"),
            "--- f\n+++ f\n@@ -1,1 +1,2 @@\n-a\n\\ No newline at end of file\n+a\n+b\n"
        );
    }
}
