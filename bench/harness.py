"""What the load scripts share: peers and their configurations, pinning, CPU and memory of a process tree.

Python's standard library only. A server is started in a folder of its own below `bench/out/SCRIPT`, in the foreground, and is
ended with the harness. Nothing here prints a figure; that is left to the scripts.
"""

import atexit
import fcntl
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OUT = os.path.join(ROOT, "bench", "out", os.path.basename(sys.argv[0]) or "python")
# As many as may be had without privileges, for every server alike.
DESCRIPTORS = min(65536, resource.getrlimit(resource.RLIMIT_NOFILE)[1] % (1 << 63))

CONGESTION = "/proc/sys/net/ipv4/tcp_congestion_control"

# What stands in a location or in `http`: buffers of nginx's that are large enough not to be what is measured, what lets an
# upgrade through, and a cache whose answers are always fresh.
LARGE = "proxy_buffer_size 128k; proxy_buffers 8 128k; proxy_busy_buffers_size 256k;"
UPGRADE = 'proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade"; proxy_read_timeout 1h; ' + LARGE
CACHE = "proxy_cache_path cache levels=1:2 keys_zone=one:10m; sendfile on; tcp_nopush on;"
CACHED = "proxy_cache one; proxy_cache_valid 200 1h;"

# The command that brings each tool on Debian.
PACKAGES = {"nginx": "nginx", "haproxy": "haproxy", "wrk": "wrk", "h2load": "nghttp2-client", "taskset": "util-linux"}


def begin():
    """Takes the script's folder. A second run of the same script would pull the first one's sockets from under it."""
    # Ended from outside, a script puts back and ends what it began, as after Ctrl-C.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    os.makedirs(OUT, exist_ok=True)
    held = os.open(OUT, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"another {os.path.basename(sys.argv[0])} is at work in {OUT}")


def find(tool):
    """The path of a tool, also where a user's PATH lacks the sbin folders."""
    path = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
    return shutil.which(tool, path=path)


def require(*tools):
    """Ends the script, naming the Debian packages, when a tool is missing."""
    missing = sorted({PACKAGES.get(t, t) for t in tools if not find(t)})
    if missing:
        sys.exit("missing: apt-get install --no-install-recommends " + " ".join(missing))


def ringx_binary(given=None):
    """The release binary, built when it is not there."""
    if given:
        return os.path.abspath(given)
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
    path = os.path.join(target, "release", "ringx")
    if not os.path.exists(path):
        subprocess.run(["cargo", "build", "--release"], cwd=ROOT, check=True)
    return path


def example(name):
    """A program of bench's own, built when it is not there."""
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
    path = os.path.join(target, "release", "examples", name)
    if not os.path.exists(path):
        subprocess.run(["cargo", "build", "--release", "--example", name], cwd=ROOT, check=True)
    return path


def load_binary():
    """The load of tunnels, the lean origin and the lean load over TLS, built when it is not there."""
    return example("load")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_port(port, process, name, patience):
    """Waits until a port accepts; ends the script when the process dies first."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if process.poll() is not None:
            sys.exit(f"{name} ended at once; see {OUT}/{name}")
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    sys.exit(f"{name} did not open its port")


def offer(parser):
    """The options that scripts with a table share; [`settle`] looks at what was given."""
    parser.add_argument("--raw", action="store_true", help="show this run's own figures too; do not keep them")
    parser.add_argument("--plot", metavar="FILE", help="draw the ratios as SVG into this file too")
    parser.add_argument(
        "--congestion", metavar="NAME", help="the kernel's TCP congestion control during this run, e.g. cubic; needs root"
    )


def settle(parser, given):
    """Ends the script at once, rather than after all rounds, when the picture could not be written."""
    if given.plot:
        given.plot = os.path.abspath(given.plot)
        if not os.path.isdir(os.path.dirname(given.plot)):
            parser.error(f"--plot: there is no folder {os.path.dirname(given.plot)}")


def congestion():
    """The congestion control of sockets that are made now."""
    with open(CONGESTION) as f:
        return f.read().strip()


def set_congestion(name):
    """Sets it for what is begun after this, and puts back what was there when the script ends, by Ctrl-C too."""
    before = congestion()
    if name == before:
        return

    def put(what):
        with open(CONGESTION, "w") as f:
            f.write(what)

    try:
        put(name)
    except OSError as e:
        with open(CONGESTION.replace("tcp_", "tcp_available_")) as f:
            sys.exit(f"--congestion {name}: {e.strerror}; it needs root, and one of: {f.read().strip()}")
    atexit.register(put, before)


def version(binary):
    """What a server says it is, as `name/1.2.3`."""
    said = subprocess.run([binary, "-v"], capture_output=True, text=True, check=False)
    found = re.search(r"(nginx|ringx|haproxy)\D*(\d+(?:\.\d+)*)", said.stdout + said.stderr, re.I)
    return f"{found.group(1).lower()} {found.group(2)}" if found else os.path.basename(binary)


def surroundings(ringx, *peers):
    """What a reader of the figures has to know of where they were taken."""
    versions = [version(binary) for binary in [ringx, *map(find, peers)]]
    return f"Linux {os.uname().release.split('-')[0]}, congestion control {congestion()}, {', '.join(versions)}"


class Server:
    """A server in the foreground, pinned to one core."""

    def __init__(self, name, core, make, patience=10):
        """`make(folder, port)` writes the configuration and returns the command line."""
        self.name = name
        self.folder = os.path.join(OUT, name)
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(os.path.join(self.folder, "logs"))
        os.chmod(self.folder, 0o777)
        self.port = free_port()
        command = make(self.folder, self.port)
        log = open(os.path.join(self.folder, "output"), "wb")
        self.process = subprocess.Popen(
            ["taskset", "-c", str(core)] + command, cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
        atexit.register(self.stop)
        wait_port(self.port, self.process, name, patience)

    def pids(self):
        """The process and all its descendants."""
        found, queue = [], [self.process.pid]
        while queue:
            pid = queue.pop()
            found.append(pid)
            try:
                for task in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{task}/children") as f:
                        queue += [int(p) for p in f.read().split()]
            except OSError:
                pass
        return found

    def cpu(self):
        """(run time in ns, user ticks, system ticks) of all threads of all processes, kernel io workers included."""
        run = user = system = 0
        for pid in self.pids():
            try:
                with open(f"/proc/{pid}/stat") as f:
                    words = f.read().rsplit(") ", 1)[1].split()
                user += int(words[11])
                system += int(words[12])
                for task in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{task}/schedstat") as f:
                        run += int(f.read().split()[0])
            except OSError:
                continue
        return run, user, system

    def memory_kib(self):
        """Memory that belongs to the processes: proportional, so that shared pages count once."""
        total = 0
        for pid in self.pids():
            try:
                with open(f"/proc/{pid}/smaps_rollup") as f:
                    for line in f:
                        if line.startswith("Pss:"):
                            total += int(line.split()[1])
            except OSError:
                continue
        return total

    def descriptors(self):
        total = 0
        for pid in self.pids():
            try:
                total += len(os.listdir(f"/proc/{pid}/fd"))
            except OSError:
                continue
        return total

    def reload(self):
        self.process.send_signal(signal.SIGHUP)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                for pid in self.pids():
                    os.kill(pid, signal.SIGKILL)
                self.process.wait()


def json_text(length):
    """Rows as an interface would answer them, the same in every run: they shrink to a quarter."""
    rows, seed = [], 7
    while sum(map(len, rows)) < length:
        seed = (seed * 1103515245 + 12345) % 2**31
        words = ["alpha", "order", "price", "user", "status", "address", "shipped", "customer"]
        name = " ".join(words[seed >> shift & 7] for shift in (8, 11, 14))
        row = f'{{"id": {len(rows) * 7 + 1000}, "name": "{name}", "price": {seed % 100000 / 100}, "token": "{seed:08x}"}},'
        rows.append(row)
    return ("[" + "".join(rows))[: length - 1] + "]"


def origin(core):
    """nginx answering 1 KiB on a TCP port and a unix socket, and 64 KiB at /json, for every proxy alike."""
    body = "x" * 1024

    def make(folder, port):
        with open(os.path.join(folder, "json"), "w") as f:
            f.write(json_text(64 << 10))
        os.chmod(folder, 0o755)
        for name, size in {"64k": 64 << 10, "1m": 1 << 20, "100m": 100 << 20}.items():
            with open(os.path.join(folder, name), "wb") as f:
                f.truncate(size)
        path = os.path.join(folder, "origin.conf")
        with open(path, "w") as f:
            f.write(
                f"""daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
worker_rlimit_nofile {DESCRIPTORS};
events {{ worker_connections 16384; }}
http {{
    access_log off; keepalive_requests 1000000000; keepalive_timeout 1h; client_max_body_size 64m;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    sendfile on; tcp_nopush on;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        listen unix:{folder}/origin.sock;
        location ~ "^/(64k|1m|100m)$" {{ default_type text/plain; root {folder}; }}
        location / {{ default_type text/plain; return 200 "{body}"; }}
        location = /json {{ default_type application/json; root {folder}; }}
    }}
}}
"""
            )
        return [find("nginx"), "-p", folder, "-c", path, "-e", f"{folder}/error.log"]

    server = Server("origin", core, make)
    server.socket = os.path.join(server.folder, "origin.sock")
    os.chmod(server.socket, 0o666)
    return server


def lean_origin(core):
    """bench/load answering 1 KiB to anything, on a TCP port and a unix socket: it costs less than nginx, so that the core it
    shares with the load is full later."""

    def make(folder, port):
        return [load_binary(), "answers", f"127.0.0.1:{port}", "--unix", os.path.join(folder, "origin.sock")]

    server = Server("lean-origin", core, make)
    server.socket = os.path.join(server.folder, "origin.sock")
    os.chmod(server.socket, 0o666)
    return server


def tunnel_origin(core):
    """The far end of tunnels, for every proxy alike."""

    def make(_folder, port):
        return [load_binary(), "origin", f"127.0.0.1:{port}"]

    return Server("tunnel-origin", core, make)


def nginx_conf(folder, port, target, extra="", inside="", events="", h2=False, main="", server=""):
    """What nginx and ringx run, word for word. `extra` stands in `http`, `inside` in the location, `events` in that block,
    `main` at the top and `server` in the server; `h2` is how old and new versions of nginx alike are told to speak HTTP/2."""
    listen = "http2 " if h2 else ""
    upgrade = "Upgrade" in inside
    connection = "" if upgrade else 'proxy_set_header Connection "";'
    return f"""daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
worker_rlimit_nofile {DESCRIPTORS};
{main}
events {{ worker_connections 32768; {events} }}
http {{
    access_log off; keepalive_requests 1000000000; keepalive_timeout 1h; client_max_body_size 64m;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    upstream app {{ server {target}; keepalive 1024; keepalive_requests 1000000000; keepalive_timeout 1h; }}
    {extra}
    server {{
        listen 127.0.0.1:{port} {listen}backlog=4096;
        {server}
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            {connection}
            {inside}
            proxy_set_header Host $host;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            client_body_buffer_size 64k;
        }}
    }}
}}
"""


def static_conf(folder, port):
    """The same for files, with sendfile on."""
    return f"""daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
worker_rlimit_nofile {DESCRIPTORS};
events {{ worker_connections 32768; }}
http {{
    access_log off; keepalive_requests 1000000000; keepalive_timeout 1h;
    sendfile on; tcp_nopush on;
    types {{ text/html html; }}
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        root {folder}/www;
    }}
}}
"""


def static(name, binary, core, size):
    """Starts nginx or ringx on [`static_conf`]."""

    def make(folder, port):
        # The folder is the harness's own; a worker that runs as nobody has to read it.
        os.chmod(folder, 0o755)
        os.makedirs(os.path.join(folder, "www"), exist_ok=True)
        with open(os.path.join(folder, "www", "index.html"), "wb") as f:
            f.write(b"x" * size)
        path = os.path.join(folder, "proxy.conf")
        with open(path, "w") as f:
            f.write(static_conf(folder, port))
        return [binary, "-p", folder, "-c", path, "-e", f"{folder}/error.log"]

    return Server(name, core, make)


def like_nginx(name, binary, core, target, extra="", inside="", h2=False, **further):
    """Starts nginx or ringx on [`nginx_conf`], which takes what is `further`."""

    def make(folder, port):
        path = os.path.join(folder, "proxy.conf")
        with open(path, "w") as f:
            f.write(nginx_conf(folder, port, target, extra, inside, h2=h2, **further))
        return [binary, "-p", folder, "-c", path, "-e", f"{folder}/error.log"]

    return Server(name, core, make)


def haproxy(core, target, name="haproxy", lines=("option http-buffer-request",)):
    """Starts haproxy with the same features: one thread, kept connections on both sides, the same fields. `lines` stand
    in its defaults.

    Its limit of connections follows from the limit of descriptors, of which it reserves two for each."""
    address = target.replace("unix:", "unix@")

    def make(folder, port):
        path = os.path.join(folder, "haproxy.cfg")
        with open(path, "w") as f:
            f.write(
                f"""global
    nbthread 1
defaults
    mode http
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    timeout http-keep-alive 1h
    option http-keep-alive
    http-reuse always
    timeout tunnel 1h
    {chr(10).join(lines)}
frontend in
    bind 127.0.0.1:{port} backlog 4096
    default_backend app
backend app
    option forwardfor
    http-request set-header X-Real-IP %[src]
    http-request set-header X-Forwarded-Proto http
    server one {address} pool-max-conn 1024
"""
            )
        return [find("haproxy"), "-db", "-f", path]

    return Server(name, core, make)


def target_of(server, unix):
    return f"unix:{server.socket}" if unix else f"127.0.0.1:{server.port}"
