//! `ringx check` as people and machines use it: exit codes, the requests that it names, edits in files, formats; and the other
//! commands that describe: schema, manual page, completions.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use crate::support::proxy::{is_foreign, run_bare};
use crate::support::tls::{Authority, Pair};
use crate::support::{Config, Origin, skipped};

const PYTHON: &str = "/usr/bin/python3";

/// A folder with one configuration.
struct Folder {
    dir: TempDir,
    conf: PathBuf,
}

impl Folder {
    fn new(name: &str, text: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("ringx-").tempdir().unwrap();
        // Folders of tests are closed to others, which would hide what others may read.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let conf = dir.path().join(name);
        fs::write(&conf, text).unwrap();
        Self { dir, conf }
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.conf).unwrap()
    }

    /// The exit code, and what is said on standard output, the folder replaced by `DIR`.
    fn check(&self, args: &[&str]) -> (Option<i32>, String) {
        let conf = self.conf.display().to_string();
        let output = run_bare(&[&["check", &conf], args].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let folder = self.dir.path().display().to_string();
        (output.status.code(), text.replace(&folder, "DIR"))
    }

    /// The rules that find something, in order.
    fn rules(&self) -> Vec<String> {
        let (_, json) = self.check(&["--format", "json"]);
        let parts = json.split("{\"rule\": \"").skip(1);
        parts
            .map(|p| p.split('"').next().unwrap().to_owned())
            .collect()
    }
}

/// What a program of Python says to this input; nothing where it has not what the program needs.
fn python(needs: &str, program: &str, input: &str) -> Option<(bool, String)> {
    let has = Command::new(PYTHON)
        .args(["-c", &format!("import {needs}")])
        .stderr(Stdio::null())
        .status();
    if !has.is_ok_and(|s| s.success()) {
        skipped(&format!("{PYTHON} has no {needs}"));
        return None;
    }
    let mut child = Command::new(PYTHON)
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    Some((
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    ))
}

#[test]
fn the_exit_code_tells_what_is_wrong() {
    if is_foreign() {
        return;
    }
    let clean = "events {}\nhttp { server { listen 80; return 204; } }\n";
    let note = "events {}\nhttp { server { listen 80; client_max_body_size 0; return 204; } }\n";
    let found = "events {}\nhttp { server { listen 80; location /a { alias /srv/a/; } } }\n";
    let broken = "events {}\nhttp { server { listen 80; nonsense; } }\n";
    for (text, args, want) in [
        (clean, &[][..], 0),
        (note, &[], 0),
        (note, &["--deny", "unlimited-body"], 1),
        (note, &["--deny", "all"], 1),
        (found, &[], 1),
        (found, &["--allow", "loose-alias"], 0),
        (found, &["--format", "json"], 1),
        (found, &["--format", "sarif"], 1),
        (broken, &[], 2),
        (broken, &["--allow", "all"], 2),
        (broken, &["--fix"], 2),
        (clean, &["--allow", "no-such-rule"], 2),
    ] {
        let folder = Folder::new("a.conf", text);
        let (code, said) = folder.check(args);
        assert_eq!(code, Some(want), "{args:?}: {text}: {said}");
        assert_eq!(folder.text(), text);
    }
    let gone = run_bare(&["check", "/no/such/file.conf"]);
    assert_eq!(gone.status.code(), Some(2));
}

#[test]
fn a_finding_has_its_line_its_reason_its_request_and_its_edit() {
    if is_foreign() {
        return;
    }
    let folder = Folder::new(
        "a.conf",
        "events {}\nhttp {\n    server {\n        listen 8080;\n        server_name a.test;\n        location ~* .(js|css)$ { }\n    }\n}\n",
    );
    let (code, said) = folder.check(&[]);
    assert_eq!(code, Some(1));
    for piece in [
        "warn: the dot in \".(js|css)$\" stands for any character [loose-dot]\n",
        " --> DIR/a.conf:6:21\n",
        "6 |         location ~* .(js|css)$ { }\n",
        "  |                     ^^^^^^^^^^\n",
        "  = why: `.php$` takes `/xphp` too",
        "  = request: GET http://a.test:8080/xjs\n",
        "  = edit: write \\.(js|css)$ (--fix)\n",
        "DIR/a.conf: good, 0 errors, 1 warning, 0 notes; 1 listener, 1 server, ",
    ] {
        assert!(said.contains(piece), "{piece} is not in\n{said}");
    }
    let (_, json) = folder.check(&["--format", "json"]);
    assert!(
        json.contains("\"rule\": \"loose-dot\", \"level\": \"warning\"")
            && json.contains("\"file\": \"DIR/a.conf\", \"line\": 6, \"column\": 21, \"end_line\": 6, \"end_column\": 31"),
        "{json}"
    );
}

/// The request that a finding names, sent to a real server, suffers as the finding says.
#[test]
fn the_requests_that_are_named_are_harmed() {
    if is_foreign() {
        return;
    }
    let origin = Origin::text("x");
    let proxy = Config::server(
        "server_name a.test;
         add_header X-Outer 1;
         location /api { proxy_pass http://%%origin%%/; proxy_set_header Host h; }
         location /v/ { proxy_pass http://%%origin%%/v1; proxy_set_header Host h; }
         location ~ .(js|css)$ { add_header X-Inner 1; return 200 loose; }
         location /admin { deny all; return 200 open; }
         location /loop/ { root %%DIR%%; try_files $uri $uri/; }
         location /ws/ { proxy_pass http://%%origin%%; proxy_set_header Connection upgrade; }",
    )
    .set("origin", origin.addr())
    .may_log("rewrite or internal redirection cycle")
    .start();
    let conf = proxy.path("ringx.conf").display().to_string();
    let json = run_bare(&["check", &conf, "--format", "json"]);
    let json = String::from_utf8_lossy(&json.stdout).into_owned();
    // The path of the request of a rule's first finding.
    let path = |rule: &str, nth: usize| {
        let mark = format!("{{\"rule\": \"{rule}\"");
        let mut found = json.split(&mark[..]).skip(1);
        let one = found.nth(nth).unwrap_or_else(|| panic!("{rule}: {json}"));
        let (_, request) = one.split_once("\"request\": \"GET http://").unwrap();
        let url = request.split('"').next().unwrap();
        url[url.find('/').unwrap()..].to_owned()
    };
    let get = |path: &str| {
        let mut client = proxy.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        client.response()
    };
    get(&path("replaced-prefix", 0));
    assert_eq!(origin.last().target(), "//x");
    get(&path("replaced-prefix", 1));
    assert_eq!(origin.last().target(), "/v1x");
    let loose = get(&path("loose-dot", 0));
    assert_eq!(loose.text(), "loose");
    assert_eq!(get(&path("return-before-access", 0)).text(), "open");
    assert_eq!(get(&path("try-files-loop", 0)).status(), 500);
    get(&path("fixed-upgrade", 0));
    assert_eq!(origin.last().field("connection"), Some("upgrade"));
    // Whatever the named path comes to, an answer of the pattern's location lacks the outer field.
    assert!(json.contains("\"rule\": \"shadowed-add-header\""));
    assert_eq!(loose.field("x-inner"), Some("1"));
    assert_eq!(loose.field("x-outer"), None);
}

/// A configuration of two files with everything that can be edited, and what becomes of it.
#[test]
fn safe_edits_keep_everything_else_as_it_is() {
    if is_foreign() {
        return;
    }
    let main = "# the main file\nevents {}\nhttp {\n    # what all share\n    include sites/*.conf;\n    ssl_protocols  TLSv1 TLSv1.2   TLSv1.3 ; # old\n}\n";
    let site = "server {\n\tlisten 8443 ssl http2; # both\n\tssl_reject_handshake on;\n\tadd_header X-Frame-Options 'DENY';\n\n\tlocation ~ .php$ {   # dots\n\t\tproxy_pass http://127.0.0.1:1; proxy_set_header Host $host;\n\t\tproxy_set_header Connection \"upgrade\";\n\t}\n}\n";
    let old = "server { listen 8080; return 301 https://$host$uri; }\n";
    let folder = Folder::new("a.conf", main);
    let target = folder.write("available/site.conf", site);
    let other = folder.write("sites/old.conf", old);
    fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
    let link = folder.dir.path().join("sites/site.conf");
    symlink("../available/site.conf", &link).unwrap();

    // A diff alone writes nothing.
    let (_, said) = folder.check(&["--diff"]);
    assert_eq!(folder.text(), main);
    assert_eq!(fs::read_to_string(&target).unwrap(), site);
    for line in [
        "--- DIR/sites/site.conf\n",
        "-\tlisten 8443 ssl http2; # both\n",
        "+\tlisten 8443 ssl; # both\n",
        "+\thttp2 on;\n",
        "-server { listen 8080; return 301 https://$host$uri; }\n",
        "+server { listen 8080; return 301 https://$host$request_uri; }\n",
        "@@ ",
    ] {
        assert!(said.contains(line), "{line} is not in\n{said}");
    }

    let (code, said) = folder.check(&["--fix"]);
    assert!(said.contains("fixed in 3 files"), "{said}");
    assert_eq!(code, Some(0), "{said}");
    let map = "http {\n    map $http_upgrade $connection_upgrade {\n        default upgrade;\n        '' '';\n    }\n";
    let main_want = main
        .replace("TLSv1 TLSv1.2", "TLSv1.2")
        .replace("ssl_protocols  ", "ssl_protocols ")
        .replace("http {\n", map);
    assert_eq!(folder.text(), main_want);
    let site_got = fs::read_to_string(&target).unwrap();
    for line in [
        "\tlisten 8443 ssl; # both\n\thttp2 on;\n",
        "\tadd_header X-Frame-Options 'DENY' always;\n\n",
        "\tlocation ~ \\.php$ {   # dots\n",
        "\t\tproxy_set_header Connection $connection_upgrade;\n",
    ] {
        assert!(site_got.contains(line), "{line} is not in\n{site_got}");
    }
    assert_eq!(
        fs::read_to_string(&other).unwrap(),
        old.replace("$uri", "$request_uri")
    );
    // A link stays a link, rights stay rights, nothing else is left behind.
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    let mode = fs::metadata(&target).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o640);
    for part in ["", "sites", "available"] {
        for entry in fs::read_dir(folder.dir.path().join(part)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(!name.starts_with('.'), "{name} was left behind");
        }
    }
    // It loads, and there is nothing more to do.
    let conf = folder.conf.display().to_string();
    let tested = run_bare(&["-t", "-q", "-c", &conf]);
    assert_eq!(tested.status.code(), Some(0), "{tested:?}");
    let before = (folder.text(), site_got);
    let (_, said) = folder.check(&["--fix", "--diff"]);
    assert!(!said.contains("fixed in") && !said.contains("@@"), "{said}");
    assert_eq!(
        (folder.text(), fs::read_to_string(&target).unwrap()),
        before
    );
}

#[test]
fn the_second_language_is_checked_and_edited_too() {
    if is_foreign() {
        return;
    }
    let text = "# ours\nssl_protocols = \"TLSv1.1 TLSv1.2\"\n[events]\n\n[[server]]\nlisten = \"8080\" # plain\nrules = [ 'return 301 https://$host$uri' ]\n\n[server.location.\"/f\"]\nalias = \"/srv/f/\"\n";
    let folder = Folder::new("a.toml", text);
    assert_eq!(
        folder.rules(),
        ["old-tls-versions", "decoded-redirect", "loose-alias"]
    );
    let (code, said) = folder.check(&["--fix"]);
    assert_eq!(code, Some(1), "{said}");
    let want = text.replace("TLSv1.1 TLSv1.2", "TLSv1.2").replace(
        "'return 301 https://$host$uri'",
        "\"return 301 https://$host$request_uri\"",
    );
    assert_eq!(folder.text(), want);
    assert_eq!(folder.rules(), ["loose-alias"]);
    let conf = folder.conf.display().to_string();
    assert_eq!(run_bare(&["-t", "-q", "-c", &conf]).status.code(), Some(0));
}

/// A certificate that begins and ends so many days from now.
fn lasting(names: &[&str], from: i64, days: i64) -> Pair {
    let key = rcgen::KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|&n| n.to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let at = |days: i64| {
        let seconds = now.as_secs().checked_add_signed(days * 86_400).unwrap();
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds + 60)
    };
    (params.not_before, params.not_after) = (at(from), at(days));
    Pair {
        cert: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

#[test]
fn certificates_and_keys_are_looked_at() {
    if is_foreign() {
        return;
    }
    let authority = Authority::new();
    let signed = authority.sign(&["a.test", "*.a.test"]);
    for (pair, name, mode, chain, want) in [
        (lasting(&["a.test"], -9, 90), "a.test", 0o600, "", &[][..]),
        (lasting(&["a.test"], -9, 90), "a.test", 0o640, "", &[]),
        (
            lasting(&["a.test"], -9, 90),
            "a.test",
            0o644,
            "",
            &["readable-key"],
        ),
        (
            lasting(&["a.test"], -9, 20),
            "a.test",
            0o600,
            "",
            &["expiring-certificate"],
        ),
        (
            lasting(&["a.test"], -9, -1),
            "a.test",
            0o600,
            "",
            &["expired-certificate"],
        ),
        (
            lasting(&["a.test"], 1, 90),
            "a.test",
            0o600,
            "",
            &["expired-certificate"],
        ),
        (
            lasting(&["a.test"], -9, 90),
            "b.test",
            0o600,
            "",
            &["certificate-name"],
        ),
        (
            Pair {
                cert: signed.cert.clone(),
                key: signed.key.clone(),
            },
            "x.a.test",
            0o600,
            "",
            &["incomplete-chain"],
        ),
        (signed, "x.a.test", 0o600, &authority.cert, &[]),
    ] {
        let folder = Folder::new(
            "a.conf",
            &format!(
                "http {{ server {{ listen 443 ssl; server_name {name}; ssl_certificate tls/c.pem; ssl_certificate_key tls/k.pem; return 204; }} }}"
            ),
        );
        folder.write("tls/c.pem", format!("{}{chain}", pair.cert));
        let key = folder.write("tls/k.pem", pair.key);
        fs::set_permissions(key, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(folder.rules(), want, "{name} {mode:o}");
    }
}

#[test]
fn a_key_of_another_certificate_cannot_be_loaded() {
    if is_foreign() {
        return;
    }
    let (one, two) = (lasting(&["a"], -1, 90), lasting(&["a"], -1, 90));
    let folder = Folder::new(
        "a.conf",
        "http { server { listen 443 ssl; ssl_certificate c.pem; ssl_certificate_key k.pem; } }",
    );
    folder.write("c.pem", one.cert);
    folder.write("k.pem", two.key);
    let (code, said) = folder.check(&[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("[cannot-load]"), "{said}");
}

/// What the format asks for of a log, its tools, rules, results, places and edits.
const SARIF: &str = r#"
import json, sys
log = json.load(sys.stdin)
assert log["version"] == "2.1.0" and log["$schema"].startswith("https://")
[run] = log["runs"]
driver = run["tool"]["driver"]
assert driver["name"] == "ringx" and driver["version"]
ids = [rule["id"] for rule in driver["rules"]]
assert len(ids) == len(set(ids)) and len(ids) > 30
for rule in driver["rules"]:
    assert rule["shortDescription"]["text"] and rule["fullDescription"]["text"] and rule["help"]["text"]
    assert rule["defaultConfiguration"]["level"] in ("none", "note", "warning", "error")
assert run["columnKind"] in ("utf16CodeUnits", "unicodeCodePoints")
assert [i["executionSuccessful"] for i in run["invocations"]] == [True]
fixes = 0
for result in run["results"]:
    assert ids[result["ruleIndex"]] == result["ruleId"]
    assert result["level"] in ("none", "note", "warning", "error") and result["message"]["text"]
    for location in result.get("locations", []):
        place = location["physicalLocation"]
        uri, region = place["artifactLocation"]["uri"], place["region"]
        assert uri.startswith("file:///") and " " not in uri
        assert 1 <= region["startLine"] <= region["endLine"] and region["startColumn"] >= 1
        assert region["endColumn"] > region["startColumn"] or region["endLine"] > region["startLine"]
    for fix in result.get("fixes", []):
        fixes += 1
        for change in fix["artifactChanges"]:
            for one in change["replacements"]:
                assert one["deletedRegion"]["byteOffset"] >= 0 and one["deletedRegion"]["byteLength"] >= 0
                assert isinstance(one["insertedContent"]["text"], str)
print(",".join(r["ruleId"] for r in run["results"]), fixes)
"#;

#[test]
fn sarif_is_what_code_hosts_read() {
    if is_foreign() {
        return;
    }
    let folder = Folder::new(
        "a b.conf",
        "events {}\nhttp {\n  log_format \"\t\\\\ \u{e9}\" '$uri';\n  server { location ~ .php$ { } location /a { alias \"/x y/\"; } }\n}\n",
    );
    let (code, sarif) = folder.check(&["--format", "sarif"]);
    assert_eq!(code, Some(1));
    let sarif = sarif.replace("DIR", &folder.dir.path().display().to_string());
    let Some((good, said)) = python("json", SARIF, &sarif) else {
        return;
    };
    assert!(good, "{said}\n{sarif}");
    assert_eq!(
        said.trim(),
        "unused-log-format,loose-dot,stolen-files,loose-alias 1"
    );
}

const SCHEMA: &str = r#"
import json, sys, tomllib, jsonschema
schema, good, bad = json.load(sys.stdin)
schema = json.loads(schema)
jsonschema.Draft202012Validator.check_schema(schema)
check = jsonschema.Draft202012Validator(schema)
for text in good:
    for error in check.iter_errors(tomllib.loads(text)):
        sys.exit(f"{text}\n{list(error.path)}: {error.message}")
for text in bad:
    if check.is_valid(tomllib.loads(text)):
        sys.exit(f"passes and should not:\n{text}")
print(len(good), len(bad))
"#;

/// A text as a string of JSON.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn confs(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|e| e.path());
    paths
        .filter(|p| p.extension().is_some_and(|e| e == "conf"))
        .collect()
}

/// Every configuration at hand, as TOML, is valid by the schema; what does not load for its shape is not.
#[test]
fn the_schema_describes_the_second_language() {
    if is_foreign() {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let seeds = std::env::var_os("RINGX_SEED_CONFIGS")
        .map_or_else(|| root.join("../shared/seed-configs"), PathBuf::from);
    let mut good = Vec::new();
    for folder in [
        &seeds,
        &root.join("config"),
        &root.join("src/config/tests/golden"),
    ] {
        for path in confs(folder) {
            let output = run_bare(&["convert", &path.display().to_string()]);
            // Some are only to be included.
            if output.status.success() {
                good.push(String::from_utf8(output.stdout).unwrap());
            }
        }
    }
    good.push(fs::read_to_string(root.join("config/proxy.toml")).unwrap());
    assert!(good.len() >= 5);
    let bad = [
        "nonsense = 1\n",
        "[http]\nproxy_pas = \"x\"\n",
        "[[server]]\nlisten = 2020-01-01\n",
        "worker_processes = { a = \"b\" }\n",
        "[server.location.\"/\"]\nproxy_pass = [\"http://a\", \"http://b\"]\n",
        "[server.location.\"/\"]\nworker_processes = 1\n",
        "http3 = true\n",
        "[upstream]\nserver = \"127.0.0.1\"\n",
    ];
    for text in bad {
        let folder = Folder::new("bad.toml", text);
        assert_eq!(folder.check(&[]).0, Some(2), "{text}");
    }
    let schema = run_bare(&["schema"]);
    let schema = String::from_utf8(schema.stdout).unwrap();
    assert_eq!(
        schema,
        fs::read_to_string(root.join("config/ringx.schema.json")).unwrap()
    );
    let list = |texts: &[String]| {
        let all: Vec<String> = texts.iter().map(|t| quoted(t)).collect();
        format!("[{}]", all.join(","))
    };
    let input = format!(
        "[{},{},{}]",
        quoted(&schema),
        list(&good),
        list(&bad.map(str::to_owned))
    );
    let Some((valid, said)) = python("jsonschema, tomllib", SCHEMA, &input) else {
        return;
    };
    assert!(valid, "{said}");
    assert_eq!(said.trim(), format!("{} {}", good.len(), bad.len()));
}

/// What a program says to a text on its standard input or in a file; nothing where it is not installed.
fn said_by(program: &str, args: &[&str], text: &str) -> Option<String> {
    let folder = Folder::new("text", text);
    let file = folder.conf.display().to_string();
    let output = Command::new(program)
        .args(args)
        .arg(&file)
        .env("LC_ALL", "C.UTF-8")
        .env("MANWIDTH", "80")
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) => Some(format!(
            "{}{}{}",
            output.status.code().unwrap_or(-1),
            String::from_utf8_lossy(&output.stderr),
            if args.contains(&"-l") {
                String::from_utf8_lossy(&output.stdout)
            } else {
                "".into()
            }
        )),
        Err(_) => {
            skipped(&format!("{program} is not installed"));
            None
        }
    }
}

#[test]
fn shells_and_man_read_what_is_made_for_them() {
    if is_foreign() {
        return;
    }
    let made = |args: &[&str]| String::from_utf8(run_bare(args).stdout).unwrap();
    for (shell, check) in [("bash", "-n"), ("zsh", "-n"), ("fish", "-n")] {
        let text = made(&["completions", shell]);
        if let Some(said) = said_by(shell, &[check], &text) {
            assert_eq!(said, "0", "{shell}");
        }
    }
    // Completed in a real shell: commands, then options, then the words of an option, then files.
    let bash = made(&["completions", "bash"]);
    for (line, want) in [
        ("ringx ch", "check"),
        ("ringx check --fo", "--format"),
        ("ringx check --format sa", "sarif"),
        ("ringx check --deny loose-d", "loose-dot"),
        ("ringx -s rel", "reload"),
        ("ringx check /etc/hostn", "/etc/hostname"),
    ] {
        let words = line.split(' ').count();
        let script = format!(
            "{bash}\nCOMP_WORDS=({line}) COMP_CWORD={}\n_ringx\nprintf '%s\\n' \"${{COMPREPLY[@]}}\" >&2\n",
            words - 1
        );
        let said = said_by("bash", &[], &script).unwrap_or_default();
        if want != "/etc/hostname" || Path::new(want).exists() {
            let offered = said[1..].lines().any(|word| word == want);
            assert!(offered, "{line}: {said}");
        }
    }
    let page = made(&["man"]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(page, fs::read_to_string(root.join("docs/ringx.8")).unwrap());
    // A minimal machine may have a man that shows nothing.
    if let Some(said) = said_by("man", &["--warnings", "-l"], &page)
        && !said.contains("minimized")
    {
        assert!(said.starts_with('0') && !said.contains("warning"), "{said}");
        assert!(said.contains("ringx check"), "{said}");
    }
}
