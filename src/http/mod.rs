//! One exchange from head to log line: the stages. Start at `flow`.
