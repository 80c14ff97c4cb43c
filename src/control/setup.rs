//! What a command line and an identity settle before any file is read: paths, prefix, first log, inherited sockets.
//!
//! Start at [`Setup::new`].

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::bundle::Bundle;
use super::cli::Options;
use super::identity::Identity;

/// The fixed frame of one run of the program.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The name that the program goes by.
    pub identity: Identity,
    /// Prefix of relative paths; ends with a slash.
    pub prefix: PathBuf,
    /// The main configuration file, absolute.
    pub file: PathBuf,
    /// Directives of `-g`.
    pub globals: Option<Vec<u8>>,
    /// The log until the configuration names one, absolute or `stderr`.
    pub error_log: PathBuf,
    /// A configuration that no file holds: the one of `demo` and `proxy`, under the name in `file`.
    pub text: Option<Vec<u8>>,
    /// What to print once everything is open.
    pub banner: Option<String>,
    /// A folder that goes with the process.
    pub scratch: Option<PathBuf>,
    /// Whether the process has left its terminal.
    pub daemonized: bool,
    /// The whole command line, for a binary upgrade.
    pub command: Vec<OsString>,
}

impl Setup {
    /// Works out the paths.
    #[must_use]
    pub fn new(identity: Identity, options: &Options, command: Vec<OsString>) -> Self {
        let paths = identity.paths();
        let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        let prefix = options
            .prefix
            .as_deref()
            .map(|prefix| with_slash(&here.join(prefix)));
        let (prefix, file) = match (&options.file, prefix) {
            (Some(file), Some(prefix)) => (prefix.clone(), prefix.join(file)),
            // Differs from nginx: without -p, a file of ringx is where the shell would find it, and is the prefix of
            // the paths in it.
            (Some(file), None) if identity == Identity::Ringx => {
                let file = here.join(file);
                (
                    with_slash(file.parent().unwrap_or_else(|| Path::new("/"))),
                    file,
                )
            }
            (Some(file), None) => (paths.prefix.into(), Path::new(paths.prefix).join(file)),
            (None, prefix) => (
                prefix.unwrap_or_else(|| paths.prefix.into()),
                first_existing(paths.files),
            ),
        };
        let error_log = options
            .error_log
            .clone()
            .unwrap_or_else(|| paths.error_log.into());
        let error_log = if error_log.as_os_str() == "stderr" {
            error_log
        } else {
            prefix.join(error_log)
        };
        Self {
            identity,
            prefix,
            file,
            globals: options.globals.clone(),
            error_log,
            text: None,
            banner: None,
            scratch: None,
            daemonized: false,
            command,
        }
    }

    /// What a worker knows of it.
    #[must_use]
    pub fn of_bundle(bundle: &Bundle) -> Self {
        Self {
            identity: bundle.identity,
            prefix: bundle.prefix.clone(),
            file: bundle.file.clone(),
            globals: bundle.globals.clone(),
            error_log: bundle.error_log.clone(),
            text: None,
            banner: None,
            scratch: None,
            daemonized: false,
            command: Vec::new(),
        }
    }

    /// Removes what was made for this run only.
    pub fn clean_up(&self) {
        if let Some(scratch) = &self.scratch {
            std::fs::remove_dir_all(scratch).ok();
        }
    }
}

fn first_existing(files: &[&str]) -> PathBuf {
    let last = files.last().copied().unwrap_or_default();
    files
        .iter()
        .find(|file| Path::new(file).exists())
        .copied()
        .unwrap_or(last)
        .into()
}

fn with_slash(path: &Path) -> PathBuf {
    if path.as_os_str().as_bytes().ends_with(b"/") {
        return path.to_owned();
    }
    let mut text = path.as_os_str().to_owned();
    text.push("/");
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(identity: Identity, options: Options) -> (String, String, String) {
        let setup = Setup::new(identity, &options, Vec::new());
        let text = |path: &Path| path.to_string_lossy().into_owned();
        (
            text(&setup.prefix),
            text(&setup.file),
            text(&setup.error_log),
        )
    }

    #[test]
    fn paths_follow_the_options() {
        let owned = |(a, b, c): (&str, &str, &str)| (a.to_owned(), b.to_owned(), c.to_owned());
        let here = std::env::current_dir()
            .expect("cwd")
            .to_string_lossy()
            .into_owned();
        let with = |prefix: Option<&str>, file: Option<&str>, log: Option<&str>| Options {
            prefix: prefix.map(Into::into),
            file: file.map(Into::into),
            error_log: log.map(Into::into),
            ..Options::default()
        };
        let nginx = (
            "/etc/nginx/",
            "/etc/nginx/nginx.conf",
            "/var/log/nginx/error.log",
        );
        assert_eq!(setup(Identity::Nginx, with(None, None, None)), owned(nginx));
        assert_eq!(
            setup(
                Identity::Nginx,
                with(Some("/t"), Some("nginx.conf"), Some("error.log"))
            ),
            owned(("/t/", "/t/nginx.conf", "/t/error.log"))
        );
        assert_eq!(
            setup(Identity::Nginx, with(None, Some("my.conf"), Some("stderr"))),
            owned(("/etc/nginx/", "/etc/nginx/my.conf", "stderr"))
        );
        assert_eq!(
            setup(Identity::Ringx, with(None, Some("my.conf"), None)),
            (
                format!("{here}/"),
                format!("{here}/my.conf"),
                "stderr".to_owned()
            )
        );
        assert_eq!(
            setup(Identity::Ringx, with(Some("/t/"), Some("/a/b.conf"), None)),
            owned(("/t/", "/a/b.conf", "stderr"))
        );
    }
}
