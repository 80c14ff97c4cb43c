//! The two processes: command line, parent and worker, signals, reload.

/// Runs the program for this process's command line and returns its exit code.
#[must_use]
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
