//! php-fpm from the distribution as a process of its own, with a socket and scripts in the test's directory.

use super::{LIMIT, wait};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running php-fpm; dropping it ends it.
#[derive(Debug)]
pub struct Fpm {
    child: Child,
}

/// The program, when it is installed: `php-fpm`, or `php-fpm8.2` and the like.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let mut found: Vec<PathBuf> = folders
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flat_map(|entries| entries.flatten())
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let version = name.strip_prefix("php-fpm");
            version.is_some_and(|v| v.chars().all(|c| c.is_ascii_digit() || c == '.'))
        })
        .collect();
    found.sort();
    found.pop()
}

impl Fpm {
    /// Starts it with `dir`/php.sock and one worker. `None`, with a word on stderr, when it is not installed.
    pub fn start(dir: &Path) -> Option<Self> {
        let Some(program) = program() else {
            super::skipped("no php-fpm on this machine (Debian: apt-get install php-fpm)");
            return None;
        };
        let socket = dir.join("php.sock");
        let as_root = rustix::process::getuid().is_root();
        let user = if as_root {
            "user = root\ngroup = root\n"
        } else {
            ""
        };
        let shown = dir.display();
        let text = format!(
            "[global]\nerror_log = {shown}/fpm.log\ndaemonize = no\n\
             [www]\n{user}listen = {socket}\nlisten.mode = 0666\npm = static\npm.max_children = 1\n\
             pm.status_path = /fpm-status\nphp_admin_value[upload_max_filesize] = 32M\n\
             php_admin_value[post_max_size] = 64M\nphp_admin_value[memory_limit] = 256M\n\
             php_admin_value[upload_tmp_dir] = {shown}\nphp_admin_flag[log_errors] = on\n\
             php_admin_flag[display_errors] = off\nphp_admin_flag[output_buffering] = off\n",
            socket = socket.display(),
        );
        let file = dir.join("fpm.conf");
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(&program);
        command.arg("-F").arg("-n").arg("-y").arg(&file);
        if as_root {
            command.arg("-R");
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("php-fpm starts");
        let mut fpm = Self { child };
        let ready = wait::until_some(LIMIT, || {
            let over = fpm.child.try_wait().unwrap().is_some();
            let open = std::os::unix::net::UnixStream::connect(&socket).is_ok();
            (over || open).then_some(open)
        });
        let log = std::fs::read_to_string(dir.join("fpm.log")).unwrap_or_default();
        assert_eq!(ready, Some(true), "php-fpm does not accept:\n{log}");
        Some(fpm)
    }
}

impl Drop for Fpm {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).expect("a process id is positive");
        let pid = rustix::process::Pid::from_raw(pid).expect("a process id is positive");
        // The master ends its workers, which KILL would leave behind.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        if wait::until_some(LIMIT, || self.child.try_wait().unwrap()).is_none() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
