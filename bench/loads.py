"""Other people's load generators, and perf: how they are run and what they tell.

Each load is a dictionary: requests, bytes, rate (requests/s), p50, p99 and p999 in seconds (none where the generator tells
none), and bad, the answers that failed. Nothing here knows proxies or prints.
"""

import os
import re
import signal
import subprocess

import harness

# wrk tells p99.9, exact bytes and kinds of errors to a script only.
FIGURES = ["requests", "bytes", "duration", "p50", "p99", "p999", "connect", "read", "write", "timeout", "status"]
DONE = f"""
done = function(summary, latency)
  local e = summary.errors
  local all = {{ summary.requests, summary.bytes, summary.duration, latency:percentile(50), latency:percentile(99),
    latency:percentile(99.9), e.connect, e.read, e.write, e.timeout, e.status }}
  for i, n in ipairs(all) do all[i] = string.format("%.0f", n) end
  io.write("figures " .. table.concat(all, " ") .. "\\n")
end
"""
POST = 'wrk.method = "POST"\nwrk.body = string.rep("x", 16384)\n'
EVENT = "raw_syscalls:sys_enter"


def wrk(url, connections, seconds, core, fields=(), post=False):
    """Runs wrk, with one thread. `fields` are further request fields; `post` sends 16 KiB."""
    script = os.path.join(harness.OUT, "post.lua" if post else "get.lua")
    with open(script, "w") as f:
        f.write((POST if post else "") + DONE)
    command = ["taskset", "-c", str(core), harness.find("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "-s", script]
    for one in fields:
        command += ["-H", one]
    text = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    words = re.search(r"^figures (.*)$", text, re.M).group(1).split()
    got = dict(zip(FIGURES, map(int, words)))
    # After "Connection: close" wrk counts the announced end as a read error.
    kinds = ["connect", "write", "timeout", "status"] + ([] if "Connection: close" in fields else ["read"])
    times = {key: got[key] / 1e6 for key in ("p50", "p99", "p999")}
    counts = {"requests": got["requests"], "bytes": got["bytes"], "bad": sum(got[kind] for kind in kinds)}
    return counts | times | {"rate": got["requests"] * 1e6 / max(1, got["duration"])}


def h2load(url, connections, seconds, core):
    """Runs h2load, with one thread and 32 streams on each connection."""
    log = os.path.join(harness.OUT, "h2load.log")
    # It writes to the end of what is there.
    if os.path.exists(log):
        os.unlink(log)
    command = ["taskset", "-c", str(core), harness.find("h2load"), "-t1", f"-c{connections}", "-m32", f"-D{seconds}"]
    text = subprocess.run([*command, f"--log-file={log}", url], capture_output=True, text=True, check=True).stdout
    done = int(re.search(r"(\d+) done", text).group(1))
    good = int(re.search(r"status codes: (\d+) 2xx", text).group(1))
    with open(log) as f:
        times = sorted(int(line.rsplit("\t", 1)[1]) / 1e6 for line in f)
    os.unlink(log)
    shares = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
    found = {key: times[int(len(times) * share)] if times else None for key, share in shares.items()}
    return {"requests": done, "bytes": 0, "rate": done / seconds, "bad": done - good} | found


def lean_tls(port, path, connections, seconds, core):
    """Runs bench/load over kept TLS connections. It ends with an error at the first answer that is not as it should be."""
    command = ["taskset", "-c", str(core), harness.load_binary(), "tls", f"127.0.0.1:{port}", "--path", path]
    command += ["--connections", str(connections), "--seconds", str(seconds)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    requests, took, *times = map(int, re.search(r"^answered (.*)$", text, re.M).group(1).split())
    found = {key: time / 1e9 for key, time in zip(("p50", "p99", "p999"), times)}
    return {"requests": requests, "bytes": 0, "rate": requests * 1e9 / took, "bad": 0} | found


def why_no_calls():
    """Why system calls cannot be counted here; nothing where they can."""
    perf = harness.find("perf")
    if not perf:
        return "there is no perf (Debian: linux-perf)"
    tried = subprocess.run([perf, "stat", "-x,", "-e", EVENT, "true"], capture_output=True, text=True, check=False)
    if tried.returncode or not re.search(r"^\d+,", tried.stderr, re.M):
        return "perf may not trace system calls here; it needs root, or kernel.perf_event_paranoid at -1"
    return None


class Calls:
    """Counts the system calls of all threads of a server, from [`begin`] to [`end`]. All system calls of the machine are
    slower meanwhile, so nothing else is measured then."""

    def __init__(self, server):
        # perf is told when to count: it takes a while to find all threads.
        told, self.tell = os.pipe()
        self.heard, hears = os.pipe()
        pids = ",".join(map(str, server.pids()))
        self.process = subprocess.Popen(
            [harness.find("perf"), "stat", "-x,", "-e", EVENT, "-D", "-1", "--control", f"fd:{told},{hears}", "-p", pids],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=(told, hears),
        )
        os.close(told)
        os.close(hears)

    def say(self, word):
        try:
            os.write(self.tell, word + b"\n")
            os.read(self.heard, 64)
        except BrokenPipeError:
            # perf has ended, which its result shows.
            pass

    def begin(self):
        self.say(b"enable")

    def end(self):
        """The count, or nothing when perf did not count."""
        self.say(b"disable")
        self.process.send_signal(signal.SIGINT)
        text = self.process.communicate()[1]
        os.close(self.tell)
        os.close(self.heard)
        found = re.search(rf"^(\d+),.*{EVENT}", text, re.M)
        return int(found.group(1)) if found else None
