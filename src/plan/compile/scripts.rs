//! `set`, `if`, `rewrite`, `return` and `break` flattened into one list.

use super::{Compiler, bytes_of};
use crate::config::model::{self, RewriteFlag, Text};
use crate::plan::LocationId;
use crate::plan::expr::Expr;
use crate::plan::script::{AfterRewrite, Condition, FileTest, Op, Return, Rewrite, Script};

impl Compiler<'_> {
    /// Compiles a block's operations. `ids` are the compiled locations of `if` blocks; none at the
    /// server level, where an `if` changes no settings.
    pub(super) fn script(
        &mut self,
        ops: &[model::Op],
        locations: &[model::Location],
        ids: Option<&[LocationId]>,
    ) -> Script {
        let mut out = Vec::new();
        self.ops(ops, locations, ids, &mut out);
        Script { ops: out.into() }
    }

    fn ops(
        &mut self,
        ops: &[model::Op],
        locations: &[model::Location],
        ids: Option<&[LocationId]>,
        out: &mut Vec<Op>,
    ) {
        for op in ops {
            match op {
                model::Op::Set { variable, value } => {
                    // A name that may not be set was reported when the names were collected.
                    if let Ok(target) = self.registry.define_slot(&variable.bytes) {
                        let value = self.expr(value);
                        out.push(Op::Set { target, value });
                    }
                }
                model::Op::Rewrite(rewrite) => {
                    if let Some(rewrite) = self.rewrite(rewrite) {
                        out.push(Op::Rewrite(Box::new(rewrite)));
                    }
                }
                model::Op::Return(ret) => out.push(Op::Return(Box::new(Return {
                    status: ret.status,
                    value: ret.text.as_ref().map(|text| self.expr(text)),
                }))),
                model::Op::Break => out.push(Op::Break),
                model::Op::If {
                    condition,
                    location,
                } => {
                    let Some(condition) = self.condition(condition) else {
                        continue;
                    };
                    let start = out.len();
                    let entered = ids.map(|ids| ids[*location]);
                    out.push(Op::If {
                        condition,
                        location: entered,
                        end: 0,
                    });
                    let body = &locations[*location];
                    self.ops(&body.script, &body.locations, None, out);
                    let after = out.len() as u32;
                    if let Op::If { end, .. } = &mut out[start] {
                        *end = after;
                    }
                }
            }
        }
    }

    fn condition(&mut self, condition: &model::Condition) -> Option<Condition> {
        Some(match condition {
            model::Condition::Truthy { variable } => Condition::True(self.variable(variable)),
            model::Condition::Equal {
                variable,
                value,
                negate,
            } => Condition::Equal {
                left: self.variable(variable),
                right: self.expr(value),
                negate: *negate,
            },
            model::Condition::Match {
                variable,
                regex,
                caseless,
                negate,
            } => Condition::Match {
                subject: self.variable(variable),
                regex: self.regex(regex, *caseless)?,
                negate: *negate,
            },
            model::Condition::File { test, path, negate } => Condition::File {
                test: match test {
                    model::FileTest::Plain => FileTest::File,
                    model::FileTest::Directory => FileTest::Directory,
                    model::FileTest::Exists => FileTest::Exists,
                    model::FileTest::Executable => FileTest::Executable,
                },
                path: self.expr(path),
                negate: *negate,
            },
        })
    }

    fn rewrite(&mut self, rewrite: &model::Rewrite) -> Option<Rewrite> {
        let regex = self.regex(&rewrite.regex, false)?;
        let then = match rewrite.flag {
            RewriteFlag::None => AfterRewrite::Continue,
            RewriteFlag::Last => AfterRewrite::Last,
            RewriteFlag::Break => AfterRewrite::Break,
            RewriteFlag::Redirect => AfterRewrite::Redirect(302),
            RewriteFlag::Permanent => AfterRewrite::Redirect(301),
        };
        let (replacement, args) = match then {
            // A redirect's target is one text; its `?` is looked for when arguments are added.
            AfterRewrite::Redirect(_) => (self.expr(&rewrite.replacement), None),
            _ => self.path_and_args(&rewrite.replacement),
        };
        Some(Rewrite {
            pattern: bytes_of(&rewrite.regex.bytes),
            regex,
            replacement,
            args,
            keep_args: !rewrite.drop_args,
            then,
        })
    }

    /// Splits at the first `?`, which cannot be part of a variable's name.
    fn path_and_args(&mut self, text: &Text) -> (Expr, Option<Expr>) {
        match memchr::memchr(b'?', &text.bytes) {
            None => (self.expr(text), None),
            Some(mark) => {
                let path = self.expr_of(&text.bytes[..mark], text.span);
                let args = self.expr_of(&text.bytes[mark + 1..], text.span);
                (path, Some(args))
            }
        }
    }
}
