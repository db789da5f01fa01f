#!/usr/bin/env python3
"""Publish a file of actions and read the gate's verdicts out of the ledger.

    verdicts.py publish --bin oncegate FILE.jsonl > published.jsonl
    verdicts.py show [--repeated] published.jsonl
    verdicts.py answers --bin oncegate

`publish` calls `oncegate publish` once for each line of FILE, and writes the line again with the
stream and sequence that the action got. `show` reads the ledger stream over a plain NATS connection
(standard library only) until every one of them is decided, prints a table, and exits with 1 if a
verdict is not the expected one. `answers` publishes one action, reports its result as an executor
would, and publishes it again; it shows the receipts, and exits with 1 if they are not as expected.

A line: {"subject", "key" (or null), "headers": {..}, "payload": JSON or string, "expect":
"accepted|duplicate|rejected", "reason", "note"}. A string payload is published byte for byte; any
other JSON is published in its shortest form.
"""

import argparse
import base64
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.parse


# ---- a NATS client, as small as it goes --------------------------------------------------------


class Nats:
    """One connection, one request at a time."""

    def __init__(self, url, timeout=5.0):
        parts = urllib.parse.urlsplit(url if "://" in url else "nats://" + url)
        self.sock = socket.create_connection((parts.hostname, parts.port or 4222), timeout)
        self.reader = self.sock.makefile("rb")
        self.inbox = "_INBOX.verdicts." + os.urandom(9).hex()
        self.count = 0
        self.line()  # INFO
        options = {"verbose": False, "pedantic": False, "lang": "python", "version": "0", "name": "verdicts",
                   "protocol": 1, "headers": True, "no_responders": True}
        if os.environ.get("ONCEGATE__NATS__USER"):
            options["user"] = os.environ["ONCEGATE__NATS__USER"]
            options["pass"] = os.environ.get("ONCEGATE__NATS__PASSWORD", "")
        elif os.environ.get("ONCEGATE__NATS__TOKEN"):
            options["auth_token"] = os.environ["ONCEGATE__NATS__TOKEN"]
        self.send(f"CONNECT {json.dumps(options)}\r\nSUB {self.inbox}.* 1\r\nPING\r\n")
        while self.line() != "PONG":
            pass

    def send(self, text):
        self.sock.sendall(text.encode())

    def line(self):
        raw = self.reader.readline()
        if not raw:
            raise ConnectionError("the server closed the connection")
        text = raw.decode().rstrip("\r\n")
        if text.startswith("-ERR"):
            raise ConnectionError("the server said " + text)
        return text

    def request(self, subject, body):
        """The reply as JSON, or None if nothing answers on the subject."""
        self.count += 1
        reply = f"{self.inbox}.{self.count}"
        self.send(f"PUB {subject} {reply} {len(body.encode())}\r\n{body}\r\n")
        return self.receive(reply)

    def receive(self, subject):
        """The next message on this subject, under the inbox, as JSON."""
        while True:
            words = self.line().split(" ")
            if words[0] == "PING":
                self.send("PONG\r\n")
            elif words[0] in ("MSG", "HMSG"):
                data = self.reader.read(int(words[-1]) + 2)[:-2]
                if words[1] != subject:
                    continue
                if words[0] == "HMSG":
                    data = data[int(words[-2]):]
                return json.loads(data) if data else None


# ---- the ledger --------------------------------------------------------------------------------


def headers_of(message):
    """A dict of lower-case names; of a repeated header, the last value."""
    raw = base64.b64decode(message.get("hdrs", "")).decode("utf-8", "replace")
    pairs = (line.split(":", 1) for line in raw.split("\r\n")[1:] if ":" in line)
    return {name.lower(): value.strip() for name, value in pairs}


def position(value):
    """`<stream> <sequence> <time>` -> (stream, sequence)"""
    words = value.split(" ")
    return (words[0], int(words[1])) if len(words) >= 2 and words[1].isdigit() else None


class Ledger:
    """Reads ledger entries in order; knows what they say of each input sequence."""

    def __init__(self, nats, name, after=0):
        self.nats, self.name = nats, name
        self.next = after + 1
        self.entries = {}  # (stream, sequence) -> headers, with the entry's subject under "subject"
        self.judged = {}  # stream -> the furthest sequence that any entry names

    def read(self):
        """Read one more entry; False if there is none yet."""
        reply = self.nats.request(f"$JS.API.STREAM.MSG.GET.{self.name}",
                                  json.dumps({"seq": self.next, "next_by_subj": ">"}))
        if reply is None or "message" not in reply:
            error = (reply or {}).get("error", {})
            if error and error.get("err_code") not in (10037, 10059):  # no message yet; no stream yet
                raise RuntimeError(f"{self.name}: {error.get('description', error)}")
            return False
        message = reply["message"]
        self.next = message["seq"] + 1
        headers = headers_of(message)
        headers["subject"] = message["subject"]
        kind = message["subject"].split(".")[1]
        source = position(headers.get("oncegate-source", ""))
        if source and kind in ("accepted", "rejected"):
            self.entries[source] = headers
        for at in (source, position(headers.get("oncegate-judged", ""))):
            if at:
                self.judged[at[0]] = max(self.judged.get(at[0], 0), at[1])
        return True

    def verdict(self, stream, sequence):
        """(verdict, entry) or None while it is undecided."""
        entry = self.entries.get((stream, sequence))
        if entry:
            return entry["subject"].split(".")[1], entry
        return ("duplicate", None) if self.judged.get(stream, 0) >= sequence else None


# ---- publish -----------------------------------------------------------------------------------


def payload_text(action):
    payload = action["payload"]
    if isinstance(payload, str):
        return payload
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":"))


def key_of(action):
    if action.get("key") is not None:
        return action["key"]
    payload = action["payload"]
    return payload.get("idempotency_key") if isinstance(payload, dict) else None


def publish(args):
    with open(args.file, encoding="utf-8") as lines:
        actions = [json.loads(line) for line in lines if line.strip()]
    info = connect(time.monotonic() + 10).request(f"$JS.API.STREAM.INFO.{args.ledger}", "") or {}
    after = info.get("state", {}).get("last_seq", 0)  # earlier entries do not concern these actions
    for number, action in enumerate(actions, 1):
        command = [args.bin, "publish", "--json", "--subject", action["subject"]]
        command += ["--no-key"] if action.get("key") is None else ["--key", action["key"]]
        for name, value in (action.get("headers") or {}).items():
            command += ["--header", f"{name}: {value}"]
        done = subprocess.run(command + ["-"], input=payload_text(action).encode(), stdout=subprocess.PIPE)
        if done.returncode != 0:
            sys.exit(f"action {number}: oncegate publish ended with {done.returncode}")
        stored = json.loads(done.stdout)
        action.update(stream=stored["stream"], sequence=stored["sequence"], after=after)
        print(json.dumps(action, ensure_ascii=False), flush=True)


# ---- show --------------------------------------------------------------------------------------


def shorten(text, width):
    text = re.sub(r"\s+", " ", text)
    return text if len(text) <= width else text[: width - 1] + "…"


def wrong(action, verdict, entry, repeated):
    """What was expected instead, or None."""
    expected, reason = action["expect"], action.get("reason")
    if repeated and expected == "accepted" and verdict == "duplicate":
        return None
    if verdict != expected:
        return expected
    if verdict == "rejected" and reason and entry.get("oncegate-reason") != reason:
        return f"{expected} {reason}"
    return None


def why(action, verdict, entry, first):
    note = action.get("note", "")
    if verdict == "accepted":
        return f"run …{entry.get('oncegate-run-id', '?')[-12:]}", note
    if verdict == "rejected":
        return entry.get("oncegate-reason", "?"), note
    number = first.get(key_of(action))
    return (f"as #{number}" if number else "seen in an earlier run"), note


def table(rows, colour):
    titles = ("#", "subject", "key", "payload", "verdict", "why")
    widths = [max(len(row[i]) for row in [titles] + rows) for i in range(5)]
    paint = {"accepted": "32", "duplicate": "36", "rejected": "33", "undecided": "31"}
    lines = ["  ".join([t.ljust(w) for t, w in zip(titles, widths)] + [titles[5]]),
             "  ".join(["-" * w for w in widths] + ["-" * 3])]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths)]
        if colour:
            cells[4] = f"\033[{paint.get(row[4], '0')}m{cells[4]}\033[0m"
        lines.append("  ".join(cells + [row[5]]))
    return "\n".join(lines)


def connect(deadline):
    url = os.environ.get("ONCEGATE__NATS__SERVERS", os.environ.get("NATS_URL", "nats://127.0.0.1:4222")).split(",")[0]
    while True:
        try:
            return Nats(url)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def show(args):
    with open(args.file, encoding="utf-8") as lines:
        actions = [json.loads(line) for line in lines if line.strip()]
    deadline = time.monotonic() + args.timeout
    ledger = Ledger(connect(deadline), args.ledger, actions[0].get("after", 0))
    repeated = args.repeated and actions[0]["sequence"] > 1
    while any(ledger.verdict(a["stream"], a["sequence"]) is None for a in actions):
        if not ledger.read():
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)  # the end of the ledger: ask again

    rows, failures, counts, first = [], [], {}, {}
    for number, action in enumerate(actions, 1):
        decided = ledger.verdict(action["stream"], action["sequence"])
        verdict, entry = decided or ("undecided", None)
        counts[verdict] = counts.get(verdict, 0) + 1
        if verdict == "accepted":
            first.setdefault(key_of(action), number)
        if decided:
            reason, note = why(action, verdict, entry, first)
            reason = f"{reason}: {note}" if note else reason
            expected = wrong(action, verdict, entry, repeated)
            if expected:
                reason = f"EXPECTED {expected}; {reason}"
                failures.append(number)
        else:
            reason = f"no verdict within {args.timeout:g} s"
            failures.append(number)
        key = key_of(action)
        rows.append([str(number), action["subject"], "(none)" if key is None else shorten(str(key), 24),
                     shorten(payload_text(action), 36), verdict, reason])
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    print(table(rows, colour))
    print(f"\n{len(actions)} actions: " + ", ".join(f"{n} {v}" for v, n in sorted(counts.items())))
    if failures:
        print(f"not as expected: #{', #'.join(map(str, failures))}")
        return 1
    return 0


# ---- answers -----------------------------------------------------------------------------------


def run_and_result(answer):
    text = f"run …{answer['run_id'][-12:]}, {answer['state']}"
    return text + (f", result {json.dumps(answer['result']['data'])}" if answer["result"] else "")


def answers(args):
    nats = connect(time.monotonic() + 10)
    inbox = nats.inbox + ".receipt"
    key = "quickstart-" + os.urandom(4).hex()
    action = ("actions.mail.send", '{"to":"ada@example.com"}')

    def oncegate(*arguments):
        done = subprocess.run([args.bin, *arguments, "--json"], stdout=subprocess.PIPE, check=True)
        return json.loads(done.stdout)

    def publish(subject, payload, *headers):
        given = [word for header in headers for word in ("--header", header)]
        oncegate("publish", "--subject", subject, "--key", key, *given, payload)

    def act(note):
        print(f"  publish  {action[0]} {action[1]}{note}")
        publish(*action, f"Oncegate-Reply-To: {inbox}")
        receipt = nats.receive(inbox)
        print(f"  receipt  {receipt['verdict']}, {run_and_result(receipt)}")
        return receipt

    print(f"one action, key {key}, and its answers:\n")
    first = act("")
    print('  report   oncegate.results.mail {"message":"m_1"}, succeeded: as its executor')
    publish("oncegate.results.mail", '{"message":"m_1"}', f"Oncegate-Run-Id: {first['run_id']}",
            "Oncegate-Status: succeeded")
    known = oncegate("lookup", key, "--wait", "30s")
    print(f"  look-up  {run_and_result(known)}")
    again = act(", again")

    expected = [(first["verdict"], "accepted"), (again["verdict"], "duplicate"), (again["run_id"], first["run_id"]),
                (again["state"], "succeeded"), (known["result"], again["result"])]
    wrong = [f"{found}, expected {wanted}" for found, wanted in expected if found != wanted]
    if wrong:
        print("\nnot as expected: " + "; ".join(wrong))
    return 1 if wrong else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("publish", help="publish the actions of a file")
    one.add_argument("--ledger", default="ONCEGATE", help="the ledger stream")
    one.add_argument("--bin", required=True, help="the oncegate binary")
    one.add_argument("file")
    two = commands.add_parser("show", help="show the verdict of each published action")
    two.add_argument("--ledger", default="ONCEGATE", help="the ledger stream")
    two.add_argument("--timeout", type=float, default=60.0, help="seconds to wait for the verdicts")
    two.add_argument("--repeated", action="store_true",
                     help="the stream may hold earlier runs of this file: a duplicate is then as good as accepted")
    two.add_argument("file")
    three = commands.add_parser("answers", help="show the receipts and the result of an action")
    three.add_argument("--bin", required=True, help="the oncegate binary")
    args = parser.parse_args()
    sys.exit({"publish": publish, "show": show, "answers": answers}[args.command](args))


if __name__ == "__main__":
    main()
