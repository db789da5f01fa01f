"""Perform accepted actions, and report what came of them."""

import asyncio
import json
import os

import nats
from nats.js.api import RetentionPolicy, StreamConfig, StreamSource

# Each accepted action is handed to one executor. The ledger itself keeps everything. Where executors may not make
# streams, an administrator does.
RUNS = StreamConfig(
    name="RUNS",
    retention=RetentionPolicy.WORK_QUEUE,
    sources=[StreamSource(name="ONCEGATE", filter_subject="oncegate.accepted.>")],
)


class Failed(Exception):
    """The action did not take effect and never will: an answer like any other."""


class Retry(Exception):
    """The action did not take effect, and may be tried again: the key is given back."""


async def runs(nc):
    js = nc.jetstream()
    await js.add_stream(RUNS)
    return await js.pull_subscribe("oncegate.accepted.>", durable="executor", stream="RUNS")


async def execute(nc, perform):
    """Calls `perform(subject, payload, run_id)` for each run; `payload` is bytes, as published."""
    queue = await runs(nc)
    while True:
        try:
            messages = await queue.fetch(10, timeout=5)
        except asyncio.TimeoutError:
            continue  # nothing to do
        for message in messages:
            try:
                await execute_one(nc, message, perform)
            except Exception as error:
                print(f"run {run_id(message)} waits for another try: {error!r}", flush=True)
                await message.nak(delay=5)


async def execute_one(nc, message, perform):
    if run_id(message) is None:
        return await message.term()  # not written by the gate
    if message.metadata.num_delivered > 1 and not await is_open(nc, message.headers):
        return await message.ack()  # it was reported, and then the ack was lost
    subject = message.subject.removeprefix("oncegate.accepted.")
    try:
        status, result = "succeeded", await perform(subject, message.data, run_id(message))
    except Failed as failed:
        status, result = "failed", {"error": str(failed)}
    except Retry as retry:
        status, result = "retry", {"error": str(retry)}
    await report(nc, message.headers, status, result)
    await message.ack()  # last: a run that was not reported is delivered again


def run_id(message):
    return (message.headers or {}).get("Oncegate-Run-Id")


async def report(nc, run, status, result):
    """`run`: the headers of the accepted action."""
    names = ("Oncegate-Run-Id", "Idempotency-Key", "Oncegate-Scope")
    headers = {name: run[name] for name in names if name in run}
    headers["Oncegate-Status"] = status
    await nc.jetstream().publish("oncegate.results.example", json.dumps(result).encode(), headers=headers)


async def is_open(nc, run):
    """Whether the run still waits for its result. One that was given back must not be performed."""
    ask = {"key": run["Idempotency-Key"], "scope": json.loads(run.get("Oncegate-Scope", "[]"))}
    answer = await nc.request("oncegate.svc.lookup", json.dumps(ask).encode(), timeout=5)
    error = (answer.headers or {}).get("Nats-Service-Error-Code")
    if error == "404":  # given back (or older than the window)
        return False
    if error:
        raise RuntimeError(answer.headers["Nats-Service-Error"])
    known = json.loads(answer.data)
    return known["run_id"] == run["Oncegate-Run-Id"] and known["state"] == "pending"


class Provider:
    """Stands for a payment provider that takes idempotency keys."""

    def __init__(self):
        self.charges = {}
        self.turned_away = set()

    async def charge(self, subject, payload, run_id):
        payload = json.loads(payload)
        if payload["amount"] > 1000:
            raise Failed("card declined")
        if payload["customer"] == "c_busy" and payload["order"] not in self.turned_away:
            self.turned_away.add(payload["order"])
            raise Retry("the provider is busy")
        # The run id is the provider's idempotency key: the same run twice is one charge.
        return self.charges.setdefault(run_id, {"charge": f"ch_{run_id[-12:]}", "amount": payload["amount"]})


async def main():
    nc = await nats.connect(os.environ.get("NATS_URL", "nats://127.0.0.1:4222"))
    await execute(nc, Provider().charge)


if __name__ == "__main__":
    asyncio.run(main())
